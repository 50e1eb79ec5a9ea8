"""Taking TIME_WAIT away: `reuseaddr evict`, with the kernel's help and without privileges, against `ss -K`."""

import os
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from .bench import alone, first_in_line, interleaved, run, stop, sysctl
from .churn import FIRST_PORT, PORTS, pair, prepare, time_wait, told
from .report import number, spread, table


WITHOUT_PRIVILEGES = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]


def measure(bench):
    command = bench.command()
    ways = {
        "ss -K": lambda _: ["ss", "-K", "-tan", "state", "time-wait", "sport", "=", f":{FIRST_PORT}"],
        "resets alone, in C": lambda entries: [bench.reset, FIRST_PORT, entries],
    }
    with tempfile.TemporaryDirectory() as folder:
        if command:
            # Where everybody reaches it.
            os.chmod(folder, 0o755)
            copy = shutil.copy(command, Path(folder) / "reuseaddr")
            evict = [copy, "evict", str(FIRST_PORT)]
            ways["reuseaddr evict"] = lambda _: evict
            if os.geteuid() == 0:
                ways["reuseaddr evict, without privileges"] = lambda _: [*WITHOUT_PRIVILEGES, *evict]
        result = defaultdict(lambda: defaultdict(list))
        for entries in bench.samples([1, 1_000, 20_000, 28_000], [1, 1_000]):
            for name in interleaved(ways, bench.samples(7, 2)):
                result[name][str(entries)].append(evict_them(bench.churn, ways[name](entries), entries))
    return {name: dict(by_count) for name, by_count in result.items()}


@alone
def evict_them(churn, command, entries):
    """An active-closing server's TIME_WAIT, all on its own port."""
    prepare(0, PORTS)
    # Each stays until it is taken away, and a reset may do that, as Linux has it.
    sysctl("net.ipv4.tcp_rfc1337", 1)
    # A port that is used again would replace its entry.
    server, client = pair(churn, {}, "server", 1, entries, [], "spreads")
    told(client)
    stop(client)
    stop(server)
    sysctl("net.ipv4.tcp_rfc1337", 0)
    before = time_wait()
    start = time.monotonic_ns()
    run(first_in_line(command))
    spent = time.monotonic_ns() - start
    return {"seconds": spent / 1e9, "before": before, "after": time_wait()}


def tables(result):
    rows = [
        [f"{name}: {number(int(count), 0)} entries", spread((1000 * it["seconds"] for it in runs), 2),
         number(min(it["before"] for it in runs), 0), number(max(it["after"] for it in runs), 0), len(runs)]
        for name, by_count in result.items() for count, runs in by_count.items()
    ]
    if "reuseaddr evict" not in result:
        rows.append(["reuseaddr evict: not built here", "", "", "", 0])
    return {"evict": table(["how", "ms", "fewest TIME_WAIT before", "most TIME_WAIT after", "runs"], rows)}


def plots(_, __):
    return []
