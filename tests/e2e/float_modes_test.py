#!/usr/bin/env python3
"""Programs that run under another rounding mode, or flush denormals, as all do that are linked with -Ofast: the same bytes,
and accelerated. Hand-written loops, and random ones over data full of denormals."""
import pathlib
import tempfile
import unittest

import harness
from harness import NATIVE, RUN, VERIFY, Case, Expect, TraceTest, build, difference
from random_program import random_program

REPETITIONS = 450
ACCELERATED = Expect(accelerated=True)
ROUNDINGS = {"nearest": 0x0000, "down": 0x2000, "up": 0x4000, "zero": 0x6000}
FLUSH_TO_ZERO, DENORMALS_ARE_ZERO, MASKED = 0x8000, 0x0040, 0x1f80
RANDOM_PROGRAMS = 8

# MXCSR for the whole program, from the environment; all data a mixture of ordinary and denormal numbers.
SET_MODE = """#include <stdlib.h>
#include <xmmintrin.h>
__attribute__((constructor)) static void set_mode(void) { _mm_setcsr((unsigned)strtoul(getenv("MXCSR"), 0, 16)); }
"""


def random_float_program(seed):
    text = random_program(seed, repetitions=30000 if harness.other_build()[0] else 8000)  # which may be several times faster
    text = text.replace(" / (double)512", " * (i % 3 ? 1e-309 : 1.0 / 512)")
    return SET_MODE + text.replace(" / (float)512", " * (i % 3 ? 1e-40f : 1.0f / 512)")


class FloatModesTest(TraceTest):
    def check(self, mode, flags=("-O2",), expect=ACCELERATED, modes=(RUN, VERIFY), families=("gcc", "clang")):
        for family in families:
            with self.subTest(compiler=family):
                program = build("float_modes.c", flags, family)
                self.same_when_accelerated(lambda scale: [program, mode, REPETITIONS * scale], expect, modes=modes)

    def test_fast_math_programs_flush_denormals(self):
        self.check("as-built", ("-Ofast",))

    def test_fast_math_of_only_the_linker(self):
        self.check("as-built", ("-O3", "-mavx2", "-mfma", "-ffast-math"), families=("gcc",))

    def test_flush_to_zero_alone(self):
        self.check(f"{MASKED | FLUSH_TO_ZERO:x}", families=("gcc",))

    def test_denormals_are_zero_alone(self):
        self.check(f"{MASKED | DENORMALS_ARE_ZERO:x}", families=("gcc",))

    def test_rounding_upward(self):
        self.check(f"{MASKED | ROUNDINGS['up']:x}")

    def test_rounding_downward(self):
        self.check(f"{MASKED | ROUNDINGS['down']:x}", families=("clang",))

    def test_rounding_towards_zero_and_flushing(self):
        self.check(f"{MASKED | ROUNDINGS['zero'] | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO:x}", families=("gcc",))

    def test_another_mode_every_few_calls(self):
        self.check("changing")

    def test_traps_stay_at_home_and_the_report_says_why(self):
        program = build("float_modes.c")
        outcomes = self.same([program, "1d80", REPETITIONS], Expect(reasons=frozenset({"FloatEnvironment"})))
        texts = [r["reason_text"] for r in outcomes[RUN].report["regions"] if r["reason"] == "FloatEnvironment"]
        if harness.other_build()[0]:  # a compiler may take the division out of its loop
            return
        self.assertTrue(any("traps on a division by zero (MXCSR 0x1d80)" in text for text in texts), texts)

    def test_random_loops(self):
        hot, ran = 0, 0
        with tempfile.TemporaryDirectory() as folder:
            for number in range(RANDOM_PROGRAMS):
                mode = MASKED | list(ROUNDINGS.values())[number % 4] | (FLUSH_TO_ZERO | DENORMALS_ARE_ZERO) * (number % 3 != 2)
                source = pathlib.Path(folder) / f"random_modes_{number}.c"
                source.write_text(random_float_program(4_000_000 + number))
                family, flags = ("gcc", "clang")[number // 4 % 2], ("-O2", "-fwrapv", "-frounding-math")
                case = Case([build(source, flags, family)], source.stem, {"MXCSR": f"{mode:x}"})
                native = case.execute(NATIVE)
                for run in (RUN, VERIFY):
                    traced = case.execute(run)
                    self.assertIsNone(difference(native, traced), f"{source.stem} under {mode:x}; kept: {case.base}")
                    self.assertIsNone(harness.defect(traced.report), case.base)
                    if run == RUN and traced.report:
                        kernels = [r for r in traced.report["regions"] if "kernel" in (r["symbol"] or "")]
                        hot += len({r["symbol"].split(".")[0] for r in kernels})
                        ran += len({r["symbol"].split(".")[0] for r in kernels if r["passes"] > 0})
                case.discard()
        if harness.other_build()[0]:
            print(f"{ran} of {hot} hot kernels were accelerated")
            return
        self.assertGreater(ran * 4, hot, f"{ran} of {hot} hot kernels were accelerated: too few to prove anything")


if __name__ == "__main__":
    harness.main()
