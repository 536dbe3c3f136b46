#!/usr/bin/env python3
"""The PTX of all loops of bench/programs and samples that run on a device: assembled for three generations of GPUs, where ptxas is
there, and every float operation rounded by itself. What neighbouring results read alike, a thread reads once for several of them.

  kernels_test.py [--record FILE] [PROGRAM...]      FILE: registers and spills of each kernel
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import harness
from harness import NATIVE, ROOT, RUN, Case, build

sys.path.insert(0, str(ROOT / "bench"))
import devices_test
import programs_table
import samples

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
FEWEST_KERNELS = 60
TRIES = 3  # of samples, which may end before they are compiled
DEVICE = "reference"
# Programs none of whose loops can be a grid: each pass of them needs the one before it, or they search.
WITHOUT = {"cholesky", "gauss_seidel", "levenshtein", "smith_waterman", "knapsack", "string_search", "sieve", "merge_sort", "hash_table",
           "sample.histogram", "sample.prefix_sum", "sample.linked_list", "sample.recurrence"}
# Reads of the innermost loop for each multiplication, where threads do several results; a single result needs two.
MOST_READS = {"matmul": 0.5, "three_products": 0.5, "syrk": 0.5, "sample.matmul": 0.5}
MOST_REGISTERS = 128  # of threads that do several results: two blocks fit a processor


def ptxas():
    return shutil.which("ptxas") or next((path for path in ("/usr/local/cuda/bin/ptxas",) if os.access(path, os.X_OK)), None)


def looseness_of(text, fused):
    """What in PTX would let an assembler change a float's bits; None: nothing."""
    for pattern, what in ((r"\b(add|sub|mul)\.(ftz\.)?f(32|64)\b", "an operation without its rounding, which may be fused"),
                          (r"\.ftz\b", "denormals flushed"), (r"\.approx\b", "an approximation"), (r"\bdiv\.full\b", "an approximation")):
        if match := re.search(pattern, text):
            return f"{what}: {text[match.start() - 20:match.end() + 40]!r}"
    if not fused and re.search(r"\bfma\.", text):
        return "a fused multiply-add that the program has not"
    return None


def reads_a_product(text):
    """Of the loop that multiplies most."""
    blocks = re.split(r"^(\$L__BB\d+_\d+):", text, flags=re.M)
    found = (1, 0)
    for label, body in zip(blocks[1::2], blocks[2::2]):
        end = re.search(r"bra(\.uni)?\s+" + re.escape(label) + ";", body)
        loop = body[:end.end()] if end else ""
        found = max(found, (len(re.findall(r"\bmul\.rn\.f", loop)), len(re.findall(r"\bld\.global\.f", loop))))
    return found[1] / found[0]


def does_several(text):
    return ".minnctapersm" in text


def calls_libm(binary):
    """Whose functions for this processor fuse."""
    done = subprocess.run(["nm", "-D", "--undefined-only", binary], capture_output=True, text=True, check=True)
    return re.search(r" U (exp|log|pow|sin|cos|tan|erf|atan)f?\b", done.stdout) is not None


def assemble(file, architecture):
    """(registers, bytes of stack, bytes spilled), or what the assembler said."""
    done = subprocess.run([ptxas(), f"-arch={architecture}", "-v", "-o", os.devnull, str(file)], capture_output=True, text=True)
    if done.returncode != 0:
        return done.stdout + done.stderr
    used = re.search(r"Used (\d+) registers", done.stderr)
    frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", done.stderr)
    return int(used[1]), int(frame[1]) if frame else 0, int(frame[2]) if frame else 0


