#!/usr/bin/env python3
"""--math=relaxed: results close to the original's, by means that the report names; strict where it comes out too far."""
import unittest

import harness
from harness import NATIVE, RUN, Case, TraceTest, build, table_of

SIZE = 400_000
ROUNDS = {"sum": 600, "exp": 60, "polynomial": 60, "rounded": 200, "rounded_exp": 60}
RELAXED = {"TRACELIFT_MATH": "relaxed"}


def numbers(outcome):
    return [float(line) for line in outcome.stdout.split()]


class RelaxedTest(TraceTest):
    def run_relaxed(self, function, is_shown, flags=("-O2",)):
        """The outcomes natively and relaxed, with more work each time until the report shows what it is to."""
        program = build("relaxed.c", flags)
        for scale in (1, 4, 16):
            case = Case([program, function, SIZE, ROUNDS[function] * scale], name=f"relaxed-{function}", env=RELAXED)
            native, traced = case.execute(NATIVE), case.execute(RUN)
            self.assertEqual(native.status, 0)
            self.assertEqual(traced.status, 0, traced.stderr)
            case.discard()
            if is_shown(traced.report):
                return native, traced
        self.fail(f"{function}: not shown by the report: {table_of(traced.report)}; notes {traced.report['notes']}")

    def check(self, function, means, flags=("-O2",)):
        def names_means(report):
            return any(means in region["transformation"] and region["verified"] > 0 for region in report["regions"])

        native, traced = self.run_relaxed(function, names_means, flags)
        for expected, found in zip(numbers(native), numbers(traced), strict=True):
            self.assertAlmostEqual(found, expected, delta=1e-9 * abs(expected))

    def test_sums(self):
        self.check("sum", "sums in another order")
        self.check("sum", "sums in another order", flags=("-O3", "-march=native"))

    def test_libmvec(self):
        self.check("exp", "libmvec exp log")

    def test_fused_operations(self):
        self.check("polynomial", "fused multiply-adds")

    def test_strict_where_it_would_ruin_results(self):
        def is_strict_again(report):
            strict = [r for r in report["regions"] if r["verified"] > 0 and r["executions"] > 0 and "relaxed" not in r["transformation"]]
            return strict and any("compiled again with strict math" in note for note in report["notes"])

        for function in ("rounded", "rounded_exp"):
            with self.subTest(function=function):
                native, traced = self.run_relaxed(function, is_strict_again)
                self.assertEqual(native.stdout, traced.stdout)


if __name__ == "__main__":
    harness.main()
