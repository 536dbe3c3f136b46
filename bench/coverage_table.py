#!/usr/bin/env python3
"""How many of the innermost float loops of well known numerical libraries can be lifted, and why the others cannot.

  coverage_table.py [--jobs N] [--only WORD]...

Runs `tracelift coverage --floats` over the libraries below as Debian 12 ships them (what is not installed is named and
left out) and prints the result. Without --only it also puts it into jit/README.md and saves bench/results/coverage.json
with every reason and its count. Loops with x87 instructions (long double) are in the first percentage and left out of
the second.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import re
import subprocess

import measure
from measure import harness

LIB = pathlib.Path("/usr/lib/x86_64-linux-gnu")
R = pathlib.Path("/usr/lib/R")
# name, Debian package, files
LIBRARIES = (
    ("BLAS (reference)", "libblas3", [LIB / "blas/libblas.so.3"]),
    ("LAPACK (reference)", "liblapack3", [LIB / "lapack/liblapack.so.3"]),
    ("FFTW, double", "libfftw3-double3", [LIB / "libfftw3.so.3"]),
    ("FFTW, single", "libfftw3-single3", [LIB / "libfftw3f.so.3"]),
    ("FFTW, long double", "libfftw3-long3", [LIB / "libfftw3l.so.3"]),
    ("GSL", "libgsl27", [LIB / "libgsl.so.27"]),
    ("GSL CBLAS", "libgslcblas0", [LIB / "libgslcblas.so.0"]),
    ("NumPy core", "python3-numpy", sorted(pathlib.Path("/usr/lib/python3/dist-packages/numpy/core").glob("_multiarray_umath.*.so"))),
    ("OpenCV core", "libopencv-core406", [LIB / "libopencv_core.so.406"]),
    ("OpenCV imgproc", "libopencv-imgproc406", [LIB / "libopencv_imgproc.so.406"]),
    ("Octave", "octave", [LIB / "octave/7.3.0/liboctave.so.9", LIB / "octave/7.3.0/liboctinterp.so.10"]),
    ("R", "r-base-core", [R / "lib/libR.so", R / "modules/lapack.so", *(R / f"library/{name}/libs/{name}.so" for name in
                                                                       ("stats", "grDevices", "graphics", "grid", "splines"))]),
    ("G'MIC", "gmic", ["/usr/bin/gmic", LIB / "libgmic.so.1"]),
    ("SoX", "libsox3", [LIB / "libsox.so.3"]),
    ("FFmpeg libavfilter", "libavfilter8", [LIB / "libavfilter.so.8"]),
    ("HDF5", "libhdf5-103-1", [LIB / "libhdf5_serial.so.103"]),
)
# What a detail like "call 0x1a30: it calls 0x7f..: cpuid" comes down to.
CAUSES = (
    ("where it leads is not known", "through a pointer, or to a library that is not there"),
    ("it calls a function that is not known", "its callee calls through a pointer"),
    ("no function bounds", "callee without unwind information"),
    ("it calls itself", "recursive callee"),
    ("behind too many calls", "callees of callees, too many or too deep"),
    ("it does not return", "callee that never returns"),
    ("more than one entry", "callee with a cycle of several entries"),
    ("would have more than", "callee too large"),
    ("and its callees have", "callee too large"),
    ("too large to analyse", "callee too large"),
    ("stack", "callee moves its stack in a way not followed"),
    ("entered in its middle", "callee continues in the middle of another function"),
)
LOCKED = re.compile(r"\block |xchg .*\[")
X87 = re.compile(r"\bf(ld|st|ild|ist|add|sub|mul|div|xch|chs|abs|com|ucom|n?stcw|ldcw|sqrt|rnd|prem|2xm1|yl2x|scale|cmov|free|incstp|warn|n?init|patan|ptan|sin|cos)")


def version_of(package):
    done = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def cause_of(loop):
    """(reason, what exactly) of a loop that is not lifted, without addresses and registers."""
    detail = loop["detail"]
    if loop["reason"] == "CallInLoop":
        if ": " not in detail:
            return "CallInLoop", "not followed"
        last = detail.rsplit(": ", 1)[-1]
        for words, cause in CAUSES:
            if words in last:
                return "CallInLoop", cause
        instruction = re.sub(r"^0x[0-9a-f]+, ", "", last)
        if X87.match(instruction):
            return "CallInLoop", "callee uses x87"
        if LOCKED.search(instruction):
            return "CallInLoop", "callee locks memory"
        if instruction.startswith(("call", "jmp")):  # a tail call
            return "CallInLoop", "its callee calls through a pointer"
        return "CallInLoop", "callee: " + re.sub(r" .*", "", instruction)
    if loop["reason"] == "UnsupportedInstruction":
        if X87.match(detail):
            return "UnsupportedInstruction", "x87"
        return "UnsupportedInstruction", " ".join(detail.split()[:2 if LOCKED.match(detail) else 1])
    return loop["reason"], ""


def examine(library):
    name, package, files = library
    version = version_of(package)
    files = [str(file) for file in files if pathlib.Path(file).exists()]
    if version is None or not files:
        return {"name": name, "package": package, "problem": "not installed"}
    done = subprocess.run([harness.tracelift_binary(), "coverage", "--floats", "--json", *files],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr}")
    data = json.loads(done.stdout)
    causes = collections.Counter(cause_of(loop) for file in data["files"] for loop in file["rejected"])
    total = data["total"]
    return {"name": name, "package": package, "version": version, "files": files, "all": total["classes"]["all"],
            "x87": total["classes"]["x87"], "undecoded": total["undecoded"],
            "reasons": {entry["reason"]: entry["loops"] for entry in total["reasons"]},
            "causes": [{"reason": reason, "cause": cause, "loops": loops} for (reason, cause), loops in causes.most_common()],
            "not_lifted": total["not_lifted"]}


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def minus(a, b):
    return {key: a[key] - b[key] for key in a}


def row(name, version, everything, x87, reasons):
    rest = minus(everything, x87)
    return (f"| {name} | {version} | {everything['loops']} | {everything['liftable_loops']} | "
            f"{percent(everything['liftable_loops'], everything['loops'])} | {percent(rest['liftable_loops'], rest['loops'])} | "
            f"{percent(rest['liftable_instructions'], rest['instructions'])} | {reasons} |")


def add(counts):
    total = collections.Counter()
    for count in counts:
        total.update(count)
    return total


def tables(results, everything, x87, causes):
    lines = ["| | Debian | loops | liftable | | without x87 | by instructions | reasons against |",
             "|---|---|---|---|---|---|---|---|"]
    for result in results:
        reasons = ", ".join(f"{reason} {loops}" for reason, loops in result["reasons"].items())
        lines.append(row(result["name"], f"{result['package']} {result['version']}", result["all"], result["x87"], reasons))
    lines += [row("**all**", "", everything, x87, ""), "", "| reason | | loops | |", "|---|---|---|---|"]
    for (reason, cause), loops in causes.most_common():
        lines.append(f"| {reason} | {cause} | {loops} | {percent(loops, everything['loops'])} |")
    return "\n".join(lines)


def put_into_readme(text):
    readme = measure.ROOT / "jit" / "README.md"
    before, begin, rest = readme.read_text().partition("<!-- coverage_table.py -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    if not begin or not end:
        raise SystemExit(f"{readme} has no place for the table")
    readme.write_text(before + begin + text + "\n" + end + after)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1, help="libraries examined at a time; each uses all cores")
    parser.add_argument("--only", action="append", default=[], help="libraries whose name has this word")
    options = parser.parse_args()
    chosen = [library for library in LIBRARIES if not options.only or any(word in library[0] for word in options.only)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(examine, chosen))
    for result in results:
        if "problem" in result:
            print(f"{result['name']}: {result['problem']} (apt-get install {result['package']})")
    results = [result for result in results if "problem" not in result]
    everything, x87 = add(r["all"] for r in results), add(r["x87"] for r in results)
    causes = collections.Counter()
    for result in results:
        for cause in result["causes"]:
            causes[cause["reason"], cause["cause"]] += cause["loops"]
    text = tables(results, everything, x87, causes)
    print(text)
    if not options.only:
        put_into_readme(text)
        measure.save("coverage", {"libraries": results, "all": everything, "x87": x87,
                                  "causes": [{"reason": reason, "cause": cause, "loops": loops}
                                             for (reason, cause), loops in causes.most_common()]})


if __name__ == "__main__":
    main()
