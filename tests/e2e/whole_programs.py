#!/usr/bin/env python3
"""The programs of bench/programs at their small sizes: natively and under tracelift the same bytes.

  whole_programs.py [--full] [PROGRAM...]

By itself as gcc -O2 builds them, under `tracelift run`; with --full in every build of sample_matrix.py, with
--verify=always as well. Which of them gain is bench/programs_speed.py's business; here enough of them must have run
elsewhere for the comparison to mean something.
"""
import argparse
import pathlib
import sys

import harness
import sample_matrix
from harness import NATIVE, RUN, TraceTest
from sample_matrix import Build

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import programs_table  # noqa: E402  (found through the path above)

ENOUGH = 8  # of 46, on a machine that is busy


class WholeProgramTest(TraceTest):
    def runTest(self):
        pass

    def check(self, program, build):
        binary = harness.build(program.source, build.flags, build.family)
        return self.same(program.command(binary, small=True), modes=build.modes, name=program.name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("program", nargs="*")
    options = parser.parse_args()
    test = WholeProgramTest()
    test.setUp()
    failures, elsewhere = [], 0
    for program in programs_table.chosen(options.program):
        for build in sample_matrix.full(program) if options.full else [Build("gcc", "-O2", modes=(RUN,))]:
            try:
                outcomes = test.check(program, build)
            except (AssertionError, RuntimeError) as failure:
                print(f"{program.name:18} {build!s:36} FAILED: {failure}", flush=True)
                failures.append(f"{program.name} {build}")
                continue
            traced = outcomes[build.modes[0]]
            elsewhere += bool(traced.report) and any(region["executions"] > 0 for region in traced.report["regions"])
            print(f"{program.name:18} {build!s:36} {outcomes[NATIVE].seconds:5.2f} s {traced.seconds:5.2f} s  "
                  f"{sample_matrix.what_happened(traced.report)}", flush=True)
    if not options.program and elsewhere < ENOUGH:
        failures.append(f"only {elsewhere} ran elsewhere")
    print(f"{elsewhere} ran elsewhere; {len(failures)} failed", *failures, sep="\n  ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
