"""From the SIGKILL of a server to a successful bind of the next one."""

import resource
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from .bench import alone, expect, interleaved, preload, run, start, stop, sysctl
from .report import COLOURS, number, pyplot, save, spread, table

PORT = 5000


def measure(bench):
    shim = preload(bench.reuse)
    command = bench.command()
    quick = {"shim": (shim, shim, None)}
    if command:
        quick["evict"] = ({}, {}, command)
    # Some machines, root or not, allow fewer descriptors than that.
    most = min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100)
    counts = bench.samples([1, 100, 1_000, most], [1, 1_000])
    result = defaultdict(lambda: defaultdict(list))
    for number_of_connections in counts:
        for name in interleaved(quick, bench.samples(7, 2)):
            result[name][number_of_connections].append(recover(bench.recovery, *quick[name], number_of_connections))
    if not bench.quick:
        # A minute each, in which nothing happens: all of them at once, measured once.
        wait = preload(bench.reuse, LIBREUSE_WAIT="90s")
        slow = {"without": ({}, {}, None), "WAIT": ({}, wait, None)}
        jobs = [(name, count) for name in slow for count in (1, 1_000, most)]
        with ThreadPoolExecutor(len(jobs)) as pool:
            found = pool.map(lambda job: recover(bench.recovery, *slow[job[0]], job[1]), jobs)
            for (name, count), it in zip(jobs, found):
                result[name][count].append(it)
    return {name: {str(count): runs for count, runs in by_count.items()} for name, by_count in result.items()}


@alone
def recover(driver, of_old, of_new, evict, connections):
    sysctl("net.ipv4.ip_local_port_range", "10000 65535")
    server = start([driver, "hold", PORT, connections], of_old)
    expect(server, "listening")
    clients = start([driver, "dial", PORT, connections])
    expect(server, "ready")
    expect(clients, "connected")
    following = start([driver, "bind", PORT], of_new)
    expect(following, "ready")
    try:
        killed = time.monotonic_ns()
        server.kill()
        server.wait()
        died = time.monotonic_ns()
        if evict:
            run([evict, "evict", PORT])
        following.stdin.write("go\n")
        bound, tries = map(int, following.stdout.readline().split())
    finally:
        for process in (server, clients, following):
            stop(process)
    return {"total": (bound - killed) / 1e9, "dying": (died - killed) / 1e9, "tries": tries}


def tables(result):
    rows = [
        [f"{name}: {number(int(count), 0)} connections", spread((1000 * it["total"] for it in runs), 2),
         spread((1000 * (it["total"] - it["dying"]) for it in runs), 2), spread(it["tries"] for it in runs), len(runs)]
        for name, by_count in result.items() for count, runs in by_count.items()
    ]
    return {"recovery": table(["how", "SIGKILL to bound, ms", "of which after it had died, ms", "tries", "runs"], rows)}


def plots(result, folder):
    figure, axes = pyplot.subplots()
    colours = {"without": "#222222", "WAIT": "#cc79a7", "shim": COLOURS["off"], "evict": "#009e73"}
    for name, by_count in result.items():
        counts = sorted(map(int, by_count))
        middle = [sorted(1000 * it["total"] for it in by_count[str(count)])[len(by_count[str(count)]) // 2] for count in counts]
        axes.plot(counts, middle, marker="o", color=colours[name], label=name, linestyle=":" if name == "WAIT" else "-")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title("Recovery: from SIGKILL of a server to a successful bind of the next one, ms")
    axes.set_xlabel("connections that the server had")
    axes.legend(frameon=False)
    return [save(figure, folder, "recovery")]
