"""The ways to run a program that are compared: what compilers make of its source, and tracelift on the plain binary.

All compilers keep strict math: with -march=native gcc contracts products and sums to fused ones unless told not to,
which changes bits, and the plain build cannot do it. So every variant must print what the plain build prints.
"""
import dataclasses
import os
import unittest

from measure import harness

CORES = len(os.sched_getaffinity(0))
NO_OPENMP = "no hand-written version"
BEST = ("-O3", "-march=native", "-ffp-contract=off")


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    family: str = "gcc"
    flags: tuple = ("-O2",)
    libraries: tuple = ("-lm",)
    meaning: str = ""
    hand_written: bool = False    # only for programs with OpenMP lines
    traced: bool = False          # the plain binary under `tracelift run`

    def build(self, program):
        """The path of the built program. Raises unittest.SkipTest where there is nothing to build, RuntimeError with
        the compiler's words where building fails."""
        if self.hand_written and not program.parallel:
            raise unittest.SkipTest(NO_OPENMP)
        strict = program.gcc_strict if self.family == "gcc" and "-march=native" in self.flags else ()
        return harness.build(program.source, (*self.flags, *strict), self.family, self.libraries)


NATIVE = Variant("native", meaning="gcc -O2: what all others are compared with")
COMPILERS = (
    Variant("gcc-O3", flags=BEST, meaning="gcc -O3 -march=native"),
    Variant("clang", "clang", BEST, meaning="clang 19 -O3 -march=native"),
    Variant("polly", "clang", (*BEST, "-mllvm", "-polly", "-mllvm", "-polly-parallel", "-mllvm",
                               f"-polly-num-threads={CORES}"), ("-lm", "-lgomp"),
            meaning="clang 19 -O3 -march=native with Polly, parallel"),
    Variant("gcc-par", flags=(*BEST, f"-ftree-parallelize-loops={CORES}"),
            meaning=f"gcc -O3 -march=native -ftree-parallelize-loops={CORES}"),
)
OPENMP = Variant("openmp", flags=(*BEST, "-fopenmp"), hand_written=True,
                 meaning="hand-written OpenMP lines, gcc -O3 -march=native")
COLD = Variant("cold", traced=True, meaning="tracelift run on the gcc -O2 binary, empty cache")
WARM = Variant("warm", traced=True, meaning="the same a second time, with the cache of the first")

ALL = (NATIVE, *COMPILERS, OPENMP, COLD, WARM)


def chosen(names):
    """The variants of these names, or all; the plain build always, as the others are compared with it."""
    unknown = set(names) - {variant.name for variant in ALL}
    if unknown:
        raise SystemExit(f"no variant {', '.join(sorted(unknown))}; there are: {' '.join(v.name for v in ALL)}")
    return [variant for variant in ALL if not names or variant is NATIVE or variant.name in names]
