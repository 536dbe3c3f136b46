#!/usr/bin/env python3
"""Every sample, built in every way a user might: same bytes, and the proof of what became of it where that is known.

  sample_matrix.py [--full] [SAMPLE...]

By itself gcc -O2 and four more builds, other ones for each sample, so that all samples together see every compiler at
every level; with --full gcc 12, clang 14 and clang 19 (gfortran for Fortran) at all levels, -O0 to -Ofast for this
machine, with and without symbols, PIE and not, each under `tracelift run` and with --verify=always.
"""
import argparse
import dataclasses
import itertools
import os
import sys
import unittest

import harness
import samples
from harness import NATIVE, RUN, VERIFY, Expect, NotProven, TraceTest

LEVELS = ("-O0", "-O1", "-O2", "-O3", "-O3 -march=native", "-Ofast -march=native")
FAMILIES = ("gcc", "clang-14", "clang")  # the last one is clang 19
# What a sample is at gcc -O2 it must also be there: unoptimised code keeps everything on the stack, and is lifted as well.
PROVEN_LEVELS = ("-O0", "-O1", "-O2")
NOT_LIFTED_YET = {("matmul", "clang-14", "-O1")}  # takes a register round the call of memset


@dataclasses.dataclass(frozen=True)
class Build:
    family: str
    level: str
    stripped: bool = False
    pie: str = "-pie"
    modes: tuple = (RUN, VERIFY)

    def __str__(self):
        return f"{self.family} {self.level} {self.pie}{' -s' if self.stripped else ''}"

    @property
    def flags(self):
        return [*self.level.split(), self.pie, "-fPIE" if self.pie == "-pie" else "-fno-pie", *(["-s"] if self.stripped else [])]


def families_of(sample):
    return FAMILIES if sample.source.suffix in (".c", ".cpp") else FAMILIES[:1]


def full(sample):
    for family, level, (stripped, pie) in itertools.product(families_of(sample), LEVELS, ((False, "-pie"), (True, "-no-pie"))):
        yield Build(family, level, stripped, pie)


def brief(sample):
    """The samples take turns."""
    yield Build("gcc", "-O2")
    others = [kind for kind in itertools.product(families_of(sample), LEVELS) if kind != ("gcc", "-O2")]
    turn = 4 * samples.SAMPLES.index(sample)
    for i in range(turn, turn + 4):
        family, level = others[i % len(others)]
        odd = i // len(others) % 2 == 1
        yield Build(family, level, stripped=i % 2 == 1, pie="-no-pie" if odd else "-pie", modes=(RUN,) if i % 4 < 3 else (VERIFY,))


def proof_of(sample, build):
    """What the report must prove."""
    if (build.family, build.level) == ("gcc", "-O2"):
        return sample.expect
    # At -O0 the operators of std::vector are calls.
    known = sample.parallel and sample.source.suffix != ".cpp" and build.level in PROVEN_LEVELS
    known = known and (sample.name, build.family, build.level) not in NOT_LIFTED_YET
    return sample.expect if known else Expect()


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

    def check(self, sample, build):
        program = harness.build(sample.source, build.flags, build.family)
        outcomes = self.same_when_accelerated(lambda scale: sample.command(program, scale), proof_of(sample, build),
                                              modes=build.modes, timeout=300, name=sample.name)
        for mode in build.modes:  # code that we made is not a stranger's
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
    print(f"{'sample':16} {'build':40} {'native':>7} {'run':>7}  what happened")
    for sample in chosen:
        for build in full(sample) if options.full else brief(sample):
            try:
                outcomes = test.check(sample, build)
            except unittest.SkipTest as skip:
                print(f"{sample.name:16} {build!s:40} skipped: {skip}")
                continue
            except AssertionError as failure:
                kind = "not proven" if isinstance(failure, NotProven) else "FAILED"
                print(f"{sample.name:16} {build!s:40} {kind}: {failure}")
                failures.append(f"{sample.name} {build} {kind}")
                continue
            traced = outcomes[build.modes[0]]
            print(f"{sample.name:16} {build!s:40} {outcomes[NATIVE].seconds:6.2f}s {traced.seconds:6.2f}s  "
                  f"{what_happened(traced.report)}")
            sys.stdout.flush()
    if failures:
        print(f"{len(failures)} failed:", *failures, sep="\n  ")
    return 1 if failures else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
