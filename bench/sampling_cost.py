#!/usr/bin/env python3
"""What tracelift costs a program that has nothing to lift: a pointer chase through a shuffled ring, about 3 s.

Natively and under `tracelift run` in turn; the cost is the median of the paired ratios, with its spread."""
import argparse
import pathlib
import tempfile

import measure
from measure import harness

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char** argv) {
  const long n = 1 << 16, steps = argc > 1 ? atol(argv[1]) : 1000000000;
  unsigned* next = malloc(n * sizeof(*next));
  for (long i = 0; i < n; ++i) next[i] = (unsigned)i;
  unsigned seed = 1; /* Sattolo: one ring through all */
  for (long i = n - 1; i > 0; --i) {
    seed = seed * 1664525u + 1013904223u;
    const long j = (seed >> 8) % i;
    const unsigned t = next[i];
    next[i] = next[j];
    next[j] = t;
  }
  unsigned at = 0;
  unsigned long sum = 0;
  for (long s = 0; s < steps; ++s) {
    at = next[at];
    sum += at;
  }
  printf("%u %lu\n", at, sum);
}
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "ring.c"
        source.write_text(PROGRAM)
        program = harness.build(source)
        probe = 100_000_000
        steps = int(probe * options.seconds / measure.run([program, probe])[0])
        command = [program, steps]
        native, traced = measure.interleaved(command, measure.traced(command), options.repetitions)
        # The same once more with native twice: what this machine's noise alone looks like.
        first, second = measure.interleaved(command, command, options.repetitions)
    ratios = [t / n for n, t in zip(native, traced)]
    noise = [b / a for a, b in zip(first, second)]
    percent = [round((r - 1) * 100, 3) for r in ratios]
    print(f"native {measure.median(native):.3f} s, traced {measure.median(traced):.3f} s; cost of each pair in percent: {percent}")
    print(f"median cost {100 * (measure.median(ratios) - 1):.2f} %, of native against native "
          f"{100 * (measure.median(noise) - 1):.2f} % ({100 * (min(noise) - 1):.2f} to {100 * (max(noise) - 1):.2f})")
    measure.save("sampling_cost", {"native": measure.summary(native), "traced": measure.summary(traced),
                                   "cost_percent": round(100 * (measure.median(ratios) - 1), 3),
                                   "cost_percent_of_pairs": percent,
                                   "noise_percent": round(100 * (measure.median(noise) - 1), 3),
                                   "noise_percent_of_pairs": [round((r - 1) * 100, 3) for r in noise]})


if __name__ == "__main__":
    main()
