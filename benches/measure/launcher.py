"""What a launcher does before the program that it starts: time, and system calls."""

import os
import time
from collections import defaultdict
from pathlib import Path

from .bench import environment, interleaved, run
from .report import number, spread, table


def ways(bench):
    by = [bench.command(), "run", "--library", bench.reuse]
    return {
        "by itself": [],
        "by itself, again": [],
        "env": ["/usr/bin/env"],
        "reuseaddr run": by,
        "reuseaddr run, with its own library": by[:2],
        "stdbuf": ["/usr/bin/stdbuf", "-oL"],
        "faketime": ["/usr/bin/faketime", "-f", "+0"],
        "proxychains4": ["/usr/bin/proxychains4", "-q", "-f", bench.peers["proxychains4"]["PROXYCHAINS_CONF_FILE"]],
        "torsocks": ["/usr/bin/torsocks"],
    }


def measure(bench):
    forget_faketimes()
    known = {name: [*map(str, words), str(bench.brief)] for name, words in ways(bench).items()}
    times = defaultdict(list)
    for name in interleaved(known, bench.samples(500, 20)):
        times[name].append(spent(known[name]))
    return {
        name: {"ms": times[name], "calls": calls_before(bench, words)} for name, words in known.items()
    }


def forget_faketimes():
    """Takes away the shared memory that libfaketime leaves when its program is killed: a later one of the same number fails."""
    for left in Path("/dev/shm").glob("*faketime_s*_*"):
        if not Path("/proc", left.name.rpartition("_")[2]).exists():
            left.unlink()


def spent(words):
    """Milliseconds from the start to the end."""
    begin = time.monotonic_ns()
    pid = os.posix_spawn(words[0], words, environment())
    _, status = os.waitpid(pid, 0)
    assert status == 0, words
    return (time.monotonic_ns() - begin) / 1e6


def calls_before(bench, words):
    """The system calls of everything that runs until the program is executed."""
    trace = bench.out / "launcher.strace"
    run(["strace", "-f", "-o", trace, *words], env=environment())
    lines = Path(trace).read_text().splitlines()
    # The last is the one that succeeds: some look along the path.
    last = max(number for number, line in enumerate(lines) if f'execve("{words[-1]}"' in line)
    return sum(" resumed>" not in line and "+++" not in line and "---" not in line for line in lines[:last])


def tables(result):
    plain, by_env = result["by itself"]["ms"], result["env"]["ms"]
    rows = [
        [name, spread(it["ms"], 2), spread((mine - its for mine, its in zip(it["ms"], plain)), 2),
         spread((mine - its for mine, its in zip(it["ms"], by_env)), 2), number(it["calls"], 0)]
        for name, it in result.items()
    ]
    header = ["started by", "ms in all", "more than by itself, ms", "more than by env, ms", "system calls before it"]
    return {"launcher": table(header, rows)}


def plots(_, __):
    return []
