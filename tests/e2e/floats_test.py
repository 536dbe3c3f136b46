#!/usr/bin/env python3
"""Every bit of float results: NaN with their signs and payloads, infinities, denormals, -0.0, other rounding modes,
flush-to-zero, trapping exceptions."""
import unittest

import harness
from harness import RUN, VERIFY, Expect, TraceTest, build

REPETITIONS = 60
ACCELERATED = Expect(accelerated=True)


class FloatsTest(TraceTest):
    def check(self, environment, values, expect=None, modes=(RUN, VERIFY)):
        for family in ("gcc", "clang"):
            with self.subTest(compiler=family):
                program = build("floats.c", family=family)
                self.same_when_accelerated(lambda scale: [program, environment, values, REPETITIONS * scale], expect,
                                           modes=modes)

    def test_ordinary_numbers(self):
        self.check("none", "plain", ACCELERATED)

    def test_nothing_but_nan_infinities_and_zeros(self):
        self.check("none", "all")

    def test_a_nan_now_and_then(self):
        self.check("none", "rare")

    def test_denormal_results(self):
        self.check("none", "tiny", ACCELERATED)

    def test_rounding_upward(self):
        self.check("up", "plain", ACCELERATED)

    def test_rounding_downward_with_special_values(self):
        self.check("down", "all")

    def test_rounding_to_zero_with_denormals(self):
        self.check("zero", "tiny")

    def test_flush_to_zero(self):
        self.check("flush", "tiny")

    def test_flush_to_zero_with_special_values(self):
        self.check("flush", "all")

    def test_trapping_exceptions_end_the_program_as_natively(self):
        self.check("traps", "rare", modes=(RUN,))

    def test_trapping_exceptions_reach_the_program(self):
        self.check("handled-traps", "all", modes=(RUN,))

    def test_trapping_exceptions_that_do_not_occur(self):
        self.check("traps", "plain", ACCELERATED)


if __name__ == "__main__":
    harness.main()
