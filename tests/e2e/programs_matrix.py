#!/usr/bin/env python3
"""The whole programs of bench/programs, small, built by every compiler at every level, under `tracelift run --verify=always`: the
same bytes as natively, and no slice that differs from the original's.

  programs_matrix.py [--levels LEVEL...] [--families FAMILY...] [--devices LIST] [--jobs N] [PROGRAM...]
"""
import argparse
import concurrent.futures
import itertools
import sys
import unittest

import harness
from harness import NATIVE, ROOT, VERIFY, Case, build, difference

sys.path.insert(0, str(ROOT / "bench"))
import programs_table

LEVELS = ("O0", "O1", "O2", "O3", "O3 -march=native", "Ofast -march=native")
FAMILIES = ("gcc", "clang-14", "clang")  # the last one is clang 19
HOT_MS = "5"  # they are short


def problem_of(program, family, level, devices):
    """None, or what is wrong; with what became of its loops."""
    binary = build(program.source, f"-{level}".split(), family)
    command = [str(part) for part in program.command(binary, small=True)]
    env = {"TRACELIFT_HOT_MS": HOT_MS, "TRACELIFT_DEVICES": devices}
    case = Case(command, name=program.name, env=env, timeout=300)
    native, traced = case.execute(NATIVE), case.execute(VERIFY)
    regions = traced.report["regions"] if traced.report else []
    verified = sum(region["verified"] for region in regions)
    wrong = difference(native, traced) or harness.defect(traced.report)
    if any(region["reason"] == "VerificationMismatch" for region in regions):
        wrong = "a slice differs from the original's"
    if wrong:
        return f"{wrong}; kept: {case.base}", verified
    case.discard()
    return None, verified


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--levels", nargs="*", default=LEVELS)
    parser.add_argument("--families", nargs="*", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--devices", default="cpu", help="where regions run")
    parser.add_argument("--jobs", type=int, default=1, help="at the same time")
    parser.add_argument("program", nargs="*")
    options = parser.parse_args()
    known = {program.name: program for program in programs_table.PROGRAMS}
    if unknown := set(options.program) - set(known):
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    programs = [known[name] for name in options.program] or programs_table.PROGRAMS
    failed, runs, slices = [], 0, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        started = {}
        for program, family, level in itertools.product(programs, options.families, options.levels):
            started[pool.submit(problem_of, program, family, level, options.devices)] = f"{program.name} {family} -{level}"
        for future in concurrent.futures.as_completed(started):
            name = started[future]
            try:
                wrong, verified = future.result()
            except unittest.SkipTest:  # no such compiler, or none for this language
                continue
            runs += 1
            slices += verified
            if wrong:
                failed.append(name)
            print(f"{name:50} {wrong or f'same, {verified} slices verified'}", flush=True)
    print(f"{runs} builds, {slices} slices verified, {len(failed)} failed" + "".join(f"\n  {name}" for name in failed))
    return 1 if failed or slices == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
