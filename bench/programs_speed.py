#!/usr/bin/env python3
"""Whole programs, compiled in every way a user might, and under `tracelift run`: who is how much faster than gcc -O2.

  programs_speed.py [--repetitions N] [--only PROGRAM...] [--variants VARIANT...] [--small] [--regions] [--out FILE]

For each program all variants take turns, `--repetitions` times, and a different one starts each time. Every output is
compared with the plain build's; a variant that prints something else, fails or cannot be built is shown as such and
counts in no mean. Each cold run of tracelift has a cache directory of its own, the warm run after it the same one.

Written is bench/results/programs_speed.json, but parts and small sizes only where --out says.
"""
import argparse
import json
import pathlib
import tempfile
import unittest

import measure
import speed_table
import variants
import programs_table
from measure import harness
from variants import COLD, NATIVE, WARM

HOTTEST = 6  # regions kept of each report


class Measured:
    """The runs of one variant of one program."""

    def __init__(self, variant, program):
        self.binary = None
        self.absent = ""     # why there is nothing to run
        self.failure = ""    # why its runs do not count
        try:
            self.binary = variant.build(program)
        except unittest.SkipTest as nothing:
            self.absent = str(nothing)
        except RuntimeError as failure:
            self.failure = str(failure)
        self.seconds = []
        self.peak_mib = 0.0
        self.report = None

    def take(self, run, expected):
        self.seconds.append(run.seconds)
        self.peak_mib = max(self.peak_mib, run.peak_mib)
        if run.killed:
            self.failure = f"killed after {run.seconds:.0f} s"
        elif run.status != 0:
            self.failure = f"exit status {run.status}"
        elif run.stdout != expected:
            self.failure = "other output"

    def row(self, native_s):
        if self.absent:
            return {"absent": self.absent}
        if not self.seconds:
            return {"failure": self.failure}
        row = measure.summary(self.seconds) | {"peak_mib": self.peak_mib}
        if self.failure:
            return row | {"failure": self.failure}
        row["speedup"] = round(native_s / measure.median(self.seconds), 3)
        if self.report:
            row |= {"compile_ms": round(self.report["compile_ms"], 1), "state": self.report["state"]}
            after = [region["heat_to_run_ms"] for region in self.report["regions"] if region["heat_to_run_ms"] > 0]
            row |= {"heat_to_run_ms": round(min(after), 1)} if after else {}
            row["regions"] = [harness.line_of(region) for region in self.report["regions"][:HOTTEST]]
        return row


class Comparison:
    """One program in all its variants."""

    def __init__(self, program, wanted, small):
        self.program = program
        self.small = small
        self.measured = {variant: Measured(variant, program) for variant in wanted}

    def run(self, repetitions):
        native = self.measured[NATIVE]
        if not native.binary:
            raise SystemExit(f"{self.program.name}: {native.failure or native.absent}")
        compiled = [[variant] for variant in self.measured if not variant.traced]
        traced = [variant for variant in self.measured if variant.traced]
        turns = compiled + ([traced] if traced else [])
        # One run that does not count says what must be printed, and how long is too long.
        first = measure.run_with_limit(self.program.command(native.binary, self.small), 600.0)
        if first.status != 0:
            raise SystemExit(f"{self.program.name}: exit status {first.status} natively")
        self.expected = first.stdout
        self.limit_s = 10.0 + 20 * first.seconds
        for i in range(repetitions):
            for turn in turns[i % len(turns):] + turns[:i % len(turns)]:
                self._run_traced() if turn is traced else self._run_compiled(turn[0])

    def _run_compiled(self, variant):
        measured = self.measured[variant]
        if measured.binary and not measured.failure:
            measured.take(self._execute(self.program.command(measured.binary, self.small)), self.expected)

    def _run_traced(self):
        with tempfile.TemporaryDirectory(prefix="tracelift-speed-") as folder:
            report = pathlib.Path(folder) / "report.json"
            for variant in (COLD, WARM) if WARM in self.measured else (COLD,):
                binary = self.measured[NATIVE].binary
                run = self._execute(measure.traced(self.program.command(binary, self.small), report,
                                                   pathlib.Path(folder) / "cache"))
                measured = self.measured.get(variant)
                if measured:
                    measured.take(run, self.expected)
                    measured.report = json.loads(report.read_text()) if report.exists() else measured.report
                report.unlink(missing_ok=True)

    def _execute(self, command):
        return measure.run_with_limit(command, self.limit_s)

    def row(self):
        native_s = measure.median(self.measured[NATIVE].seconds)
        return {"program": self.program.name, "kind": self.program.kind, "gcc_strict": self.program.gcc_strict,
                "variants": {variant.name: measured.row(native_s) for variant, measured in self.measured.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], metavar="PROGRAM")
    parser.add_argument("--variants", nargs="*", default=[], metavar="VARIANT")
    parser.add_argument("--small", action="store_true", help="the sizes of the tests")
    parser.add_argument("--regions", action="store_true", help="show what became of each program's hottest loops")
    parser.add_argument("--out")
    options = parser.parse_args()
    machine = measure.machine()
    wanted = variants.chosen(options.variants)
    rows = []
    print(speed_table.head(wanted))
    for program in programs_table.chosen(options.only):
        comparison = Comparison(program, wanted, options.small)
        comparison.run(options.repetitions)
        rows.append(comparison.row())
        print(speed_table.line(rows[-1], wanted), flush=True)
    summary = speed_table.summary(rows, wanted)
    print(speed_table.foot(rows, wanted, summary))
    if options.regions:
        print(speed_table.regions(rows))
    whole = not (options.only or options.variants or options.small)
    if whole or options.out:
        measure.save("programs_speed", {"machine": machine, "repetitions": options.repetitions, "small": options.small,
                                        "variants": {v.name: {"meaning": v.meaning, "flags": v.flags} for v in wanted},
                                        "summary": summary, "rows": rows}, options.out)
    wrong = [row["program"] for row in rows for v in (COLD, WARM) if row["variants"].get(v.name, {}).get("failure")]
    raise SystemExit(f"tracelift failed on: {' '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
