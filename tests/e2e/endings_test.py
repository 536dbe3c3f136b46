#!/usr/bin/env python3
"""The program may end at any moment, also while we sample, load, patch or compile."""
import harness
from harness import PRELOAD, RUN, TraceTest, build

HOW = "return exit _exit quick thread pthread abort throw".split()


class EndingsTest(TraceTest):
    def setUp(self):
        super().setUp()
        self.program = build("endings.cc")

    def check(self, how, times_ms, mode):
        for ms in times_ms:
            with self.subTest(how=how, ms=ms):
                self.same([self.program, how, ms], modes=(mode,), timeout=30, name="endings")

    def test_every_way_to_end(self):
        for how in HOW:
            self.check(how, (3, 20, 60, 250), RUN)

    def test_at_any_moment_by_return(self):
        self.check("return", [5 + i * 2 for i in range(45)], PRELOAD)

    def test_at_any_moment_by_exit_in_another_thread(self):
        self.check("thread", [6 + i * 2 for i in range(45)], PRELOAD)

    def test_at_any_moment_by_exit_without_cleaning_up(self):
        self.check("_exit", [7 + i * 4 for i in range(20)], PRELOAD)


if __name__ == "__main__":
    harness.main()
