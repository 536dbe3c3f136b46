#!/usr/bin/env python3
"""What bench/programs_speed.py tells must not flatter: what failed counts in no mean, and is shown."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import measure  # noqa: E402  (found through the path above)
import programs_speed  # noqa: E402
import speed_table  # noqa: E402
import variants  # noqa: E402

WANTED = list(variants.ALL)
OURS = [variants.NATIVE, variants.COLD, variants.WARM]


def measured(seconds, native=4.0, **more):
    return {"median_s": seconds, "peak_mib": 10.0, "speedup": native / seconds} | more


def row(name="p", **found):
    return {"program": name, "gcc_strict": (), "variants": {"native": measured(4.0)} | {k.replace("_", "-"): v for k, v in found.items()}}


class SpeedTableTest(unittest.TestCase):
    def test_the_mean_is_geometric(self):
        summary = speed_table.summary([row(warm=measured(1.0)), row(warm=measured(4.0))], OURS)
        self.assertEqual(summary["geometric_mean"]["warm"], 2.0)

    def test_other_output_counts_in_no_mean_and_is_named(self):
        wrong = {"median_s": 0.1, "peak_mib": 10.0, "failure": "other output"}
        rows = [row("right", clang=measured(2.0), warm=measured(1.0)), row("wrong", clang=wrong, warm=measured(4.0))]
        summary = speed_table.summary(rows, WANTED)
        self.assertEqual(summary["geometric_mean"]["clang"], 2.0)
        self.assertEqual(summary["programs"]["clang"], 1)
        self.assertIn("FAILED", speed_table.line(rows[1], WANTED))
        self.assertIn("wrong, clang: other output", speed_table.foot(rows, WANTED, summary))

    def test_a_missing_compiler_is_named(self):
        rows = [row(clang={"absent": "no clang compiler for p.f90"}, warm=measured(1.0))]
        self.assertNotIn("FAILED", speed_table.line(rows[0], WANTED))
        self.assertIn("no clang compiler for p.f90", speed_table.foot(rows, WANTED, speed_table.summary(rows, WANTED)))

    def test_ours_is_compared_with_the_best_of_the_compilers(self):
        one = row(gcc_O3=measured(2.0), polly=measured(0.5), openmp=measured(0.25), warm=measured(1.0))
        self.assertEqual(speed_table.best_compiler(one), (8.0, "polly"))
        self.assertEqual(speed_table.versus_best(one), 0.5)
        self.assertEqual(speed_table.summary([one], WANTED)["behind_best_compiler"], ["p"])

    def test_a_loss_is_named(self):
        summary = speed_table.summary([row("slow", cold=measured(4.2)), row("even", cold=measured(4.1))], OURS)
        self.assertEqual(summary["below_native"]["cold"], ["slow"])

    def test_compiling_must_repay_tenfold(self):
        rows = [row("dear", cold=measured(3.0, compile_ms=101.0)), row("cheap", cold=measured(3.0, compile_ms=99.0))]
        self.assertEqual(speed_table.summary(rows, OURS)["compiling_above_tenth_of_saving"]["cold"], ["dear"])


class FakeVariant:
    """Builds what the test says, or raises it."""

    def __init__(self, outcome):
        self.outcome = outcome

    def build(self, program):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class MeasuredTest(unittest.TestCase):
    def taken(self, stdout=b"right", status=0, killed=False):
        found = programs_speed.Measured(FakeVariant("binary"), None)
        found.take(measure.Run(2.0, b"right", 0, False, 10.0), b"right")
        found.take(measure.Run(2.0, stdout, status, killed, 30.0), b"right")
        return found.row(native_s=4.0)

    def test_runs_that_agree_have_a_speedup(self):
        self.assertEqual((self.taken()["speedup"], self.taken()["peak_mib"]), (2.0, 30.0))

    def test_one_wrong_run_of_several_spoils_them(self):
        for wrong in ({"stdout": b"wrong"}, {"status": 1}, {"status": -9, "killed": True}):
            self.assertNotIn("speedup", self.taken(**wrong))
            self.assertIn("failure", self.taken(**wrong))

    def test_what_cannot_be_built_says_why(self):
        absent = programs_speed.Measured(FakeVariant(unittest.SkipTest("no compiler")), None)
        failed = programs_speed.Measured(FakeVariant(RuntimeError("no such flag")), None)
        self.assertEqual(absent.row(4.0), {"absent": "no compiler"})
        self.assertEqual(failed.row(4.0), {"failure": "no such flag"})

    def test_what_takes_too_long_is_killed(self):
        run = measure.run_with_limit(["sleep", "60"], 0.1)
        self.assertTrue(run.killed)
        self.assertFalse(measure.run_with_limit(["true"], 60).killed)


if __name__ == "__main__":
    unittest.main()
