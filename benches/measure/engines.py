"""What each engine costs a server until it listens, and what is left of it afterwards: nothing."""

import os
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from .bench import alone, expect, interleaved, on_core, preload, run, start, stop, sysctl
from .report import number, spread, table
from .served import PORT, load, rate

# What a program of some size makes before it listens.
MANY = 10_000


def programs(bench):
    """The same server, linked in every way."""
    for_go = bench.out / "listener-go"
    run(
        ["go", "build", "-o", for_go, bench.root / "benches/native/listener.go"],
        env=os.environ | {"CGO_ENABLED": "0", "GO111MODULE": "off", "GOCACHE": str(bench.out / "go-cache")},
    )
    return {
        "dynamic, glibc": bench.compile("native/listener.c", "listener"),
        "dynamic, musl": bench.compile("native/listener.c", "listener-musl", compiler="musl-gcc"),
        "static, glibc": bench.compile("native/listener.c", "listener-static", "-static"),
        "static, musl": bench.compile("native/listener.c", "listener-static-musl", "-static", compiler="musl-gcc"),
        "Go": for_go,
    }


def ways(bench):
    """How a server is started: for which programs, with what in front and in its environment."""
    command = bench.command()
    by = [command, "run", "--library", bench.reuse]
    dynamic = ("dynamic, glibc", "dynamic, musl")
    static = ("static, glibc", "static, musl", "Go")
    every = (*dynamic, *static)
    return {
        "by itself": (every, [], {}),
        "by itself, again": (every, [], {}),
        "LD_PRELOAD": (dynamic, [], preload(bench.reuse)),
        "run: preload": (dynamic, [*by, "--engine", "preload"], {}),
        "run: trace": (static, [*by, "--engine", "trace"], {}),
        "run: wait": (("static, glibc",), [*by, "--engine", "wait", "--ports", PORT], {}),
        "strace -f": (static, ["strace", "-f", "-o", "/dev/null"], {}),
        "proot": (static, ["proot"], {}),
    }


def measure(bench):
    servers = programs(bench)
    known = {
        (program, way, calls): ([*words, servers[program], PORT, calls], variables)
        for way, (suited, words, variables) in ways(bench).items()
        for program in suited
        for calls in (0, MANY)
    }
    times = defaultdict(list)
    for it in interleaved(known, bench.samples(15, 3)):
        times[it].append(until_it_listens(*known[it]))
    rates = defaultdict(list)
    afterwards = {
        way: known["static, glibc", way, 0] for way in ("by itself", "by itself, again", "run: trace", "strace -f")
    }
    for way in interleaved(afterwards, bench.samples(20, 2)):
        rates[way].append(requests(*afterwards[way]))
    return {
        "calls": {program: calls_until_it_listens(bench.out, server) for program, server in servers.items()},
        "times": [[*it, times[it]] for it in known],
        "rates": {way: rates[way] for way in afterwards},
    }


@alone
def until_it_listens(words, variables):
    """Milliseconds from the start of the program to the line that it writes when it listens."""
    begin = time.monotonic_ns()
    server = start(words, variables)
    expect(server, "listening")
    spent = time.monotonic_ns() - begin
    end(server)
    return spent / 1e6


@alone
def calls_until_it_listens(folder, server):
    """How many system calls a tracer sees, and stops at twice."""
    seen = folder / "listener.calls"
    tracer = start(["strace", "-f", "-o", seen, server, PORT, 0])
    expect(tracer, "listening")
    end(tracer)
    calls = [line for line in seen.read_text().splitlines() if "resumed>" not in line]
    return next(number for number, line in enumerate(calls, 1) if " listen(" in line)


def end(server):
    """Kills what was started, and the program itself if that is a child of it."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    for pid in map(int, children):
        os.kill(pid, 9)
    stop(server)


@alone
def requests(words, variables):
    """Requests a second of a server that has been listening for longer than a tracer stays."""
    sysctl("net.ipv4.ip_local_port_range", "1024 65535")
    server = start(on_core(0, words), variables)
    expect(server, "listening")
    if "trace" in words:
        deadline = time.monotonic() + 20
        while "TracerPid:\t0\n" not in Path(f"/proc/{server.pid}/status").read_text():
            if time.monotonic() > deadline:
                raise TimeoutError("the tracer does not go")
            time.sleep(0.01)
    try:
        said = load()
    finally:
        end(server)
    return rate(said)


def tables(result):
    times = {(program, way, calls): found for program, way, calls, found in result["times"]}
    rows = []
    for program, way, calls in times:
        if calls != 0:
            continue
        few, many = times[program, way, 0], times[program, way, MANY]
        plain = times[program, "by itself", 0]
        rows.append([
            f"{program}: **{way}**", number(result["calls"][program], 0), spread(few, 2),
            spread((mine - its for mine, its in zip(few, plain)), 2), spread(many, 2), number(1000 * (median(many) - median(few)) / MANY, 2),
        ])
    before = f"with {number(MANY)} calls before, ms"
    header = ["server", "system calls", "listens after, ms", "added, ms", before, "a call, µs"]
    plain = result["rates"]["by itself"]
    left = [
        [way, spread((mine / its for mine, its in zip(found, plain)), 3), spread(found, 0)]
        for way, found in result["rates"].items()
    ]
    return {
        "engines": table(header, rows),
        "engines-left": table(["static, glibc, when it listens", "requests/s, ratio", "requests/s"], left),
    }


def plots(_, __):
    return []
