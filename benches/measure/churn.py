"""Short connections until the local ports run out, and what closed connections hold of the kernel's memory."""

import errno
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from .bench import alone, expect, first_in_line, interleaved, preload, start, stop, sysctl
from .report import COLOURS, number, pyplot, save, spread, table

FIRST_PORT = 5000
LOWEST = 20_000
PORTS = 28_000
# connect() looks through one half of the ports first, and once that is full through nearly all of them, every time: so
# many listeners that 130 000 TIME_WAIT take less than half each.
LISTENERS = 10
CACHES = ("tw_sock_TCP", "tcp_bind_bucket", "tcp_bind2_bucket")


def variants(bench):
    """Environment of whoever closes first, and tcp_tw_reuse."""
    return {
        "no preload": ({}, 0),
        **{linger: (preload(bench.reuse, LIBREUSE_LINGER=linger), 0) for linger in ("off", "graceful", "zero")},
        "tcp_tw_reuse": ({}, 1),
    }


def measure(bench):
    known = variants(bench)
    exhaustion = {}
    for who in ("client", "server"):
        sizes = [(200, 2_000), (2_000, 8_000)] + ([(PORTS, 30_000)] if who == "client" else [])
        for ports, limit in bench.samples(sizes, [(200, 1_000)]):
            # A minute each.
            rounds = 1 if ports == PORTS else bench.samples(5, 1)
            found = defaultdict(list)
            for name in interleaved(known, rounds):
                found[name].append(until_failure(bench.churn, *known[name], who, ports, limit))
            exhaustion[f"{who} {ports} {limit}"] = {name: found[name] for name in known}
    growth = {
        name: held(bench.churn, *known[name], bench.samples([10_000, 50_000, 130_000], [1_000, 5_000, 10_000]))
        for name in interleaved(known, 1)
    }
    return {"exhaustion": exhaustion, "growth": {name: growth[name] for name in known}}


def prepare(tw_reuse, ports):
    sysctl("net.ipv4.ip_local_port_range", f"{LOWEST} {LOWEST + ports - 1}")
    sysctl("net.ipv4.tcp_tw_reuse", tw_reuse)


def pair(churn, variables, who, listeners, limit, checkpoints, waits="waits"):
    """A server and a client; `who` closes first, and has the shim; the other one waits, or does what `waits` says."""
    of_server, of_client = (variables, {}) if who == "server" else ({}, variables)
    does = {name: "closes" if name == who else waits for name in ("server", "client")}
    server = start(first_in_line([churn, "serve", FIRST_PORT, listeners, does["server"]]), of_server)
    expect(server, "ready")
    client = start(first_in_line([churn, "dial", FIRST_PORT, listeners, does["client"], limit, *checkpoints]), of_client)
    return server, client


def told(client):
    made, nanoseconds, error, cut = map(int, client.stdout.readline().split())
    return {
        "connections": made, "seconds": nanoseconds / 1e9, "cut": cut,
        "error": errno.errorcode[error] if error else "",
    }


def time_wait():
    """How many TIME_WAIT this network namespace has."""
    line = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    words = line.split()
    return int(words[words.index("tw") + 1])


def slab():
    """Bytes in the kernel's caches of small objects, the whole machine's, once those of sockets have given back what is free.

    None, where only root may have that done.
    """
    deadline = time.monotonic() + 20
    before = 0
    while True:
        for cache in CACHES:
            try:
                Path(f"/sys/kernel/slab/{cache}/shrink").write_text("1")
            except (PermissionError, FileNotFoundError):
                return None
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("Slab:"))
        now = int(line.split()[1]) * 1024
        # What a variant before has left behind goes little by little.
        if abs(now - before) < 2**18 or time.monotonic() > deadline:
            return now
        before = now
        time.sleep(0.5)


