"""Tables, pictures, and the places of both."""

import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({
    "svg.hashsalt": "libreuse",
    "svg.fonttype": "none",
    "figure.figsize": (7.5, 3.6),
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 9,
})
from matplotlib import pyplot  # noqa: E402 (the backend has to be chosen first)

# One colour per thing measured, the same in every picture; they differ in brightness too.
COLOURS = {
    "no preload": "#222222", "off": "#0072b2", "graceful": "#009e73", "zero": "#d55e00",
    "tcp_tw_reuse": "#cc79a7", "C limit": "#999999", "libreuse": "#0072b2",
}


def number(value, digits=1):
    """A number for people: no more digits than it deserves."""
    if abs(value) >= 100:
        digits = 0
    text = f"{value:,.{digits}f}".replace(",", " ")
    return text.removeprefix("-") if text.strip("-0. ") == "" else text


def spread(values, digits=1):
    """The median, and between which quartiles half of the values lie."""
    values = list(values)
    if len(values) < 3:
        return number(statistics.median(values), digits)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{number(middle, digits)} ({number(low, digits)}–{number(high, digits)})"


def table(header, rows):
    """A Markdown table: the first column is text, the others are numbers."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def save(figure, folder, name):
    """Writes a picture, the same bytes for the same figures."""
    path = Path(folder) / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path


def fill_in(path, tables):
    """Puts the tables between their marks in a document."""
    text = path.read_text()
    for name, content in tables.items():
        mark = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, found = mark.subn(lambda match, new=content: f"{match[1]}\n{new}\n\n{match[2]}", text)
        if not found:
            sys.exit(f"{path} has no place for the table {name}")
    path.write_text(text)


def describe_machine(bench):
    """What the figures were measured on."""
    def said(*command):
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )
    with open("/etc/os-release", encoding="utf-8") as file:
        system = dict(line.rstrip().split("=", 1) for line in file if "=" in line)["PRETTY_NAME"].strip('"')
    load = os.getloadavg()
    return table(["what", "which"], [
        ["processor", f"{model}, {os.cpu_count()} of them"],
        ["kernel", platform.release()],
        ["system", f"{system}, glibc {platform.libc_ver()[1]}"],
        ["compilers", f"{said('rustc', '--version').split(' (')[0]}, gcc {said('cc', '-dumpfullversion')}"],
        ["load when it began", f"{load[0]:.1f} over a minute, {load[2]:.1f} over fifteen"],
        ["`libreuse.so`, stripped", f"{number(stripped(bench.reuse) / 1024)} KiB"],
    ])


def stripped(library):
    """The size of a library without its symbol table."""
    copy = Path(f"{library}.stripped")
    subprocess.run(["strip", "-o", copy, library], check=True)
    size = copy.stat().st_size
    copy.unlink()
    return size


__all__ = ["COLOURS", "describe_machine", "fill_in", "number", "pyplot", "save", "spread", "stripped", "table"]
