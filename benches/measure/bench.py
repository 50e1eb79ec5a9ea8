"""What is built, what is measured beside it, and how a measurement gets a network of its own."""

import ctypes
import functools
import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path

LIBRARIES = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu"
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Bench:
    """The builds and the folders of one run."""

    def __init__(self, quick):
        self.quick = quick
        self.root = Path(__file__).resolve().parent.parent.parent
        self.out = self.root / "target" / "bench"
        self.results = self.out / ("quick" if quick else "results")
        self.plots = self.results if quick else self.root / "docs" / "plots"
        for folder in (self.out, self.results, self.plots):
            folder.mkdir(parents=True, exist_ok=True)
        self.reuse = self._cargo(self.root, "target", "libreuse.so")
        self.redhook = self._redhook()
        self.redhook_static = self._redhook(unwinder="static")
        self.redhook_env_logger = self._redhook("--features", "env_logger")
        self.limit = self.compile("limit.c", "liblimit.so", "-shared", "-fPIC", "-s", "-Wl,-z,now,-z,relro")
        as_ours = "-nostartfiles", "-Wl,-z,noseparate-code"
        self.nothing = self.compile("nothing.c", "libnothing.so", "-shared", "-fPIC", "-s", "-Wl,-z,now,-z,relro", *as_ours)
        for driver in ("spawn", "calls", "churn", "recovery", "reset", "brief"):
            setattr(self, driver, self.compile(f"native/{driver}.c", driver))
        self.peers = self._peers()

    def samples(self, full, quick):
        """How many, by how much time there is."""
        return quick if self.quick else full

    def _cargo(self, folder, target, name, *arguments, flags=""):
        command = ["cargo", "build", "--quiet", "--release", "--locked", *arguments]
        variables = {"CARGO_TARGET_DIR": str(self.root / target), "RUSTFLAGS": flags}
        run(command, cwd=folder, env=os.environ | variables)
        return self.root / target / "release" / name

    def _redhook(self, *features, unwinder="shared"):
        """The variant; with the unwinder linked in, it is spared libgcc_s, most of what it costs at start-up."""
        target = "-".join(["target/bench/redhook", *features[1:], *(["static"] if unwinder == "static" else [])])
        flags = ""
        if unwinder == "static":
            # rustc names libgcc_s itself, so gcc's -static-libgcc changes nothing: a linker script of that name does.
            scripts = self.out / "static-unwinder"
            scripts.mkdir(exist_ok=True)
            (scripts / "libgcc_s.so").write_text("INPUT(-lgcc_eh)\n")
            flags = f"-L native={scripts}"
        folder = self.root / "benches" / "redhook"
        return self._cargo(folder, target, "libredhook_variant.so", *features, flags=flags)

    def compile(self, source, name, *flags, compiler="cc"):
        output = self.out / name
        run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", output, self.root / "benches" / source])
        return output

    def _peers(self):
        """The peers as Debian ships them, set up so that they let loopback through."""
        proxychains, torsocks, wrapper = (self.out / name for name in ("proxychains.conf", "torsocks.conf", "wrapper"))
        proxychains.write_text(
            "strict_chain\nquiet_mode\nlocalnet 127.0.0.0/255.0.0.0\n[ProxyList]\nsocks5 127.0.0.1 9050\n"
        )
        torsocks.write_text("TorAddress 127.0.0.1\nTorPort 9050\nAllowOutboundLocalhost 1\nAllowInbound 1\n")
        wrapper.mkdir(exist_ok=True)
        return {
            "mptcpize": preload(LIBRARIES / "mptcpize/libmptcpwrap.so.0.0.1"),
            "libeatmydata": preload(LIBRARIES / "libeatmydata.so"),
            "libsocket-wrapper": preload(LIBRARIES / "libsocket_wrapper.so", SOCKET_WRAPPER_DIR=wrapper),
            "torsocks": preload(LIBRARIES / "torsocks/libtorsocks.so", TORSOCKS_CONF_FILE=torsocks),
            "proxychains4": preload(LIBRARIES / "libproxychains.so.4", PROXYCHAINS_CONF_FILE=proxychains),
            "libfaketime": preload(LIBRARIES / "faketime/libfaketime.so.1", FAKETIME="+0"),
        }

    def command(self):
        """The reuseaddr command."""
        if path := os.environ.get("REUSEADDR"):
            return Path(path)
        return self._cargo(self.root / "command", "target/bench/command", "reuseaddr")


def first_in_line(command):
    """Lets a short command that is being timed run before anything else, where that is allowed."""
    return ["chrt", "--fifo", "10", *command] if os.geteuid() == 0 else command


def on_core(number, command):
    """Keeps a command on one core, so that it makes no difference which one the scheduler finds for it."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", cores[number % len(cores)], *command]


def preload(library, **variables):
    """The environment that preloads a library."""
    if not Path(library).exists():
        sys.exit(f"{library} is missing")
    return {"LD_PRELOAD": str(library)} | {name: str(value) for name, value in variables.items()}


def run(command, **options):
    """Runs a command to its successful end, and returns what it printed."""
    done = subprocess.run(
        [str(word) for word in command], text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with status {done.returncode}\n{done.stderr}")
    return done.stdout


def environment(variables=None):
    """A small environment, the same on every machine."""
    return {"PATH": PATH, "LC_ALL": "C.UTF-8"} | (variables or {})


def start(command, variables=None):
    """Starts a program that is talked to by lines."""
    return subprocess.Popen(
        [str(word) for word in command], env=environment(variables), text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )


def expect(process, line):
    """Waits for a line of output, which must be this one."""
    if (found := process.stdout.readline().strip()) != line:
        sys.exit(f"{process.args} printed {found!r} and not {line!r}")


def stop(process):
    """Kills a program that was started here, and waits until it is gone."""
    process.kill()
    process.wait()


def interleaved(variants, rounds):
    """Every variant once per round, each round in another order."""
    order = random.Random(rounds)
    names = list(variants)
    for _ in range(rounds):
        order.shuffle(names)
        yield from names


def sysctl(name, value):
    Path("/proc/sys/" + name.replace(".", "/")).write_text(f"{value}\n")


def alone(function):
    """Runs a function in a process of its own with a network of its own, and returns its result."""

    @functools.wraps(function)
    def wrapper(*arguments):
        ours, theirs = multiprocessing.Pipe(duplex=False)

        def inside():
            ours.close()
            libc = ctypes.CDLL(None, use_errno=True)
            flags = CLONE_NEWNET | (0 if os.geteuid() == 0 else CLONE_NEWUSER)
            if libc.unshare(flags):
                sys.exit(f"no network namespace: {os.strerror(ctypes.get_errno())}")
            run(["ip", "link", "set", "lo", "up"])
            theirs.send(function(*arguments))

        process = multiprocessing.get_context("fork").Process(target=inside)
        process.start()
        theirs.close()
        try:
            result = ours.recv()
        except EOFError:
            sys.exit(f"{function.__name__}{arguments} failed")
        process.join()
        return result

    return wrapper