def size_of_time_wait():
    """Bytes of one TIME_WAIT socket; None, where only root is told."""
    try:
        rows = map(str.split, Path("/proc/slabinfo").read_text().splitlines())
    except PermissionError:
        return None
    return next(int(row[3]) for row in rows if row[0] == "tw_sock_TCP")


@alone
def until_failure(churn, variables, tw_reuse, who, ports, limit, checkpoints=()):
    prepare(tw_reuse, ports)
    server, client = pair(churn, variables, who, 1, limit, checkpoints)
    points = []
    try:
        for _ in checkpoints:
            points.append(told(client))
            client.stdin.write("\n")
        return told(client) | {"time_wait": time_wait(), "points": points}
    finally:
        stop(client)
        stop(server)


@alone
def held(churn, variables, tw_reuse, checkpoints, listeners=LISTENERS):
    """As much as 130 000 TIME_WAIT, in less time than the first of them lasts."""
    prepare(tw_reuse, PORTS)
    before, size = slab(), size_of_time_wait()
    server, client = pair(churn, variables, "client", listeners, checkpoints[-1] + 1, checkpoints)
    points = []
    try:
        for _ in checkpoints:
            point = told(client)
            waiting = time_wait()
            now = slab()
            points.append(point | {"time_wait": waiting, "bytes": now and now - before, "own": size and waiting * size})
            if point["error"]:
                break
            client.stdin.write("\n")
    finally:
        stop(client)
        stop(server)
    return points


def tables(result):
    rows = []
    for key, runs in result["exhaustion"].items():
        who, ports, limit = key.split()
        for name, found in runs.items():
            reached = median(it["connections"] for it in found)
            error = next((it["error"] for it in found if it["error"]), "")
            rows.append([
                f"{who} closes first, {number(int(ports), 0)} ports: **{name}**",
                f"{number(reached, 0)}, {error}" if error else f"none in {number(int(limit), 0)}",
                spread(it["connections"] / it["seconds"] for it in found),
                spread(it["time_wait"] for it in found),
                sum(it["cut"] for it in found),
            ])
    growth = []
    for name, points in result["growth"].items():
        before = {"connections": 0, "seconds": 0}
        for point in points:
            rate = (point["connections"] - before["connections"]) / (point["seconds"] - before["seconds"])
            own, memory = ("" if point[key] is None else number(point[key] / 2**20) for key in ("own", "bytes"))
            growth.append([
                name, number(point["connections"], 0), number(point["time_wait"], 0), own, memory, number(1e6 / rate),
                point["error"],
            ])
            before = point
    return {
        "churn": table(["who, ports", "first failure after", "connections/s", "TIME_WAIT held", "answers cut"], rows),
        "churn-growth": table(
            ["variant", "connections closed", "TIME_WAIT held", "in TIME_WAIT sockets, MiB", "slab grown by, MiB", "µs per connection since the last row",
             "ended by"], growth,
        ),
    }


def plots(result, folder):
    figure, (held_axes, cost) = pyplot.subplots(1, 2)
    for name, points in result["growth"].items():
        made = [0] + [point["connections"] / 1000 for point in points]
        colour = COLOURS[name]
        style = "--" if name == "tcp_tw_reuse" else "-"
        held_axes.plot(made, [0] + [point["time_wait"] / 1000 for point in points], style, marker="o", color=colour, label=name)
        seconds = [0] + [point["seconds"] for point in points]
        each = [1e3 * (late - early) / (more - fewer) for early, late, fewer, more in zip(seconds, seconds[1:], made, made[1:])]
        cost.plot(made[1:], each, style, marker="o", color=colour, label=name)
    held_axes.set_title("TIME_WAIT held, thousands")
    cost.set_title("Cost of a connection, µs")
    cost.set_ylim(bottom=0)
    for axes in (held_axes, cost):
        axes.set_xlabel("thousands of connections closed by the client")
    held_axes.legend(frameon=False)
    return [save(figure, folder, "churn")]
