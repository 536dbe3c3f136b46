#!/usr/bin/env python3
"""The end-to-end scripts again, their programs built by other compilers and at other levels: the same bytes.

  levels_test.py [--full] [SCRIPT...]

By itself each script but the longest at one level by one compiler, another one for each script; with --full all at all.
"""
import argparse
import itertools
import os
import pathlib
import subprocess
import sys

import harness

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ("floats", "exceptions", "overlap", "faults", "threads", "traps", "signals", "endings", "libm")
LONG = ("float_modes", "storm", "integers", "shapes")
# Neighbours differ in both.
BUILDS = ("gcc -O0", "clang -O3 -march=native", "clang-14 -Ofast -march=native", "clang -O0", "gcc -Ofast -march=native",
          "clang-14 -O3 -march=native", "gcc -O3 -march=native", "clang-14 -O0", "clang -Ofast -march=native")


def passes(script, build):
    environment = os.environ | {"TRACELIFT_E2E_BUILD": build}
    run = subprocess.run([sys.executable, HERE / f"{script}_test.py"], env=environment, capture_output=True, text=True)
    print(f"{script:12} {build:30} {'same' if run.returncode == 0 else 'FAILED'}", flush=True)
    if run.returncode != 0:
        print(run.stdout + run.stderr, flush=True)
    return run.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("scripts", nargs="*", help=", ".join(SCRIPTS + LONG))
    options = parser.parse_args()
    if unknown := set(options.scripts) - set(SCRIPTS + LONG):
        parser.error(f"no such script: {', '.join(sorted(unknown))}")
    scripts = options.scripts or SCRIPTS + LONG * options.full
    builds = [b for b in BUILDS if harness.compiler_for(pathlib.Path("a.c"), b.split()[0])]
    pairs = itertools.product(scripts, builds) if options.full else zip(scripts, itertools.cycle(builds))
    results = [passes(script, build) for script, build in pairs]
    print(f"{len(results)} runs, {results.count(False)} failed")
    return 1 if False in results or not results else 0


if __name__ == "__main__":
    sys.exit(main())
