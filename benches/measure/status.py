"""Who has a port, on a machine that has much on it: `reuseaddr status` against `ss -tanp` and `lsof`."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections import defaultdict

from .bench import alone, environment, first_in_line, interleaved, sysctl
from .report import number, spread, table

# Half of them a server's, and half its clients'.
SOCKETS = 20_000
PROCESSES = 500
# A process may not have so many open.
WORKERS = 4
PORT = 5000
FIRST_OTHER = 20_000


def measure(bench):
    command = bench.command()
    ways = {
        "reuseaddr status PORT, one process's": [command, "status", FIRST_OTHER],
        "reuseaddr status PORT, with 10 000 connections": [command, "status", PORT],
        "reuseaddr status PORT --json, likewise": [command, "status", PORT, "--json"],
        "reuseaddr status": [command, "status"],
        "ss -tanp": ["ss", "-tanp"],
        "lsof -nP -iTCP": ["lsof", "-nP", "-iTCP"],
    }
    return busy_machine({name: [*map(str, words)] for name, words in ways.items()}, bench.samples(30, 3))


@alone
def busy_machine(ways, rounds):
    """Runs each on a machine with so many sockets and processes."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sysctl("net.ipv4.ip_local_port_range", "30000 65535")
    others = [child(lambda number=number: bystander(FIRST_OTHER + number)) for number in range(PROCESSES)]
    listener = socket.create_server(("127.0.0.1", PORT), backlog=4096)
    others += [child(lambda: connected(listener), listener.fileno()) for _ in range(WORKERS)]
    result = defaultdict(lambda: {"ms": []})
    try:
        for name in interleaved(ways, rounds):
            result[name]["ms"].append(milliseconds(ways[name]))
        for name, words in ways.items():
            result[name]["kib"] = most_memory(words)
    finally:
        for pid in others:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return {name: result[name] for name in ways}


def child(begin, *keep):
    """A process that holds what it makes and what it is to keep, until it is killed."""
    ready, told = os.pipe()
    if (pid := os.fork()) == 0:
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > 2 and fd not in (told, *keep):
                with contextlib.suppress(OSError):
                    os.close(fd)
        # It is there as long as the process.
        held = begin()
        os.write(told, b".")
        signal.pause()
        os._exit(len(held))
    os.close(told)
    if not os.read(ready, 1):
        raise SystemExit("a process of the busy machine has failed")
    os.close(ready)
    return pid


def bystander(port):
    return [socket.create_server(("127.0.0.1", port))]


def connected(listener):
    """Both ends of a worker's share of the connections; of those that are accepted, some are other workers'."""
    ends = []
    for _ in range(SOCKETS // 2 // WORKERS):
        ends.append(socket.create_connection(("127.0.0.1", PORT)))
        ends.append(listener.accept()[0])
    return ends


def milliseconds(words):
    begin = time.monotonic_ns()
    done = subprocess.run(first_in_line(words), env=environment(), stdout=subprocess.DEVNULL, check=False)
    # status says by its exit code that the port is busy.
    if done.returncode not in (0, 1):
        raise SystemExit(f"{words} ended with {done.returncode}")
    return (time.monotonic_ns() - begin) / 1e6


def most_memory(words):
    """In KiB. By a small program, whose own memory does not count."""
    done = subprocess.run(["/usr/bin/time", "--format", "%M", *words], env=environment(), stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    return int(done.stderr.split()[-1])


def tables(result):
    rows = [
        [name, spread(it["ms"], 1), number(it["kib"] / 1024, 1), len(it["ms"])] for name, it in result.items()
    ]
    return {"status": table(["asked by", "ms", "most memory, MiB", "runs"], rows)}


def plots(_, __):
    return []
