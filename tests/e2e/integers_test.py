#!/usr/bin/env python3
"""Integer arithmetic of every width, the way compilers emit it; with --full by more compilers and levels."""
import sys

import harness
from harness import RUN, VERIFY, Expect, TraceTest, build

KERNELS = """add8 saturate8 average8 mul16 absolute16 rotate32 shifts32 mul32 widen32 minmax32 unsigned32 mul64 high64
shifts64 sign_extend narrow compare divide32 divide_unsigned32 divide64 to_double from_double wide split""".split()

REPETITIONS = 2500


class IntegersTest(TraceTest):
    def test_a_divisor_of_zero_ends_the_program_as_natively(self):
        program = build("integers.c")
        outcomes = self.same_when_accelerated(lambda scale: [program, "zero_divisor", REPETITIONS // 2 * scale],
                                              None, modes=(RUN,))
        self.assertEqual(outcomes[RUN].status_text(), "ended by SIGFPE")


def add(kernel, expect, family, level):
    def test(self):
        program = build("integers.c", (level,), family)
        self.same_when_accelerated(lambda scale: [program, kernel, REPETITIONS * scale], expect, modes=(RUN, VERIFY))

    setattr(IntegersTest, f"test_{kernel}_{family}_{level.strip('-')}", test)


FULL = "--full" in sys.argv
if FULL:
    sys.argv.remove("--full")
# gcc leaves the upper part of a register as the iteration before had it, and stores only the lower: a value carried
# from one to the next that nobody uses. Not seen through yet.
STAYS_HOME_TODAY = {"compare"}
for kernel in KERNELS:
    proof = Expect() if kernel in STAYS_HOME_TODAY else Expect(accelerated=True, symbol=f"{kernel}_loop")
    add(kernel, proof, "gcc", "-O2")
    if FULL:
        for family, level in (("gcc", "-O1"), ("gcc", "-O3"), ("clang", "-O1"), ("clang", "-O2"), ("clang", "-O3")):
            add(kernel, Expect(), family, level)

if __name__ == "__main__":
    harness.main()
