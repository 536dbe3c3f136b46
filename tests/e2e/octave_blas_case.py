"""octave-cli with the reference BLAS multiplies matrices and stores the product: used by octave_blas.py here and in bench."""
import os
import shutil

REFERENCE_BLAS = "/usr/lib/x86_64-linux-gnu/blas"

# The header of a saved file has the time in it; fwrite has nothing but the numbers.
SCRIPT = """
rand('twister', 42);
a = rand({n}); b = rand({n});
for i = 1:{rounds}
  c = a * b;
  a(1, 1) += 1;
endfor
file = fopen('product.bin', 'w');
fwrite(file, c, 'double');
fclose(file);
printf('%.17g\\n', sum(c(:)));
"""


def command(n, rounds=1):
    return ["octave-cli", "--no-gui", "--norc", "--no-history", "--quiet", "--eval", SCRIPT.format(n=n, rounds=rounds)]


# libblas3's own library, where alternatives would have found OpenBLAS.
ENVIRONMENT = {"LD_LIBRARY_PATH": REFERENCE_BLAS}


def missing():
    if not shutil.which("octave-cli"):
        return "octave-cli is not installed (package octave)"
    if not os.path.exists(f"{REFERENCE_BLAS}/libblas.so.3"):
        return "the reference BLAS is not installed (package libblas3)"
    return None
