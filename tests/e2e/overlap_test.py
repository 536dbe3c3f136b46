#!/usr/bin/env python3
"""a[i + k] = f(a[i]) with k known only at run time: independent for some k, not for others."""
import harness
from harness import PRELOAD, RUN, VERIFY, Expect, TraceTest, build

COUNT = 1 << 17
REPETITIONS = 6000
DEPENDENT = Expect(at_home=True, symbol="shift", reasons=frozenset({"DependentIterations"}))
INDEPENDENT = Expect(accelerated=True, symbol="shift")
READS_FIRST = INDEPENDENT  # each reads what only later ones write: in order, in vectors


class OverlapTest(TraceTest):
    def check(self, distances, expect, modes=(RUN, VERIFY)):
        program = build("overlap.c")
        rounds = REPETITIONS // len(distances)
        self.same_when_accelerated(lambda scale: [program, rounds * scale, *distances], expect, modes=modes)

    def test_in_place(self):
        self.check([0], INDEPENDENT)

    def test_each_iteration_reads_what_the_one_before_wrote(self):
        self.check([1], DEPENDENT)

    def test_each_iteration_overwrites_what_the_next_would_read(self):
        self.check([-1], READS_FIRST)

    def test_short_distances(self):
        for distance in (2, 7, -7, 64, -64, 1000):
            with self.subTest(k=distance):
                self.check([distance], DEPENDENT if distance > 0 else READS_FIRST, modes=(RUN,))

    def test_distance_just_below_the_number_of_iterations(self):
        self.check([COUNT - 1], Expect(), modes=(RUN, VERIFY))

    def test_distance_of_the_number_of_iterations(self):
        self.check([COUNT], INDEPENDENT)
        self.check([-COUNT], INDEPENDENT)

    def test_far_apart(self):
        self.check([2 * COUNT], INDEPENDENT)

    def test_every_entry_another_distance(self):
        self.check([0, 1, 7, 64, -1, -64, COUNT, -COUNT, COUNT - 1, 2 * COUNT], Expect(), modes=(RUN, VERIFY, PRELOAD))

    def test_mostly_independent(self):
        self.check([0] * 40 + [1] + [COUNT] * 40 + [-3], Expect(), modes=(RUN, VERIFY))


if __name__ == "__main__":
    harness.main()
