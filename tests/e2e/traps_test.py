#!/usr/bin/env python3
"""Programs with traps of their own: theirs arrive as natively, ours never show."""
import harness
from harness import RUN, VERIFY, Expect, TraceTest, build

ACCELERATED = Expect(accelerated=True, symbol="work")
REPETITIONS = 2500


class TrapsTest(TraceTest):
    def check(self, what, expect=ACCELERATED, modes=(RUN, VERIFY)):
        program = build("traps.c")
        return self.same_when_accelerated(lambda scale: [program, what, REPETITIONS * scale], expect, modes=modes)

    def test_a_handler_counts_the_traps_of_the_program(self):
        self.check("handled")

    def test_a_handler_set_when_the_loop_is_hot(self):
        self.check("late")

    def test_blocked_and_waited_for(self):
        self.check("waited", Expect())

    def test_ignored(self):
        self.check("ignored")

    def test_a_trap_without_a_handler_ends_the_program(self):
        self.assertEqual(self.check("dies", None, (RUN,))[RUN].status_text(), "ended by SIGTRAP")

    def test_a_raised_trap_without_a_handler_ends_the_program(self):
        self.assertEqual(self.check("raised", None, (RUN,))[RUN].status_text(), "ended by SIGTRAP")

    def test_single_steps(self):
        self.check("stepped")


if __name__ == "__main__":
    harness.main()
