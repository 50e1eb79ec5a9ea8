"""The ten rows that BENCHMARKS.md begins with, each out of a table of the same run."""

from .report import table

# What is said, the table, and its column; the row of libreuse's figure, and that of the one beside it with its name.
ROWS = [
    ("restart after SIGKILL, 1 000 connections, until bound", "recovery", "SIGKILL to bound, ms", "ms",
     "shim: 1 000 connections", "without: 1 000 connections", "without libreuse"),
    ("the same after a run without libreuse, by `reuseaddr evict`", "recovery", "SIGKILL to bound, ms", "ms",
     "evict: 1 000 connections", "without: 1 000 connections", "without libreuse"),
    ("start of a program, added by the library", "startup", "added, µs", "µs", "libreuse", "C limit", "C limit"),
    ("file of the library", "startup", "KiB of file", "KiB", "libreuse", "C limit", "C limit"),
    ("`close`, instructions added", "calls-counts", "close", "",
     "libreuse, off", "C limit, off", "C limit"),
    ("nginx, requests per second with `graceful`, of without", "served", "requests/s, ratio", "",
     "nginx: the server closes first, shim in nginx: **graceful**",
     "nginx: the server closes first, shim in nginx: **no preload, again**", "the same without, again"),
    ("`reuseaddr run`, more than `env` takes", "launcher", "more than by env, ms", "ms",
     "reuseaddr run, with its own library", "faketime", "`faketime`"),
    ("a static server by engine `trace`, until it listens, added", "engines", "added, ms", "ms",
     "static, glibc: **run: trace**", "static, glibc: **strace -f**", "`strace -f`"),
    ("`reuseaddr evict` of 20 000 TIME_WAIT, as root", "evict", "ms", "ms",
     "reuseaddr evict: 20 000 entries", "ss -K: 20 000 entries", "`ss -K`"),
    ("`reuseaddr status PORT` among 20 000 sockets", "status", "ms", "ms",
     "reuseaddr status PORT, one process's", "ss -tanp", "`ss -tanp`"),
]


def summary(tables):
    """The rows; a table that has no such figure any more is an error."""
    rows = []
    for what, name, column, unit, ours, others, beside in ROWS:
        cells = cells_of(tables[name], column)
        mine, other = (f"{figure(cells[row])} {unit}".strip() for row in (ours, others))
        rows.append([what, f"**{mine}**", f"{other} ({beside})"])
    return table(["what", "libreuse", "beside it"], rows)


def cells_of(text, column):
    """The cells of a column, by the first cell of their row."""
    lines = [
        [cell.strip() for cell in line.removeprefix("| ").removesuffix(" |").split(" | ")]
        for line in text.splitlines() if line.startswith("| ")
    ]
    place = lines[0].index(column)
    return {line[0]: line[place] for line in lines[2:]}


def figure(cell):
    """The median alone, without quartiles and without what stands behind a stroke."""
    return cell.split(" (")[0].split(" / ")[0]
