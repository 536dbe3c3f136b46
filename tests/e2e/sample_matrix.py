#!/usr/bin/env python3
"""Every sample, built in every way a user might: same bytes, and at -O2 with gcc the proof of what became of it.

  sample_matrix.py [--full] [SAMPLE...]

By itself a few builds that differ in everything once; with --full gcc 12 and clang 19 (gfortran for Fortran), -O1, -O2
and -O3, with and without symbols, PIE and not, each under `tracelift run` and with --verify=always.
"""
import argparse
import itertools
import os
import sys
import unittest

import harness
import samples
from harness import NATIVE, RUN, VERIFY, Expect, NotProven, TraceTest

BRIEF = [("gcc", "-O2", False, "-pie", (RUN, VERIFY)), ("gcc", "-O1", True, "-no-pie", (RUN,)),
         ("gcc", "-O3", True, "-pie", (RUN,)), ("clang", "-O2", False, "-no-pie", (VERIFY,)),
         ("clang", "-O3", True, "-pie", (RUN,))]
FULL = [(family, level, stripped, pie, (RUN, VERIFY))
        for family, level, stripped, pie in itertools.product(("gcc", "clang"), ("-O1", "-O2", "-O3"), (False, True),
                                                              ("-pie", "-no-pie"))]


def what_happened(report):
    """The hottest accelerated region, or why the hottest region stayed home."""
    if report is None:
        return "no report"
    ran = [r for r in report["regions"] if r["executions"] > 0]
    if ran:
        most = max(ran, key=lambda r: r["passes"])
        return f"accelerated {most['symbol'] or hex(most['offset'])} {most['executions']}x, verified {most['verified']}"
    home = [r for r in report["regions"] if r["reason"]]
    return home[0]["reason"] if home else f"nothing found ({report['samples']} samples)"


class MatrixTest(TraceTest):
    def runTest(self):
        pass

    def check(self, sample, family, level, stripped, pie, modes):
        flags = [level, pie, *(["-s"] if stripped else []), *(["-fPIE"] if pie == "-pie" else ["-fno-pie"])]
        program = harness.build(sample.source, flags, family)
        proof = sample.expect if (family, level) == ("gcc", "-O2") else Expect()
        outcomes = self.same_when_accelerated(lambda scale: sample.command(program, scale), proof, modes=modes,
                                              timeout=300, name=sample.name)
        for mode in modes:  # code that we made is not a stranger's
            regions = outcomes[mode].report["regions"] if outcomes[mode].report else []
            self.assertNotIn("NoFunctionBounds", [region["reason"] for region in regions])
        return outcomes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("sample", nargs="*")
    options = parser.parse_args()
    chosen = [samples.by_name(name) for name in options.sample] or samples.SAMPLES
    test = MatrixTest()
    test.setUp()
    failures = []
    print(f"{'sample':16} {'build':28} {'native':>7} {'run':>7}  what happened")
    for sample in chosen:
        for family, level, stripped, pie, modes in FULL if options.full else BRIEF:
            build = f"{family} {level} {pie}{' -s' if stripped else ''}"
            try:
                outcomes = test.check(sample, family, level, stripped, pie, modes)
            except unittest.SkipTest as skip:
                print(f"{sample.name:16} {build:28} skipped: {skip}")
                continue
            except AssertionError as failure:
                kind = "not proven" if isinstance(failure, NotProven) else "FAILED"
                print(f"{sample.name:16} {build:28} {kind}: {failure}")
                failures.append(f"{sample.name} {build} {kind}")
                continue
            traced = outcomes[modes[0]]
            print(f"{sample.name:16} {build:28} {outcomes[NATIVE].seconds:6.2f}s {traced.seconds:6.2f}s  "
                  f"{what_happened(traced.report)}")
            sys.stdout.flush()
    if failures:
        print(f"{len(failures)} failed:", *failures, sep="\n  ")
    return 1 if failures else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
