"""The programs of samples/unmodified: sizes that take 0.3 to 0.5 s natively, and what must become of each at -O2.

An inner loop of a nest that stays home may still be accelerated or rejected for its own reason; what counts is the code
that takes the time, hence the share of samples.
"""
import dataclasses

from harness import ROOT, Expect

FOLDER = ROOT / "samples" / "unmodified"
ACCELERATED = Expect(accelerated=True)


def home(*reasons):
    return Expect(at_home=True, min_share=0.3, reasons=frozenset(reasons))


@dataclasses.dataclass(frozen=True)
class Sample:
    file: str
    arguments: tuple    # of the short run; without any it runs for 3 to 5 s
    expect: Expect
    writes: str = ""    # argument that names a file to produce
    order: int = 1      # the work grows with this power of the last argument

    @property
    def name(self):
        return self.file.split(".")[0]

    def command(self, program, scale=1):
        """The short run, with `scale` times the work."""
        last = round(self.arguments[-1] * scale ** (1 / self.order))
        return [program, *self.arguments[:-1], last, *([self.writes] if self.writes else [])]

    @property
    def source(self):
        return FOLDER / self.file

    @property
    def parallel(self):
        return self.expect.accelerated


SAMPLES = [
    Sample("matmul.c", (1000,), ACCELERATED, order=3),
    Sample("matmul_fortran.f90", (1000,), ACCELERATED, order=3),
    Sample("stencil2d.c", (1000, 500), ACCELERATED),
    Sample("stencil3d.c", (80, 1000), ACCELERATED),
    Sample("nbody.c", (1800, 100), ACCELERATED),
    Sample("mandelbrot.c", (560, 3000), ACCELERATED, writes="out.pgm"),
    Sample("triad.c", (400000, 3500), ACCELERATED),
    Sample("convolve.c", (2400, 12), ACCELERATED, writes="out.pgm"),
    Sample("vector_ops.cpp", (200000, 2500), ACCELERATED),
    Sample("kmeans_assign.cpp", (20000, 128, 70), ACCELERATED),
    Sample("distances.cpp", (3500,), ACCELERATED, order=2),
    Sample("histogram.c", (32, 20), home("IndirectAddress")),
    Sample("prefix_sum.c", (1000000, 600), Expect()),  # some builds run repetitions as a wavefront
    Sample("linked_list.c", (20000, 3000), home("CarriedValue", "IndirectAddress", "UnknownTripCount")),
    Sample("recurrence.c", (1000000, 180), Expect()),  # likewise
]


def by_name(name):
    for sample in SAMPLES:
        if sample.name == name:
            return sample
    raise SystemExit(f"no sample {name}; there are: {' '.join(s.name for s in SAMPLES)}")
