"""Taking TIME_WAIT away: `reuseaddr evict` against `ss -K`."""

import time
from collections import defaultdict

from .bench import alone, interleaved, run, stop
from .churn import FIRST_PORT, PORTS, pair, prepare, time_wait, told
from .report import number, spread, table


def measure(bench):
    command = bench.command()
    ways = {"ss -K": ["ss", "-K", "-tan", "state", "time-wait", "sport", "=", f":{FIRST_PORT}"]}
    if command:
        ways["reuseaddr evict"] = [str(command), "evict", str(FIRST_PORT)]
    result = defaultdict(lambda: defaultdict(list))
    for entries in bench.samples([1, 1_000, 20_000], [1, 1_000]):
        for name in interleaved(ways, bench.samples(7, 2)):
            result[name][str(entries)].append(evict(bench.churn, ways[name], entries))
    return {name: dict(by_count) for name, by_count in result.items()}


@alone
def evict(churn, command, entries):
    """An active-closing server's TIME_WAIT, all on its own port."""
    prepare(0, PORTS)
    # A port that is used again would replace its entry.
    server, client = pair(churn, {}, "server", 1, entries, [], "spreads")
    told(client)
    stop(client)
    stop(server)
    before = time_wait()
    start = time.monotonic_ns()
    run(command)
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
