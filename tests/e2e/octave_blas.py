#!/usr/bin/env python3
"""octave-cli with the reference BLAS, neither of which anybody here wrote, multiplies two matrices: the same file, and
dgemm_ accelerated. Its size can be given: octave_blas.py [N]."""
import sys
import unittest

import harness
import octave_blas_case
from harness import PRELOAD, RUN, VERIFY, Expect, TraceTest


@unittest.skipIf(octave_blas_case.missing(), octave_blas_case.missing())
class OctaveBlasTest(TraceTest):
    n = 500

    def test_matrix_product(self):
        self.same_when_accelerated(lambda scale: octave_blas_case.command(self.n, 4 * scale),
                                   Expect(accelerated=True, symbol="dgemm_"), modes=(RUN, VERIFY, PRELOAD),
                                   env=octave_blas_case.ENVIRONMENT, timeout=300)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].isdigit():
        OctaveBlasTest.n = int(sys.argv.pop(1))
    harness.main()
