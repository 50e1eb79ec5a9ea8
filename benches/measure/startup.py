"""What a preloaded library adds to every exec."""

import os
import re
import subprocess
from collections import defaultdict
from statistics import median, quantiles

from .bench import environment, first_in_line, preload, run
from .report import COLOURS, number, pyplot, save, stripped, table


def variants(bench):
    return {
        "no preload": {},
        "nothing in it": preload(bench.nothing),
        "C limit": preload(bench.limit),
        "libreuse": preload(bench.reuse),
        **bench.peers,
        "redhook": preload(bench.redhook),
        "redhook, static unwinder": preload(bench.redhook_static),
        "redhook, env_logger": preload(bench.redhook_env_logger),
    }


def measure(bench):
    known = variants(bench)
    # A second control shows how far apart two runs of the same thing are.
    spawned = {**known, "no preload, again": {}}
    words = [bench.spawn, bench.samples(3000, 200), "/bin/true"]
    for name, variables in spawned.items():
        words += ["--", name.replace(" ", "+"), *(f"{key}={value}" for key, value in variables.items())]
    times, faults = defaultdict(list), defaultdict(list)
    for line in run(first_in_line(words)).splitlines():
        name, nanoseconds, minor = line.split()
        times[name.replace("+", " ")].append(int(nanoseconds) / 1000)
        faults[name.replace("+", " ")].append(int(minor))

    control = loaded({})
    result = {}
    for name, variables in spawned.items():
        added = [mine - theirs for mine, theirs in zip(times[name], times["no preload"])]
        about = loaded(variables)
        result[name] = {
            "median": median(times[name]),
            # Of the whole distribution, where it is least disturbed by others on the machine.
            "added": quantiles(times[name], n=4)[0] - quantiles(times["no preload"], n=4)[0],
            "paired": quantiles(added, n=4),
            "faults": median(faults[name]) - median(faults["no preload"]),
            "runs": len(added),
            **{key: about[key] - control[key] for key in control},
        }
        if variables:
            result[name]["size"] = stripped(variables["LD_PRELOAD"])
    return result


def loaded(variables):
    """What the loader and the kernel say of a program with these variables."""
    debug = subprocess.run(
        ["/bin/true"], env=environment(variables | {"LD_DEBUG": "statistics"}), stderr=subprocess.PIPE, text=True,
        check=True,
    ).stderr
    relocations = int(re.search(r"final number of relocations: (\d+)", debug)[1])
    relative = int(re.search(r"number of relative relocations: (\d+)", debug)[1])
    maps = run(["/bin/cat", "/proc/self/maps"], env=environment(variables)).splitlines()
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps if "[" not in line]
    files = {line.split()[-1] for line in maps if ".so" in line}
    profile = f"/tmp/libreuse-bench.{os.getpid()}"
    try:
        run(["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={profile}", "/bin/true"],
            env=environment(variables))
        with open(profile, encoding="utf-8") as file:
            instructions = int(re.search(r"^totals: (\d+)", file.read(), re.MULTILINE)[1])
    finally:
        os.unlink(profile)
    return {
        "symbols": relocations, "relative": relative, "mapped": sum(high - low for low, high in ranges),
        "libraries": len(files), "instructions": instructions,
    }


def tables(result):
    limit = result["C limit"]["added"]
    rows = []
    for name, it in result.items():
        if name == "no preload":
            continue
        ratio = number(it["added"] / limit, 2)
        low, middle, high = it["paired"]
        rows.append([
            name, ratio, number(it["added"]), f"{number(middle)} ({number(low)}–{number(high)})",
            number(it["instructions"] / 1000), it["symbols"], it["relative"], f"{it['faults']:.0f}",
            number(it["mapped"] / 1024, 0), it["libraries"],
            number(it["size"] / 1024) if "size" in it else "",
        ])
    header = ["preloaded", "× limit", "added, µs", "paired median (quartiles), µs", "1 000 instructions", "symbols bound",
              "relative relocations", "page faults", "KiB mapped", "libraries", "KiB of file"]
    base = result["no preload"]
    return {"startup": table(header, rows) + f"\n\n/bin/true alone: {number(base['median'])} µs; {base['runs']} runs each."}


def plots(result, folder):
    names = [name for name in result if name != "no preload"]
    names.sort(key=lambda name: result[name]["added"], reverse=True)
    figure, axes = pyplot.subplots()
    colours = [COLOURS.get(name, "#bbbbbb") for name in names]
    axes.barh(names, [result[name]["added"] for name in names], color=colours)
    for position, name in enumerate(names):
        axes.text(max(result[name]["added"], 0) + 2, position, number(result[name]["added"]), va="center")
    axes.set_title("Start-up: what a preload adds to each exec of /bin/true")
    axes.set_xlabel("microseconds")
    return [save(figure, folder, "startup")]
