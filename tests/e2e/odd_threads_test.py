#!/usr/bin/env python3
"""Threads that are cancelled, block all signals, have hardly any stack, or end while others work."""
import harness
from harness import PRELOAD, RUN, VERIFY, Expect, TraceTest, build

ACCELERATED = Expect(accelerated=True, symbol="work")
REPETITIONS = 3000


class OddThreadsTest(TraceTest):
    def check(self, what, expect=ACCELERATED, modes=(RUN,), prefix=()):
        program = build("odd_threads.c")
        self.same_when_accelerated(lambda scale: [*prefix, program, what, REPETITIONS * scale], expect, modes=modes)

    def test_cancelled_inside_the_loop(self):
        self.check("cancelled", modes=(RUN, VERIFY))

    def test_all_signals_blocked(self):
        self.check("blocked", modes=(RUN, VERIFY))

    def test_all_signals_blocked_by_the_system_call(self):
        # Our traps cannot arrive: what needs them must stay home, the rest may not.
        self.check("blocked-raw", Expect())

    def test_hardly_any_stack_left(self):
        # Dispatch needs 48 KiB; with less the original goes on.
        self.check("small", Expect(), modes=(RUN, VERIFY))

    def test_threads_that_nobody_waits_for(self):
        self.check("detached", modes=(RUN, PRELOAD))

    def test_main_thread_ends_first(self):
        self.check("exits", Expect(), modes=(RUN, PRELOAD))

    def test_a_main_stack_of_256_kilobytes(self):
        self.check("main", modes=(RUN, VERIFY), prefix=("/bin/sh", "-c", 'ulimit -s 256; exec "$0" "$@"'))


if __name__ == "__main__":
    harness.main()
