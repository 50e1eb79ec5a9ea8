"""What TIME_WAIT costs where there is much of it (docs/evidence/scale.md): measured as far as one machine carries, computed beyond."""

from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from math import ceil
from statistics import median

from .bench import interleaved, preload
from .churn import PORTS, held, until_failure
from .recovery import recover
from .report import COLOURS, number, pyplot, save, table

DOCUMENT = "docs/evidence/scale.md"

# Seconds: TCP_TIMEWAIT_LEN in include/net/tcp.h, and net.ipv4.tcp_tw_reuse_delay as it is by default.
LIFETIME, REUSE_DELAY = 60, 1
# Entries that Linux keeps at most, net.ipv4.tcp_max_tw_buckets: half of its table of connections, which has 524 288 places
# where there is memory enough (tcp_sk_init in net/ipv4/tcp_ipv4.c).
MOST_ENTRIES = 262_144
# Of ip_local_port_range as it is by default, 32768 to 60999.
DEFAULT_PORTS = 28_232
# As many as the driver knows: 160 000 TIME_WAIT then take less than half of each one's ports.
LISTENERS = 16
# Seconds that a kubelet waits before it starts a container that has failed again.
BACKOFF = (0, 10, 20, 40, 80, 160, 300)


def variants(bench):
    """Environment of the client, which closes first, and tcp_tw_reuse."""
    return {
        "no preload": ({}, 0),
        "graceful": (preload(bench.reuse, LIBREUSE_LINGER="graceful"), 0),
        "tcp_tw_reuse": ({}, 1),
    }


def measure(bench):
    known = variants(bench)
    step = PORTS // 20
    # The last port of all is one that plain connections do not get.
    marks = list(range(step, PORTS, step)) if not bench.quick else [step, 2 * step]
    search = {
        name: until_failure(bench.churn, *known[name], "client", PORTS, marks[-1] + 1, marks)["points"]
        for name in interleaved(known, 1)
    }
    amounts = bench.samples([20_000, 40_000, 80_000, 130_000, 145_000, 160_000], [1_000, 2_000])
    growth = {name: held(bench.churn, *known[name], amounts, LISTENERS) for name in interleaved(known, 1)}
    return {
        "search": {name: search[name] for name in known},
        "growth": {name: growth[name] for name in known},
        "restarts": {
            "no preload": restarts(bench, {}) if not bench.quick else [],
            "libreuse": restarts(bench, preload(bench.reuse)),
        },
    }


def restarts(bench, variables):
    """Servers of ten connections, each in a network of its own as a pod is, that are killed and started again: seconds."""
    pods = bench.samples(200, 4)
    with ThreadPoolExecutor(pods) as pool:
        return [it["total"] for it in pool.map(lambda _: recover(bench.recovery, variables, variables, None, 10), range(pods))]


def costs(points):
    """Microseconds for each connection between two points."""
    start = {"connections": 0, "seconds": 0}
    return [
        1e6 * (late["seconds"] - early["seconds"]) / (late["connections"] - early["connections"])
        for early, late in pairwise([start, *points])
    ]


def entry(result):
    """Bytes of the kernel's memory for each TIME_WAIT: with what it has of a bound port."""
    most = max(result["growth"]["no preload"], key=lambda point: point["time_wait"])
    return most["bytes"] / most["time_wait"] if most["bytes"] else None


def lasting(variant):
    """Seconds that a closed connection keeps its port from the next one to the same place."""
    return {"no preload": LIFETIME, "graceful": 0, "tcp_tw_reuse": REUSE_DELAY}[variant]


def places(variant, rate):
    """How many pairs of own address and upstream address with its port it takes, for the ports to suffice."""
    return max(1, ceil(rate * lasting(variant) / DEFAULT_PORTS))


def entries(variant, rate):
    """How many TIME_WAIT there are at so many connections a second, once that has gone on for a minute: one a port at most."""
    return 0 if variant == "graceful" else min(rate * LIFETIME, places(variant, rate) * DEFAULT_PORTS, MOST_ENTRIES)


def ready(delays, free_after):
    """When a program that is started again after these delays, and fails until its port is free, has its port."""
    return next(moment for moment in accumulate(delays) if moment >= free_after)


