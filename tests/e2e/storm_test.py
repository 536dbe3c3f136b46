#!/usr/bin/env python3
"""Loops that are patched, put back and patched again while eight threads run them in a storm of signals."""
import harness
from harness import RUN, VERIFY, Expect, TraceTest, build


class StormTest(TraceTest):
    def test_threads_and_handlers_see_no_difference(self):
        self.same_when_accelerated(lambda scale: [build("storm.c"), 8, 2000 * scale],
                                   Expect(accelerated=True, symbol="scale"), modes=(RUN, VERIFY))

    def test_again_and_again(self):
        """The moments of patching and of signals differ every time."""
        for _ in range(6):
            self.same([build("storm.c"), 8, 600], modes=(RUN,))

    def test_more_threads_than_anything(self):
        self.same([build("storm.c"), 48, 150], modes=(RUN,))


if __name__ == "__main__":
    harness.main()
