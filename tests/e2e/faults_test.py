#!/usr/bin/env python3
"""A region whose memory is unmapped or read-only: the program's own fault must look as it does natively, with all that
was stored before it (the memory is a file) and nothing of what comes after."""
import harness
from harness import RUN, Expect, TraceTest, build

REPETITIONS = 6000
EXPECT = Expect(accelerated=True, symbol="scale")
MODES = (RUN,)


class FaultsTest(TraceTest):
    def check(self, what, handling, expect=EXPECT):
        program = build("faults.c")
        return self.same_when_accelerated(lambda scale: [program, what, handling, REPETITIONS * scale], expect, modes=MODES)

    def dies(self, what):
        # Ended by a signal, a program writes no last report: the proof is in `leaves` with the same loop.
        outcomes = self.check(what, "die", None)
        self.assertEqual(outcomes[RUN].status_text(), "ended by SIGSEGV")
        self.assertIn("written", outcomes[RUN].files)

    def test_dies_where_the_memory_ends(self):
        self.dies("unmapped")

    def test_dies_at_a_read_only_page(self):
        self.dies("readonly")

    def test_dies_where_what_it_reads_ends(self):
        self.dies("source")

    def test_dies_at_a_hole(self):
        self.dies("hole")

    def test_leaves_by_longjmp_where_the_memory_ends(self):
        self.check("unmapped", "jump")

    def test_leaves_by_longjmp_at_a_read_only_page(self):
        self.check("readonly", "jump")

    def test_leaves_by_longjmp_where_what_it_reads_ends(self):
        self.check("source", "jump")

    def test_leaves_by_longjmp_at_a_hole(self):
        self.check("hole", "jump")

    def test_repairs_a_missing_page(self):
        self.check("unmapped", "repair")

    def test_repairs_a_read_only_page(self):
        self.check("readonly", "repair")

    def test_repairs_a_page_it_reads(self):
        self.check("source", "repair")


if __name__ == "__main__":
    harness.main()
