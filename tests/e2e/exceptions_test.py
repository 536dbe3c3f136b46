#!/usr/bin/env python3
"""C++ exceptions through frames of functions whose loops are taken over."""
import harness
from harness import RUN, VERIFY, Expect, TraceTest, build

ACCELERATED = Expect(accelerated=True)
REPETITIONS = 5000


class ExceptionsTest(TraceTest):
    def check(self, what, expect=ACCELERATED, modes=(RUN, VERIFY), level="-O2"):
        program = build("exceptions.cc", (level, "-fnon-call-exceptions"))
        return self.same_when_accelerated(lambda scale: [program, what, REPETITIONS * scale], expect, modes=modes)

    def test_thrown_below_the_frame_of_the_loop(self):
        self.check("through")

    def test_thrown_right_after_the_loop(self):
        self.check("after")

    def test_thrown_between_two_runs_of_an_inner_loop(self):
        self.check("between", Expect())

    def test_rethrown_on_another_thread(self):
        self.check("rethrown")

    def test_uncaught(self):
        outcomes = self.check("uncaught", None, (RUN,))
        self.assertEqual(outcomes[RUN].status_text(), "ended by SIGABRT")

    def test_thrown_out_of_the_loop_by_a_signal_handler(self):
        self.check("signalled")

    def test_thrown_out_of_unoptimised_code_by_a_signal_handler(self):
        self.check("signalled", level="-O0")


if __name__ == "__main__":
    harness.main()
