#!/usr/bin/env python3
"""fork, vfork, posix_spawn, system and exec in the middle of accelerated work."""
import harness
from harness import PRELOAD, RUN, Expect, TraceTest, build

# The first part makes the loop hot; by the time of the fork most executions must have been elsewhere.
REPETITIONS = 1500


class ProcessesTest(TraceTest):
    def check(self, what, expect=Expect(accelerated=True, symbol="work", min_executions=REPETITIONS // 3),
              modes=(RUN, PRELOAD)):
        program = build("processes.c")
        return self.same_when_accelerated(lambda scale: [program, what, REPETITIONS * scale], expect, modes=modes)

    def test_fork_and_both_go_on(self):
        outcomes = self.check("fork")
        self.assertIn(b"same, child exited: 1, status 23", outcomes[RUN].stdout)

    def test_many_children(self):
        self.check("forks")

    def test_fork_while_another_thread_is_inside(self):
        # Two threads share the region, and the main one mostly finds it taken.
        self.check("thread", Expect(accelerated=True, symbol="work"))

    def test_vfork(self):
        self.check("vfork")

    def test_posix_spawn(self):
        self.check("spawn")

    def test_system(self):
        self.check("system")

    def test_exec(self):
        self.check("exec", Expect(accelerated=True, symbol="work"))

    def test_exec_from_another_thread(self):
        self.check("exec-thread", Expect(accelerated=True, symbol="work"))


if __name__ == "__main__":
    harness.main()
