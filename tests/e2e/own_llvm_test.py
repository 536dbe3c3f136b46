#!/usr/bin/env python3
"""A program that uses LLVM itself, the very version that the runtime is made of."""
import pathlib
import unittest

import harness
from harness import PRELOAD, RUN, VERIFY, Expect, TraceTest, build

LIBRARY = pathlib.Path("/usr/lib/llvm-19/lib/libLLVM.so.1")


@unittest.skipUnless(LIBRARY.exists(), f"no {LIBRARY} (package libllvm19)")
class OwnLlvmTest(TraceTest):
    def test_compiles_beside_us(self):
        program = build("own_llvm.c", libraries=(str(LIBRARY), f"-Wl,-rpath,{LIBRARY.parent}"))
        self.same_when_accelerated(lambda scale: [program, 3000 * scale], Expect(accelerated=True, symbol="work"),
                                   modes=(RUN, VERIFY, PRELOAD))


if __name__ == "__main__":
    harness.main()
