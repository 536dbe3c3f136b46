#!/usr/bin/env python3
"""A pool of threads hammers one loop while it is patched, recompiled and put back."""
import harness
from harness import PRELOAD, RUN, VERIFY, Expect, TraceTest, build

ACCELERATED = Expect(accelerated=True, symbol="work")


class ThreadsTest(TraceTest):
    def check(self, mode, expect, threads=8, modes=(RUN, VERIFY), repetitions=1200):
        program = build("threads.c")
        self.same_when_accelerated(lambda scale: [program, mode, threads, repetitions * scale], expect, modes=modes)

    def test_steady_sizes(self):
        self.check("steady", ACCELERATED)

    def test_sizes_that_change_at_every_call(self):
        self.check("changing", Expect(), modes=(RUN, VERIFY, PRELOAD))

    def test_dependent_iterations_in_every_other_call(self):
        self.check("overlapping", Expect())

    def test_threads_that_come_and_go(self):
        self.check("growing", ACCELERATED)

    def test_more_threads_than_anything(self):
        self.check("changing", Expect(), threads=64, repetitions=120, modes=(RUN,))

    def test_again_and_again(self):
        """The moment of patching differs every time."""
        program = build("threads.c")
        for _ in range(15):
            self.same([program, "changing", 8, 200], modes=(RUN,))


if __name__ == "__main__":
    harness.main()
