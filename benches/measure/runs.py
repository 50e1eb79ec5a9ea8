"""Whole runs that are kept, docs/evidence/bench, and in what two of them differ."""

import re
from statistics import median

from .report import number, table

LAST, BEFORE = "last.md", "before.md"
HEAD = """# A whole run of `scripts/check/bench`

All tables as one run of it left them; what they mean is in [benchmarks.md](../benchmarks.md) and [scale.md](../scale.md).
The next run moves `last.md` to `before.md`, and compares the two.
"""


def keep(folder, tables):
    """Keeps the run, and the one before it."""
    folder.mkdir(exist_ok=True)
    last = folder / LAST
    if last.exists():
        last.rename(folder / BEFORE)
    sections = [f"## {name}\n\n{content}\n" for name, content in tables.items()]
    last.write_text("\n".join([HEAD, *sections]))


def differences(folder):
    """The table of what the two runs differ in: for each of their tables how far the medians are apart."""
    if not (folder / BEFORE).exists():
        return table(["table", "one run alone is kept"], [])
    before, last = (figures((folder / name).read_text()) for name in (BEFORE, LAST))
    rows = []
    for name, found in last.items():
        earlier = before.get(name, {})
        apart = {key: abs(found[key] / earlier[key] - 1) for key in found if earlier.get(key) and found[key]}
        if not apart:
            continue
        row, column = furthest = max(apart, key=apart.get)
        rows.append([
            name, len(apart), sum(it <= 0.1 for it in apart.values()), f"{number(100 * median(apart.values()))} %",
            f"{row}, {column}" if apart[furthest] else "none", number(earlier[furthest], 2), number(found[furthest], 2),
        ])
    return table(
        ["table", "figures", "within a tenth", "median difference", "furthest apart", "run before", "last run"], rows
    )


def figures(text):
    """The first number of each cell of each table, by the table's name, row and column."""
    found, name, header = {}, None, None
    for line in text.splitlines():
        if line.startswith("## "):
            name, header = line[3:], None
        elif line.startswith("| "):
            cells = [cell.strip().replace("**", "") for cell in line.strip("| ").split(" | ")]
            if header is None:
                header = cells
                found[name] = {}
            elif not cells[0].startswith("---"):
                for column, cell in zip(header[1:], cells[1:]):
                    if value := re.match(r"-?\d[\d ]*(\.\d+)?", cell):
                        found[name][cells[0], column] = float(value[0].replace(" ", ""))
    return {name: cells for name, cells in found.items() if name != "machine"}
