#!/usr/bin/env python3
"""Random loop nests, built by both compilers at every level: the same bytes under tracelift, and enough of them run by it.

  random_loops.py [--programs N] [--seed S] [--least-percent N]     (the same seed makes the same programs)
"""
import argparse
import pathlib
import re
import sys
import tempfile

import harness
from harness import NATIVE, RUN, VERIFY, Case, build, difference
from random_program import random_program

NATIVE_CPU = ("-O3", "-march=native")
BUILDS = [("gcc", ("-O2",)), ("clang", ("-O2",)), ("gcc", ("-O1",)), ("gcc", NATIVE_CPU), ("clang", ("-O3",)),
          ("clang-14", ("-O1",)), ("gcc", ("-O0",)), ("clang", NATIVE_CPU), ("gcc", ("-O3",)), ("clang", ("-O0",)),
          ("clang-14", ("-O2",)), ("gcc", ("-Ofast", "-march=native"))]


def kernels_of(regions):
    """The kernels that have some of the regions, without the functions they call."""
    found = (re.match(r"kernel\d+(?=[.+])", region["symbol"] or "") for region in regions)
    return {match.group() for match in found if match}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least-percent", type=int, default=25, help="of the hot kernels that must have been accelerated")
    options = parser.parse_args()
    wrong, accelerated, seen = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.programs):
            seed = options.seed * 1_000_000 + number
            family, level = BUILDS[(options.seed + number) % len(BUILDS)]
            source = pathlib.Path(folder) / f"random_{seed}.c"
            source.write_text(random_program(seed))
            program = build(source, (*level, "-fwrapv"), family)
            case = Case([program], name=source.stem, env={"TRACELIFT_HOT_MS": "5"}, timeout=120)
            native = case.execute(NATIVE)
            for mode in (RUN, VERIFY):
                traced = case.execute(mode)
                found = difference(native, traced)
                mismatches = [r for r in (traced.report or {"regions": []})["regions"] if r["reason"] == "VerificationMismatch"]
                if found or mismatches:
                    wrong.append(f"seed {seed} {family} {' '.join(level)} {mode}: {found or harness.line_of(mismatches[0])}")
                    print(wrong[-1], flush=True)
                if mode == RUN and traced.report:
                    seen += len(kernels_of(traced.report["regions"]))
                    accelerated += len(kernels_of(r for r in traced.report["regions"] if r["passes"] > 0))
            case.discard()
            pathlib.Path(program).unlink()
            pathlib.Path(program).parent.rmdir()
    print(f"{options.programs} programs: {seen} hot kernels, {accelerated} accelerated, {len(wrong)} wrong")
    if accelerated * 100 < options.least_percent * seen or seen == 0:
        print("too few were accelerated for this to prove anything")
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
