"""The programs of bench/programs: whole computations of 1.5 to 4 s natively (gcc -O2) unless told other sizes.

They are ordinary: written for their reader, sizes from the command line, input from a seeded generator, and one printed
checksum over everything they computed. Lines `#pragma omp` (`!$omp`) are for the hand-written parallel build only; they
never change a float operation's order, so all builds must print the same bytes. Not all can gain: sorting, hashing and
recurrences are there to show that nothing is lost.
"""
import dataclasses
import pathlib

# gcc 12 makes vfmaddsub of sums and differences side by side, which changes bits, in spite of -ffp-contract=off.
NO_FUSED = ("-mno-fma", "-mno-avx512f")

FOLDER = pathlib.Path(__file__).resolve().parent / "programs"


@dataclasses.dataclass(frozen=True)
class Program:
    file: str
    small: tuple    # arguments of a run of 0.2 to 0.4 s
    kind: str
    gcc_strict: tuple = ()    # what gcc needs besides to keep strict math when it compiles for this machine

    @property
    def name(self):
        return self.file.split(".")[0]

    @property
    def source(self):
        return FOLDER / self.file

    @property
    def parallel(self):
        """Whether there is a hand-written parallel version."""
        text = self.source.read_text()
        return "#pragma omp" in text or "!$omp" in text

    def command(self, binary, small=False):
        return [binary, *(map(str, self.small) if small else ())]


PROGRAMS = [
    Program("matmul.c", (700,), "dense"),
    Program("three_products.c", (600,), "dense"),
    Program("syrk.c", (1000, 800), "dense"),
    Program("gemver.c", (800, 120), "dense"),
    Program("triangular_solve.c", (1200, 800), "dense"),
    Program("lu.c", (1200,), "dense"),
    Program("cholesky.c", (1400,), "dense"),
    Program("gram_schmidt.c", (700, 500), "dense"),
    Program("covariance.f90", (900, 1200), "dense"),
    Program("jacobi2d.c", (500, 600), "solver"),
    Program("conjugate_gradient.c", (1000, 400), "solver"),
    Program("gauss_seidel.c", (500, 130), "solver"),
    Program("red_black.c", (600, 600), "solver"),
    Program("multigrid.c", (8, 50), "solver"),
    Program("heat3d.c", (80, 150), "stencil"),
    Program("fdtd2d.c", (500, 400), "stencil"),
    Program("wave2d.f90", (400, 300), "stencil"),
    Program("lattice_boltzmann.c", (200, 120), "stencil"),
    Program("life.c", (800, 120), "stencil"),
    Program("levenshtein.c", (18000,), "dynamic programming"),
    Program("smith_waterman.c", (1000, 200), "dynamic programming"),
    Program("floyd_warshall.c", (800,), "dynamic programming"),
    Program("matrix_chain.c", (1200,), "dynamic programming"),
    Program("knapsack.c", (4000, 200000), "dynamic programming"),
    Program("box_blur.c", (1000, 800, 25), "image"),
    Program("sobel.c", (1500, 1000, 90), "image"),
    Program("median.c", (1000, 800, 50), "image"),
    Program("equalise.c", (1000000, 120), "image"),
    Program("gray.cpp", (500000, 130), "image"),
    Program("gaussian_blur.c", (800, 600, 70), "image"),
    Program("nbody.c", (800, 140), "particles"),
    Program("nbody_float.cpp", (1000, 140), "particles"),
    Program("cloth.c", (80, 3200), "particles", NO_FUSED),
    Program("black_scholes.c", (100000, 45), "statistics"),
    Program("monte_carlo.c", (200000, 300), "statistics"),
    Program("kmeans.cpp", (20000, 48, 55), "statistics"),
    Program("sparse_matvec.c", (60000, 16, 180), "sparse"),
    Program("fft.c", (16, 220), "signal", NO_FUSED),
    Program("fir_filter.c", (600000, 9), "signal"),
    Program("mandelbrot.c", (500, 2500), "fractal"),
    Program("ray_spheres.cpp", (450, 300), "fractal"),
    Program("bit_mixing.c", (500000, 190), "integer"),
    Program("string_search.c", (600000, 240), "integer"),
    Program("sieve.c", (4000000, 20), "integer"),
    Program("merge_sort.c", (2600000,), "integer"),
    Program("hash_table.c", (150000, 40), "integer"),
]


def chosen(names):
    """The programs of these names, or all of them."""
    unknown = set(names) - {program.name for program in PROGRAMS}
    if unknown:
        raise SystemExit(f"no program {', '.join(sorted(unknown))}; there are: {' '.join(p.name for p in PROGRAMS)}")
    return [program for program in PROGRAMS if not names or program.name in names]
