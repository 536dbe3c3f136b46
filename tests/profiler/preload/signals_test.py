"""Signals of a program with the runtime opened in it: as without, in output and in how the process ends."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

STAGE = pathlib.Path(sys.argv.pop(1))
MODES = ["segv-default", "segv-thread", "segv-ignored", "segv-handler", "segv-nodefer", "segv-once", "bus", "fpe", "ill",
         "abort", "abort-handled", "trap-default", "trap-ignored", "trap-handler", "kill-segv", "bsd", "sysv",
         "alternate", "overflow", "readback", "exec-ignored", "fork", "vfork"]


def outcome(arguments, environment):
    done = subprocess.run([STAGE / "signal_probe", *arguments], env=environment, capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


class Signals(unittest.TestCase):
    def compare(self, mode, *when):
        native = outcome([mode, *when], dict(os.environ))
        with tempfile.TemporaryDirectory() as folder:
            samples = pathlib.Path(folder, "samples")
            traced = outcome([mode, *when], dict(os.environ, LD_PRELOAD=str(STAGE / "libtracelift.so"),
                                                 FAKE_SAMPLES=str(samples), TRACELIFT_HOT_MS="20"))
            self.assertTrue(samples.exists(), "the runtime was not opened, so nothing was tested")
        self.assertEqual(native, traced)
        return native


for mode in MODES:
    def handlers_set_later(self, mode=mode):
        self.compare(mode)

    def handlers_set_before(self, mode=mode):
        self.compare(mode, "early")

    name = mode.replace("-", "_")
    setattr(Signals, f"test_{name}_with_dispositions_set_after_the_runtime_came", handlers_set_later)
    setattr(Signals, f"test_{name}_with_dispositions_set_before_the_runtime_came", handlers_set_before)


class Harness(unittest.TestCase):
    def test_modes_differ_from_each_other(self):
        """A probe that did nothing would make every comparison pass."""
        outcomes = {mode: outcome([mode, "early"], dict(os.environ)) for mode in ("segv-default", "trap-default", "fpe", "bus",
                                                                       "segv-handler", "readback", "alternate")}
        self.assertEqual(len(set(outcomes.values())), len(outcomes))
        self.assertEqual(outcomes["segv-default"][0], -11)


if __name__ == "__main__":
    unittest.main()
