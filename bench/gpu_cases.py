"""The programs that bench/gpu_speed.py runs, each in C as a user would write it and in CUDA by hand, at three sizes: full,
where gcc -O2 takes some 40 s on one core and arrays are of gigabytes; quick, some 4 s; and tiny, for tests of the script.
"""
import dataclasses
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent
FULL, QUICK, TINY = "full", "quick", "tiny"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    kind: str                  # "compute", "stencil" or "stream"
    source: str                # C, under bench
    cuda: str                  # the same by hand, under bench/gpu
    full: tuple
    tiny: tuple
    quick: tuple = ()          # none: left out of a first look
    same_bytes: bool = True    # the hand-written version prints the same; else it tells how far apart its results are
    vendor: str = ""           # a library's version, under bench/gpu
    twin: str = ""             # prints the same, and sooner on all cores, where the program takes too long to wait for
    target: float = None       # how often faster than natively it should be at its full size
    rounds_at: int = None      # the argument that says how often the same is done again
    round_bytes: object = None # of the arguments: bytes that a round must at least read and write
    all_bytes: bool = False    # a further argument names a file for all results, of which it prints a sample only

    def arguments(self, size):
        return {FULL: self.full, QUICK: self.quick, TINY: self.tiny}[size]

    def with_rounds(self, arguments, rounds):
        return (*arguments[:self.rounds_at], rounds, *arguments[self.rounds_at + 1:])


def _heat_bytes(arguments):
    return 2 * 2 * 8 * arguments[0] ** 3  # a round is two steps


def _stream(name, bytes_each, full, quick):
    return Case(f"stream_{name}", "stream", "gpu/streams.c", "streams.cu", (name, full, 20), (name, 500_000, 400),
                (name, quick, 40), rounds_at=2, round_bytes=lambda arguments: bytes_each * arguments[1], all_bytes=True)


CASES = [
    Case("matmul_2048", "compute", "programs/matmul.c", "matmul.cu", (2048,), (640,), (1200,), vendor="cublas_matmul.cu",
         twin="gpu/matmul_rows.c", target=30),
    Case("matmul_4096", "compute", "programs/matmul.c", "matmul.cu", (4096,), (560,), vendor="cublas_matmul.cu",
         twin="gpu/matmul_rows.c", target=30),
    Case("matmul_rows_4096", "compute", "gpu/matmul_rows.c", "matmul.cu", (4096,), (640,), target=30),
    Case("syrk", "compute", "programs/syrk.c", "syrk.cu", (5000, 3000), (800, 600), (2200, 1500), target=30),
    Case("nbody", "compute", "programs/nbody.c", "nbody.cu", (24000, 12), (1200, 60), (6000, 20), target=30),
    Case("mandelbrot", "compute", "programs/mandelbrot.c", "mandelbrot.cu", (6000, 2000), (400, 2000), (2000, 2000),
         target=30),
    Case("black_scholes", "compute", "programs/black_scholes.c", "black_scholes.cu", (4_000_000, 250), (100_000, 40),
         (1_000_000, 100), same_bytes=False, target=30),
    Case("convolution2d", "compute", "gpu/convolution2d.c", "convolution2d.cu", (6000, 6000, 15), (600, 600, 12),
         (2500, 2500, 12), target=30),
    Case("heat3d_20", "stencil", "gpu/heat3d.c", "heat3d.cu", (512, 10), (80, 60), all_bytes=True),
    Case("heat3d_100", "stencil", "gpu/heat3d.c", "heat3d.cu", (512, 50), (80, 120), (256, 50), target=20, rounds_at=1,
         round_bytes=_heat_bytes, all_bytes=True),
    _stream("scale", 16, 1 << 27, 1 << 25),
    _stream("triad", 24, 1 << 27, 1 << 25),
    _stream("saxpy", 12, 1 << 28, 1 << 26),
]


def chosen(names, size):
    """The cases of these names or kinds, or all; in a first look those that have a size for it."""
    known = {case.name for case in CASES} | {case.kind for case in CASES}
    if unknown := set(names) - known:
        raise SystemExit(f"no case {', '.join(sorted(unknown))}; there are: {' '.join(case.name for case in CASES)}, "
                         "and all that are compute, stencil or stream")
    wanted = [case for case in CASES if not names or case.name in names or case.kind in names]
    return [case for case in wanted if case.arguments(size)]