def tables(result):
    search = {name: dict(zip((point["connections"] for point in points), costs(points)))
              for name, points in result["search"].items()}
    reached = sorted({number for points in search.values() for number in points})
    size = entry(result)
    each = {name: median(costs(points)) for name, points in result["growth"].items()}
    computed = [
        [f"{number(rate, 0)} connections/s: **{name}**", number(rate * lasting(name), 0), number(places(name, rate), 0),
         number(entries(name, rate), 0), number(entries(name, rate) * size / 2**20) if size else "",
         number(rate * each[name] / 1e6)]
        for rate in (400, 10_000, 200_000) for name in result["growth"]
    ]
    return {
        "scale-search": table(
            ["connections so far, of 28 000 ports", *search],
            [[number(count, 0), *(number(points[count]) if count in points else "" for points in search.values())]
             for count in reached],
        ),
        "scale-held": table(
            ["connections closed", *(f"{name}: {what}" for name in result["growth"] for what in ("TIME_WAIT", "MiB", "µs each"))],
            [[number(points[0]["connections"], 0),
              *(cell for point, cost in zip(points, costs_at)
                for cell in (number(point["time_wait"], 0), "" if point["bytes"] is None else number(point["bytes"] / 2**20),
                             number(cost)))]
             for points, costs_at in zip(zip(*result["growth"].values()), zip(*map(costs, result["growth"].values())))],
        ),
        "scale-computed": table(
            ["one side closes first", "ports held at once", "pairs of addresses needed", "TIME_WAIT", "MiB", "cores"], computed,
        ),
        "scale-restarts": table(
            ["200 servers, each in its own network", "SIGKILL to bound: first, ms", "median, ms", "last, ms"],
            [[name, *(number(1000 * pick(found)) for pick in (min, median, max))]
             for name, found in result["restarts"].items() if found],
        ),
        "scale-managers": table(
            ["who starts it again", "without, s", "with libreuse, s"],
            [["at once, and then each second", number(ready([0] + [1] * 100, LIFETIME), 0), "0"],
             ["a kubelet: at once, after 10 s, 20 s, 40 s and so on", number(ready(BACKOFF, LIFETIME), 0), "0"]],
        ),
    }


def plots(result, folder):
    return [plot_search(result["search"], folder), plot_rates(folder), plot_restarts(result["restarts"], folder)]


def plot_search(search, folder):
    figure, axes = pyplot.subplots()
    for name, points in search.items():
        axes.plot([point["connections"] / 1000 for point in points], costs(points), marker=".", color=COLOURS[name], label=name)
    axes.set_yscale("log")
    axes.set_title("One upstream, 28 000 local ports: cost of a connection, µs")
    axes.set_xlabel("thousands of connections so far")
    axes.legend(frameon=False)
    return save(figure, folder, "scale-search")


def plot_rates(folder):
    figure, axes = pyplot.subplots()
    rates = [10 ** (exponent / 10) for exponent in range(10, 56)]
    for name in ("no preload", "tcp_tw_reuse"):
        axes.plot(rates, [entries(name, rate) for rate in rates], color=COLOURS[name], label=name)
        most = DEFAULT_PORTS / lasting(name)
        axes.axvline(most, color=COLOURS[name], linestyle="--", label=f"{name}: up to here one upstream will do")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title("TIME_WAIT held after a minute, computed; none with graceful")
    axes.set_xlabel("connections a second")
    axes.legend(frameon=False)
    return save(figure, folder, "scale-rates")


def plot_restarts(restarts, folder):
    figure, axes = pyplot.subplots()
    for name, found in restarts.items():
        if found:
            axes.step(sorted(found), [100 * (index + 1) / len(found) for index in range(len(found))], where="post",
                      color=COLOURS[name], label=f"{name}, measured")
    axes.axvline(ready(BACKOFF, LIFETIME), color=COLOURS["tcp_tw_reuse"], linestyle="--", label="without, by a kubelet, computed")
    axes.set_xscale("log")
    axes.set_title("Servers that have their port again, of 200 killed at once, %")
    axes.set_xlabel("seconds after SIGKILL")
    axes.legend(frameon=False)
    return save(figure, folder, "scale-restarts")
