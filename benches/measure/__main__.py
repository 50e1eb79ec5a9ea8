"""Runs the measurements, one after the other, and puts tables and pictures where they belong."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from . import bpf, calls, churn, decision, engines, evict, launcher, recovery, runs, scale, served, startup, status
from .bench import Bench
from .report import describe_machine, fill_in
from .summary import summary

DOCUMENT, SUMMARY = "docs/evidence/benchmarks.md", "BENCHMARKS.md"
SECTIONS = {
    module.__name__.rpartition(".")[2]: module
    for module in (startup, calls, served, churn, recovery, evict, decision, engines, bpf, launcher, status, scale)
}


def main():
    parser = argparse.ArgumentParser(prog="scripts/check/bench")
    parser.add_argument("--quick", action="store_true", help="few samples, and the documents stay as they are")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=" ".join(SECTIONS))
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.sections if name not in SECTIONS]:
        parser.error(f"no such section: {' '.join(unknown)}")

    bench = Bench(arguments.quick)
    if os.geteuid() == 0:
        # Whatever else the machine does is then in the way less often. Where sessions are scheduled as groups, the
        # group's niceness is what counts (sched(7)).
        os.nice(-15)
        group = Path("/proc/self/autogroup")
        if group.exists():
            group.write_text("-15")
    tables, pictures = {"machine": describe_machine(bench)}, []
    documents = {}
    begin = time.monotonic()
    for name in arguments.sections or SECTIONS:
        start = time.monotonic()
        print(f"== {name}", flush=True)
        result = SECTIONS[name].measure(bench)
        (bench.results / f"{name}.json").write_text(json.dumps(result))
        ours = SECTIONS[name].tables(result)
        tables |= ours
        documents.setdefault(getattr(SECTIONS[name], "DOCUMENT", DOCUMENT), {}).update(ours)
        pictures += SECTIONS[name].plots(result, bench.plots)
        print(f"   {time.monotonic() - start:.0f} s", flush=True)

    print(f"{time.monotonic() - begin:.0f} s in all")

    for name, table in tables.items():
        print(f"\n-- {name}\n\n{table}")
    if not bench.quick:
        if not arguments.sections:
            # Of a part it would not be true: it says on what the whole run was made.
            kept = bench.root / "docs" / "evidence" / "bench"
            runs.keep(kept, tables)
            documents[SUMMARY] = {"summary": summary(tables)}
            documents[DOCUMENT] |= {"machine": tables["machine"], "runs": runs.differences(kept)}
        for document, of_it in documents.items():
            fill_in(bench.root / document, of_it)
    for picture in pictures:
        print(picture)


sys.exit(main())
