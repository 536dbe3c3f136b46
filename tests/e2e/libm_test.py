#!/usr/bin/env python3
"""Loops whose time is spent in libm: found by their callees, run elsewhere, the same bits as the program's own libm gives."""
import unittest

import harness
from harness import RUN, VERIFY, Expect, TraceTest, build

SIZE = 300_000
FUNCTIONS = {"exp": 250, "log": 250, "sin": 80, "cos": 80, "pow": 90, "erf": 60, "all": 20, "option": 60}


class LibmTest(TraceTest):
    def check(self, function, flags=("-O2",)):
        program = build("libm.c", flags)
        self.same_when_accelerated(lambda scale: [program, function, SIZE, FUNCTIONS[function] * scale],
                                   Expect(accelerated=True), modes=(RUN, VERIFY))

    def test_each_function(self):
        for function in ("exp", "log", "sin", "cos", "pow", "erf"):
            with self.subTest(function=function):
                self.check(function)

    def test_all_in_one_loop(self):
        self.check("all")

    def test_behind_a_function_of_the_program(self):
        self.check("option")

    def test_unoptimised(self):
        self.check("all", flags=("-O0",))


if __name__ == "__main__":
    harness.main()
