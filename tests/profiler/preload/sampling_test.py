"""Sampling by the preload library, seen through a runtime that writes down what it is given."""
import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

STAGE = pathlib.Path(sys.argv.pop(1))


def run(*arguments, **variables):
    """Where the program says its functions are, and what the runtime was given."""
    with tempfile.TemporaryDirectory() as folder:
        samples = pathlib.Path(folder, "samples")
        environment = dict(os.environ, LD_PRELOAD=str(STAGE / "libtracelift.so"), FAKE_SAMPLES=str(samples), **variables)
        done = subprocess.run([STAGE / "hot_program", *arguments], env=environment, capture_output=True, text=True,
                              timeout=60, check=True)
        words = done.stdout.split()
        places = {words[0]: int(words[1], 16) >> 12, words[2]: int(words[3], 16) >> 12}
        lines = samples.read_text().splitlines() if samples.exists() else []
        return places, [line.split() for line in lines if line], done.stderr


def pages(lines):
    return collections.Counter(int(line[1], 16) >> 12 for line in lines if line[0] == "sample" and line[3] == "1")


class Sampling(unittest.TestCase):
    def check_hot_loop(self, source, fewest, **variables):
        places, lines, _ = run("main", "600", **variables)
        found = pages(lines)
        self.assertGreater(found.total(), fewest)
        self.assertGreater(found[places["main"]] / found.total(), 0.9)
        self.assertIn(["source", *source.split()], lines)
        self.assertIn(["sigtrap", "1"], lines)

    def test_finds_the_hot_loop_with_perf_events(self):
        self.check_hot_loop("perf cpu-clock", 80)

    def test_finds_the_hot_loop_with_timers(self):
        self.check_hot_loop("timer", 40, TRACELIFT_SAMPLER="timer")

    def check_late_threads(self, **variables):
        places, lines, _ = run("late", "500", **variables)
        found = pages(lines)
        threads = {line[2] for line in lines if line[0] == "sample" and int(line[1], 16) >> 12 == places["thread"]}
        self.assertGreater(found[places["thread"]], 30)  # sampled more coarsely than the first quarter of a second
        self.assertEqual(len(threads), 3)

    def test_samples_threads_that_start_later(self):
        self.check_late_threads()

    def test_samples_threads_that_start_later_with_timers(self):
        self.check_late_threads(TRACELIFT_SAMPLER="timer")

    def test_copies_stacks(self):
        _, lines, _ = run("main", "800")
        stacks = [line for line in lines if line[0] == "stack"]
        self.assertGreater(len(stacks), 4)
        self.assertTrue(all(256 <= int(line[3]) <= 8192 for line in stacks), stacks)

    def test_opens_no_runtime_for_heat_in_the_c_library(self):
        _, lines, notes = run("spread", "400", TRACELIFT_LOG="1")
        self.assertEqual(lines, [])
        self.assertNotIn("runtime opened", notes)

    def test_opens_no_runtime_for_a_short_program(self):
        _, lines, _ = run("main", "20")
        self.assertEqual(lines, [])

    def test_opens_no_runtime_when_off(self):
        _, lines, _ = run("main", "300", TRACELIFT_OFF="1")
        self.assertEqual(lines, [])

    def test_names_invalid_options_only_when_asked(self):
        _, _, quiet = run("main", "1", TRACELIFT_HOT_MS="soon")
        _, _, loud = run("main", "1", TRACELIFT_HOT_MS="soon", TRACELIFT_LOG="1")
        self.assertEqual(quiet, "")
        self.assertIn("TRACELIFT_HOT_MS=soon", loud)


if __name__ == "__main__":
    unittest.main()
