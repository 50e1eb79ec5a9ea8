"""What programs in the kernel cost: each call beside the other engines, an instance, and `watch`. It takes root."""

import ctypes
import os
import struct
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

from .bench import alone, environment, first_in_line, interleaved, preload, run
from .report import number, spread, table

SCENARIOS = {
    "close-nothing": "any other call",
    "bind": "bind of a port that nobody listened on",
    "bind-served": "bind of a port that was listened on",
    "listen": "listen",
    "server": "socket, bind, listen, close",
    "connection": "a connection, both ends",
}

BPF = {"x86_64": 321, "aarch64": 280}
PROGRAM_BY_ID, OPEN_PINNED, QUERY = 13, 7, 16
# Of the six programs, as in command/src/engine/bpf/programs.rs.
HOOKS = (34, 3, 12, 13, 8, 9)


def measure(bench):
    if os.geteuid() != 0:
        print("   skipped: it takes root")
        return None
    command = bench.command()
    root = hierarchy()
    groups = {name: root / f"libreuse-bench-{os.getpid()}-{name}" for name in ("without", "with")}
    for group in groups.values():
        group.mkdir()
    try:
        once = attaching(command, groups["with"], bench.samples(20, 3))
        run([command, "bpf", "attach", "--cgroup", groups["with"]])
        memory = kilobytes(groups["with"])
        calls = costs(bench, command, groups)
        watched = watching(bench, command)
    finally:
        run([command, "bpf", "detach", "--cgroup", groups["with"]])
        for group in groups.values():
            group.rmdir()
    return {"calls": calls, "attach": once, "memory": memory, "watch": watched}


def hierarchy():
    """Where cgroup v2 is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise FileNotFoundError("no cgroup v2 is mounted")


def inside(group, words):
    """Has a command start in a group."""
    return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', group, *words]


def costs(bench, command, groups):
    """Nanoseconds per call, by every way of having it served."""
    trace = [command, "run", "--library", bench.reuse, "--engine", "trace", "--trace-quiet", "60s", "--"]
    known = {
        "nothing": (groups["without"], [], {}),
        "nothing, again": (groups["without"], [], {}),
        "preload": (groups["without"], [], preload(bench.reuse)),
        "bpf": (groups["with"], [], {}),
        "trace, until it detaches": (groups["without"], trace, {}),
        "nothing, beside `watch`": (groups["without"], [], {}),
    }
    times = defaultdict(lambda: defaultdict(list))
    for scenario in SCENARIOS:
        for name in interleaved(known, bench.samples(9, 2)):
            group, words, variables = known[name]
            batches = bench.samples(100, 20) // (5 if words else 1)
            with watch(command) if "watch" in name else nobody():
                fastest, _ = timed(inside(group, [*words, bench.calls, scenario, batches]), variables)
            times[scenario][name].append(fastest)
    return {scenario: {name: by_name[name] for name in known} for scenario, by_name in times.items()}


@alone
def timed(words, variables):
    """The fastest and the median batch."""
    return [float(each) for each in run(first_in_line(words), env=environment(variables)).split()]


@contextmanager
def nobody():
    yield None


@contextmanager
def watch(command):
    """`reuseaddr watch`, which has begun; its process."""
    seen, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        os.dup2(says, 2)
        # What others of the machine can't bind is none of its business.
        os.execv(command, [command, "watch", "20000"])
    os.close(says)
    with open(seen, encoding="utf-8") as said:
        said.readline()
        yield pid
        os.kill(pid, 9)
    os.waitpid(pid, 0)


def processor_time(pid):
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watching(bench, command):
    """Milliseconds of processor that `watch` uses for 10 000 binds: those that succeed, and those that do not."""
    batches = bench.samples(1000, 100)
    found = {}
    for scenario in ("bind", "refused"):
        with watch(command) as pid:
            before = processor_time(pid)
            timed([bench.calls, scenario, batches], {})
            # What is still on its way.
            time.sleep(2)
            found[scenario] = (processor_time(pid) - before) * 1000 * 10_000 / (batches * 100)
    return found


def attaching(command, group, samples):
    """Milliseconds that attach and detach take."""
    times = defaultdict(list)
    for _ in range(samples):
        for verb in ("attach", "detach"):
            begin = time.monotonic_ns()
            run([command, "bpf", verb, "--cgroup", group])
            times[verb].append((time.monotonic_ns() - begin) / 1e6)
    return times


def bpf(number_of_it, attributes):
    """bpf(2); the attributes as the kernel has left them, and the result."""
    memory = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(BPF[os.uname().machine], number_of_it, memory, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return memory.raw, result


def kilobytes(group):
    """What the kernel says that an instance takes: its programs, its ports, and what all instances share."""
    def locked(descriptor):
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
        os.close(descriptor)
        return next(int(line.split()[1]) for line in lines if line.startswith("memlock:")) / 1024

    def pinned(path):
        name = ctypes.create_string_buffer(str(path).encode())
        return locked(bpf(OPEN_PINNED, struct.pack("=Q", ctypes.addressof(name)))[1])

    programs = []
    folder = os.open(group, os.O_RDONLY)
    for hook in HOOKS:
        ids = (ctypes.c_uint32 * 64)()
        asked = struct.pack("=IIIIQI", folder, hook, 0, 0, ctypes.addressof(ids), 64)
        bpf(QUERY, asked)
        programs.append(locked(bpf(PROGRAM_BY_ID, struct.pack("=I", ids[0]))[1]))
    os.close(folder)
    pins = Path("/sys/fs/bpf/libreuse/v1")
    ports = next(path for path in pins.iterdir() if path.name.endswith(group.name.replace("_", "_5f")))
    return {
        "programs": sum(programs),
        "ports": pinned(ports),
        "shared by all instances": pinned(pins / "bound") + pinned(pins / "holder"),
    }


def tables(result):
    if result is None:
        return {}
    times = result["calls"]
    rows = []
    for name in times["bind"]:
        row = [name]
        for scenario in SCENARIOS:
            mine, plain = times[scenario][name], times[scenario]["nothing"]
            row.append(spread(mine, 0) if name == "nothing" else spread((a - b for a, b in zip(mine, plain)), 0))
        rows.append(row)
    memory = result["memory"]
    instance = [
        ["attach, ms", spread(result["attach"]["attach"])],
        ["detach, ms", spread(result["attach"]["detach"])],
        *([f"memory, {what}, KiB", number(size)] for what, size in memory.items()),
        ["`watch`, for 10 000 binds that succeed, ms of processor", number(result["watch"]["bind"])],
        ["`watch`, for 10 000 binds that are refused, ms of processor", number(result["watch"]["refused"])],
    ]
    return {
        "bpf": table(["nanoseconds", *SCENARIOS.values()], rows),
        "bpf-instance": table(["what", "costs"], instance),
    }


def plots(_, __):
    return []