class KernelsTest(unittest.TestCase):
    only = ()
    record = None

    def programs(self):
        for program in programs_table.PROGRAMS:
            binary = build(program.source, ("-O2",))
            yield program.name, [[str(part) for part in program.command(binary, small)] for small in (True, False)]
        for operation, rounds in devices_test.OPERATIONS.items():
            command = [build("device_math.c", ("-O2",)), operation, "usual", str(devices_test.OPERANDS), str(rounds)]
            yield f"math.{operation}", [command, [*command[:-1], str(4 * rounds)]]
        for sample in samples.SAMPLES:
            yield f"sample.{sample.name}", TRIES * [[str(part) for part in sample.command(build(sample.source, ("-O2",)))]]

    def kernels_of(self, name, command, folder):
        """The PTX files of a program, having checked that the device made no difference."""
        case = Case(command, name=name, env={"TRACELIFT_DEVICES": DEVICE, "TRACELIFT_KERNELS": str(folder)}, timeout=300)
        native, traced = case.execute(NATIVE), case.execute(RUN)
        problem = harness.difference(native, traced) or harness.defect(traced.report)
        self.assertIsNone(problem, f"{name}: {problem}; kept: {case.base}")
        case.discard()
        return sorted(folder.glob("*.ptx")), sorted(folder.glob("*.txt"))

    def test_all(self):
        lines, none, count = [], [], 0
        with tempfile.TemporaryDirectory() as base, concurrent.futures.ThreadPoolExecutor(2) as pool:
            for name, commands in self.programs():
                if self.only and name not in self.only:
                    continue
                folder = pathlib.Path(base) / name
                folder.mkdir()
                kernels, refused = [], []
                for command in commands[:1] if name in WITHOUT else commands:  # in a short run some take too long to compile
                    if not kernels:
                        kernels, refused = self.kernels_of(name, command, folder)
                for file in refused:
                    lines.append(f"{name:20} {file.stem.rsplit('-', 1)[1]:>6}  {file.read_text().strip()}")
                if not kernels:
                    none.append(name)
                basic = name.startswith("math.") and name[5:] in ("add", "sub", "mul", "div", "muladd", "sqrt")
                fused = calls_libm(commands[0][0]) and not basic
                for file in kernels:
                    count += 1
                    text = file.read_text()
                    self.assertIsNone(looseness_of(text, fused), name)
                    if not ptxas():
                        continue
                    found = list(pool.map(lambda architecture: assemble(file, architecture), ARCHITECTURES))
                    for architecture, result in zip(ARCHITECTURES, found):
                        self.assertIsInstance(result, tuple, f"{name}, {architecture}: {result}")
                        if does_several(text):
                            self.assertLessEqual(result[0], MOST_REGISTERS, f"{name}, {architecture}")
                            self.assertEqual(result[1:], (0, 0), f"{name}, {architecture}")
                    lines.append(f"{name:20} {file.stem.rsplit('-', 1)[1]:>6}  " + "  ".join(
                        f"{architecture}: {registers} registers, {stack} bytes of stack, {spilled} spilled"
                        for architecture, (registers, stack, spilled) in zip(ARCHITECTURES, found)) + ("  several results" if does_several(text) else ""))
        print("\n".join(lines))
        if self.record:
            pathlib.Path(self.record).write_text("\n".join(lines) + "\n")
        if not self.only:
            self.assertLessEqual(set(none), WITHOUT, "programs that had kernels")
            self.assertGreaterEqual(count, FEWEST_KERNELS)
        if not ptxas():
            self.skipTest(f"{count} kernels are not assembled: there is no ptxas")


    def test_products_read_once_for_several_results(self):
        for name, commands in self.programs():
            if name not in MOST_READS or (self.only and name not in self.only):
                continue
            with self.subTest(program=name), tempfile.TemporaryDirectory() as base:
                reads = [2.0]
                for number, command in enumerate(commands):
                    folder = pathlib.Path(base) / str(number)
                    folder.mkdir()
                    reads += [reads_a_product(file.read_text()) for file in self.kernels_of(name, command, folder)[0]]
                self.assertLessEqual(min(reads), MOST_READS[name])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--record")
    parser.add_argument("program", nargs="*")
    options = parser.parse_args()
    KernelsTest.only, KernelsTest.record = options.program, options.record
    unittest.main(argv=sys.argv[:1])
