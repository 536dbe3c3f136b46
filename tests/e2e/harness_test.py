#!/usr/bin/env python3
"""The harness must notice: cases that fail on purpose, against a product that does whatever it is told."""
import json
import pathlib
import shutil
import tempfile
import unittest

import fake_product
import harness
from harness import NATIVE, RUN, VERIFY, Expect, NotProven, TraceTest

FAKED = 'if [ -n "$TRACELIFT_FAKED" ]; then {}; else {}; fi'


def sh(faked, natively):
    return ["sh", "-c", FAKED.format(faked, natively)]


def region(**fields):
    values = {"module": "/bin/x", "offset": 64, "symbol": "kernel+0x10", "source": "", "callers": [], "sample_share": 0.9, "samples": 90,
              "state": "accelerated", "executions": 5, "declines": 0, "passes": 100, "verified": 2, "reason": "",
              "reason_text": "", "decline_reasons": []}
    return values | fields


def report(*regions, state="active"):
    return {"format": "tracelift-report", "version": 4, "state": state, "samples": 100, "cpu_ms": 100.0, "notes": [],
            "regions": list(regions)}


class HarnessTest(TraceTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="tracelift-fake-"))
        fake_product.create(cls.folder / "build")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def rejected(self, text, command, expect=None, **options):
        """`same` must fail on it with these words, and keep what is needed to look closer."""
        with self.assertRaises(AssertionError) as caught:
            self.same(command, expect, **options)
        self.assertIn(text, str(caught.exception))
        case = caught.exception.case
        self.assertTrue((case.base / "run-repro.sh").exists())
        self.assertTrue((case.base / "native.stdout").exists())
        case.discard()
        return caught.exception

    def test_equal_runs_pass(self):
        outcomes = self.same(["sh", "-c", "echo out; echo err >&2; echo data > file; exit 3"])
        self.assertEqual(outcomes[NATIVE].status, 3)
        self.assertEqual(outcomes[RUN].stdout, b"out\n")
        self.assertEqual(list(outcomes[RUN].files), ["file"])

    def test_different_output_is_noticed(self):
        self.rejected("stdout differs at byte 2", sh("echo 124", "echo 123"))

    def test_missing_output_is_noticed(self):
        self.rejected("stdout differs", sh("true", "echo 123"))

    def test_different_error_output_is_noticed(self):
        self.rejected("stderr differs", sh("echo oops >&2", "true"))

    def test_different_exit_status_is_noticed(self):
        self.rejected("exit status 0 natively, exit status 1", sh("exit 1", "exit 0"))

    def test_death_by_signal_is_not_an_exit_status(self):
        self.rejected("ended by SIGSEGV natively, exit status 139", sh("exit 139", "kill -SEGV $$"))

    def test_a_different_file_is_noticed(self):
        self.rejected("files differ: ['out']", sh("echo a > out", "echo b > out"))

    def test_a_missing_file_is_noticed(self):
        self.rejected("files differ: ['out']", sh("true", "echo b > out"))

    def test_different_permissions_are_noticed(self):
        self.rejected("files differ: ['out']", sh("umask 077; echo > out", "umask 022; echo > out"))

    def test_a_hang_is_noticed(self):
        self.rejected("it hangs", sh("sleep 60", "true"), timeout=1)

    def test_missing_report_is_noticed(self):
        failure = self.rejected("there is no report", ["true"], Expect(accelerated=True))
        self.assertIsInstance(failure, NotProven)

    def check_report(self, found, expect, mode=RUN):
        return self.same(["true"], expect, env={"FAKE_REPORT": json.dumps(found)}, modes=(mode,))

    def refuse_report(self, text, found, expect=None, mode=RUN):
        with self.assertRaises(AssertionError) as caught:
            self.check_report(found, expect, mode)
        self.assertIn(text, str(caught.exception))
        caught.exception.case.discard()

    def test_proof_of_acceleration_passes(self):
        self.check_report(report(region()), Expect(accelerated=True, symbol="kernel"))

    def test_silent_fallback_is_noticed(self):
        self.refuse_report("no region was accelerated", report(region(executions=0, passes=0, state="rejected")),
                           Expect(accelerated=True))

    def test_acceleration_without_comparison_is_no_proof(self):
        self.refuse_report("no region was accelerated", report(region(verified=0)), Expect(accelerated=True))

    def test_acceleration_elsewhere_is_no_proof(self):
        self.refuse_report("no region was accelerated in main", report(region()), Expect(accelerated=True, symbol="main"))

    def test_too_few_executions_are_no_proof(self):
        self.refuse_report("no region was accelerated", report(region()), Expect(accelerated=True, min_executions=6))

    def test_acceleration_of_what_must_stay_home_is_noticed(self):
        self.refuse_report("must stay home", report(region()), Expect(at_home=True))

    def test_what_is_hardly_hot_need_not_stay_home(self):
        self.check_report(report(region(sample_share=0.1)), Expect(at_home=True, min_share=0.3))

    def test_a_wrong_reason_is_noticed(self):
        rejected = region(executions=0, state="rejected", reason="CallInLoop")
        self.refuse_report("for one of ['CarriedValue']", report(rejected), Expect(reasons=frozenset({"CarriedValue"})))

    def test_a_right_reason_passes_also_as_a_decline(self):
        declined = region(executions=0, state="installed", declines=3, decline_reasons=[["DependentIterations", 3]])
        self.check_report(report(declined), Expect(at_home=True, reasons=frozenset({"DependentIterations"})))

    def test_a_mismatch_is_never_accepted(self):
        wrong = region(state="put-back", reason="VerificationMismatch")
        self.refuse_report("computed other bytes", report(region(), wrong), Expect(accelerated=True))

    def test_turning_off_is_never_accepted(self):
        self.refuse_report("turned itself off", report(state="off: a fault on the compiling thread"))

    def test_a_variant_in_profile_only_is_noticed(self):
        self.refuse_report("profile-only ran a variant", report(region()), Expect(), mode=harness.PROFILE)

    def test_more_work_is_tried_until_it_is_proven(self):
        scales = []

        def command(scale):
            scales.append(scale)
            return ["sh", "-c", f"test {scale} -lt 4 || cp \"$GOOD\" \"$TRACELIFT_REPORT\" 2>/dev/null; true"]

        good = self.folder / "good.json"
        good.write_text(json.dumps(report(region())))
        self.same_when_accelerated(command, Expect(accelerated=True), modes=(VERIFY,),
                                   env={"GOOD": str(good)})
        self.assertEqual(scales, [1, 2, 4])


if __name__ == "__main__":
    unittest.main()
