"""What a hooked call costs more: nanoseconds, instructions, system calls."""

import os
import re
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from .bench import environment, first_in_line, interleaved, preload, run
from .report import number, pyplot, save, spread, table

SCENARIOS = ["close-nothing", "close-file", "close", "setsockopt", "bind", "listen", "connect"]
COUNTED = ["close", "setsockopt", "bind", "listen", "connect"]
TRACED = {"LIBREUSE_LOG": "trace", "LIBREUSE_LOG_FILE": "/dev/null"}


def variants(bench):
    shims = {
        f"{name}, {linger}": preload(library, LIBREUSE_LINGER=linger)
        for linger in ("off", "graceful", "zero")
        for name, library in (("C limit", bench.limit), ("libreuse", bench.reuse))
    }
    return {
        "no preload": {},
        **shims,
        "libreuse, off, trace log": preload(bench.reuse, **TRACED),
        "libreuse, graceful, trace log": preload(bench.reuse, LIBREUSE_LINGER="graceful", **TRACED),
        "redhook, off": preload(bench.redhook),
        "redhook, graceful": preload(bench.redhook, LIBREUSE_LINGER="graceful"),
        **bench.peers,
    }


def measure(bench):
    known = variants(bench)
    times = defaultdict(lambda: defaultdict(list))
    rounds = bench.samples(7, 2)
    for scenario in SCENARIOS:
        batches = bench.samples(100, 20) * (5 if scenario.startswith("close-") else 1)
        for name in interleaved(known, rounds):
            fastest, _ = run(first_in_line([bench.calls, scenario, batches]), env=environment(known[name])).split()
            times[scenario][name].append(float(fastest))
    # Exact, however busy the cores are. The peers do not act on these calls: their times say enough.
    jobs = [(scenario, name) for scenario in COUNTED for name in known if name not in bench.peers]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda job: counted(bench, job[0], known[job[1]]), jobs))
    counts = defaultdict(dict)
    for (scenario, name), count in zip(jobs, found):
        counts[scenario][name] = count
    return {
        "times": {scenario: {name: by_name[name] for name in known} for scenario, by_name in times.items()},
        "counts": counts,
    }


def counted(bench, scenario, variables):
    """Instructions and system calls per call, from the difference that another batch makes."""
    with tempfile.TemporaryDirectory() as folder:
        profile, trace = Path(folder) / "profile", Path(folder) / "trace"

        def instructions(batches):
            valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={profile}"]
            run(first_in_line([*valgrind, bench.calls, scenario, batches]), env=environment(variables))
            return int(re.search(r"^totals: (\d+)", profile.read_text(), re.MULTILINE)[1])

        def system_calls(batches):
            inside = [f"--env={name}={value}" for name, value in variables.items()]
            strace = ["strace", "-o", trace, *inside]
            run(first_in_line([*strace, bench.calls, scenario, batches]), env=environment())
            return sum(not line.startswith(("---", "+++")) for line in trace.read_text().splitlines())

        return {
            "instructions": (instructions(20) - instructions(10)) / 1000,
            "system calls": (system_calls(4) - system_calls(2)) / 200,
        }


def added(result, scenario, name, other="no preload"):
    """Nanoseconds more than another variant had in the same round."""
    times = result["times"][scenario]
    return [mine - theirs for mine, theirs in zip(times[name], times[other])]


def tables(result):
    names = list(result["times"]["close"])
    times = [
        [name] + [
            spread(result["times"][scenario][name]) if name == "no preload" else spread(added(result, scenario, name))
            for scenario in SCENARIOS
        ]
        for name in names
    ]

    def extra(scenario, name, what):
        counts = result["counts"][scenario]
        return number(counts[name][what] - counts["no preload"][what], 0 if what == "instructions" else 2)

    counts = [
        [name] + [
            f"{extra(scenario, name, 'instructions')} / {extra(scenario, name, 'system calls')}" for scenario in COUNTED
        ]
        for name in result["counts"]["close"] if name != "no preload"
    ]
    against = [
        [f"close, {scenario.partition('-')[2] or 'connection'}", linger,
         spread(added(result, scenario, f"libreuse, {linger}", f"C limit, {linger}"))]
        for linger in ("off", "graceful", "zero")
        for scenario in ("close-nothing", "close-file", "close")
    ]
    return {
        "calls": table(["nanoseconds", "close(-1)", "close of a file", "close of a connection", *SCENARIOS[3:]], times),
        "calls-limit": table(["call", "linger", "libreuse − C limit, ns"], against),
        "calls-counts": table(["instructions / system calls", *COUNTED], counts),
    }


def plots(result, folder):
    names = ["C limit, off", "libreuse, off", "C limit, graceful", "libreuse, graceful", "C limit, zero", "libreuse, zero"]
    figure, axes = pyplot.subplots()
    colours = ["#cccccc", "#0072b2", "#aaaaaa", "#009e73", "#888888", "#d55e00"]
    for position, (name, colour) in enumerate(zip(names, colours)):
        places = [index + (position - 2.5) * 0.13 for index in range(len(COUNTED))]
        heights = [median(added(result, scenario, name)) for scenario in COUNTED]
        axes.bar(places, heights, 0.12, color=colour, label=name)
    axes.set_xticks(range(len(COUNTED)), COUNTED)
    axes.set_title("Per call: nanoseconds added to each hooked call on a TCP socket")
    axes.set_ylabel("nanoseconds")
    axes.axhline(0, color="#222222", linewidth=0.8)
    axes.legend(frameon=False, ncols=3)
    return [save(figure, folder, "calls")]
