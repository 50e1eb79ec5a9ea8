"""An own table of real functions against redhook: the same hooks both ways."""

import re
from collections import defaultdict
from statistics import quantiles

from .bench import first_in_line, preload, run
from .calls import counted
from .report import number, stripped, table
from .startup import loaded


def measure(bench):
    libraries = {
        "C limit": bench.limit, "libreuse": bench.reuse, "redhook": bench.redhook,
        "redhook, static unwinder": bench.redhook_static,
        "redhook, env_logger": bench.redhook_env_logger,
    }
    words = [bench.spawn, bench.samples(1000, 200), "/bin/true", "--", "none"]
    for name, library in libraries.items():
        words += ["--", name.replace(" ", "+"), f"LD_PRELOAD={library}"]
    times = defaultdict(list)
    for line in run(first_in_line(words)).splitlines():
        name, nanoseconds, _ = line.split()
        times[name.replace("+", " ")].append(int(nanoseconds) / 1000)
    control = loaded({})
    plain = {scenario: counted(bench, scenario, {}) for scenario in ("close", "bind", "connect")}
    result = {}
    for name, library in libraries.items():
        about = loaded(preload(library))
        result[name] = {
            "added": quantiles(times[name], n=4)[0] - quantiles(times["none"], n=4)[0],
            "size": stripped(library),
            "relocations": len(re.findall(r" R_\w+_", run(["readelf", "-rW", library]))),
            "libraries": about["libraries"] - control["libraries"],
            "startup": about["instructions"] - control["instructions"],
            "calls": {
                scenario: counted(bench, scenario, preload(library))["instructions"] - before["instructions"]
                for scenario, before in plain.items()
            },
        }
    return result


def tables(result):
    limit = result["C limit"]["added"]
    rows = [
        [name, number(it["added"] / limit, 2), number(it["added"]), number(it["startup"] / 1000),
         number(it["size"] / 1024), it["relocations"], it["libraries"],
         *(number(it["calls"][scenario], 0) for scenario in ("close", "bind", "connect"))]
        for name, it in result.items()
    ]
    return {"decision": table(
        ["hooks on", "start-up, × limit", "start-up, µs", "start-up, 1 000 instructions", "stripped, KiB", "relocations",
         "libraries", "instructions per close", "per bind", "per connect"], rows,
    )}


def plots(_, __):
    return []
