#!/usr/bin/env python3
"""`tracelift coverage`: programs with known loops, stripped and not, static and shared, damaged, and none at all."""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import unittest

import harness
from harness import build, tracelift_binary

SOURCE = harness.PROGRAMS / "coverage.c"


def coverage(*arguments, timeout=120):
    return subprocess.run([tracelift_binary(), "coverage", *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout)


def measured(*arguments):
    done = coverage("--json", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def symbols(program):
    """Names of functions by address."""
    lines = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout.splitlines()
    return {int(address, 16): name for address, kind, name in (line.split() for line in lines if line.count(" ") == 2)}


def rejected(program, *options):
    """{function: set of reasons} over the loops that cannot be lifted."""
    names = symbols(program)
    found = {}
    for loop in measured(*options, program)["files"][0]["rejected"]:
        found.setdefault(names.get(loop["function"], hex(loop["function"])), set()).add(loop["reason"])
    return found


def counts(json_file):
    """What must not depend on where the linker put things."""
    return {key: json_file[key] for key in ("classes", "reasons", "not_lifted")}


class CoverageTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_knows_which_loops_can_be_lifted(self):
        expected = {"call_each": {"CallInLoop"}, "extended": {"UnsupportedInstruction"},
                    "identify": {"UnsupportedInstruction"}, "count": {"UnsupportedInstruction"}}
        for family in ("gcc", "clang"):
            for level in ("-O1", "-O2", "-O3"):
                with self.subTest(family=family, level=level):
                    if not harness.compiler_for(SOURCE, family):
                        continue
                    program = build(SOURCE, (level,), family)
                    self.assertEqual({name: reasons for name, reasons in rejected(program).items() if name in symbols(program).values()},
                                     expected)
                    self.assertEqual(rejected(program, "--all").get("clear_rows"), None, "memset is known")

    def test_splits_by_what_the_loops_carry(self):
        scalar = measured(build(SOURCE, ("-O1",)))["total"]["classes"]
        self.assertEqual(scalar["vector_float"]["loops"], 0)
        self.assertEqual(scalar["scalar_float"]["loops"], 5)       # scale, nest, clear_rows, choose, extended
        self.assertEqual(scalar["scalar_float"]["liftable_loops"], 4)
        self.assertEqual((scalar["x87"]["loops"], scalar["x87"]["liftable_loops"]), (1, 0))  # extended
        vector = measured(build(SOURCE, ("-O3",)))["total"]["classes"]
        self.assertGreater(vector["vector_float"]["liftable_loops"], 0)
        self.assertEqual(vector["vector_float"]["liftable_loops"], vector["vector_float"]["loops"])
        for classes in (scalar, vector):
            for measure in ("loops", "liftable_loops", "instructions", "liftable_instructions"):
                self.assertEqual(classes["all"][measure],
                                 sum(classes[kind][measure] for kind in ("vector_float", "scalar_float", "integer")))

    def test_names_the_instructions_that_are_not_lifted(self):
        forms = {entry["form"]: entry for entry in measured(build(SOURCE, ("-O2",)))["total"]["not_lifted"]}
        self.assertEqual(forms["cpuid"], {"form": "cpuid", "loops": 1, "alone": 1})
        self.assertTrue({"lock add", "lock xadd"} & forms.keys(), forms)
        self.assertEqual(forms["fld"]["loops"], 1)
        self.assertEqual(forms["fld"]["alone"], 0)

    def test_floats_and_all_narrow_and_widen(self):
        program = build(SOURCE, ("-O1",))
        innermost, floats, all_loops = (measured(*options, program)["total"]["classes"]
                                        for options in ((), ("--floats",), ("--all",)))
        self.assertEqual(floats["integer"]["loops"], 0)
        self.assertEqual(floats["scalar_float"], innermost["scalar_float"])
        self.assertEqual(all_loops["scalar_float"]["loops"], innermost["scalar_float"]["loops"] + 2)  # nest, clear_rows
        self.assertEqual(measured("--innermost", program)["total"]["classes"], innermost)
        self.assertEqual(coverage().returncode, 2)
        self.assertEqual(coverage("--outermost", program).returncode, 2)

    def test_stripped_and_static_and_shared(self):
        program = build(SOURCE, ("-O2",))
        stripped = self.folder / "stripped"
        subprocess.run(["strip", "-o", stripped, program], check=True)
        self.assertEqual(counts(measured(stripped)["files"][0]), counts(measured(program)["files"][0]))
        bare = self.folder / "bare"  # not even section headers
        subprocess.run(["objcopy", "--strip-all", program, bare], check=True)
        header = bytearray(bare.read_bytes())
        header[0x28:0x30] = bytes(8)   # e_shoff
        header[0x3c:0x40] = bytes(4)   # e_shnum, e_shstrndx
        bare.write_bytes(header)
        self.assertEqual(counts(measured(bare)["files"][0]), counts(measured(program)["files"][0]))
        shared = self.folder / "libcoverage.so"
        subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-o", shared, SOURCE], check=True)
        self.assertEqual(rejected(shared).keys() & {"scale", "sum", "nest", "clear_rows"}, set())
        static = build(SOURCE, ("-O2", "-static"))
        self.assertEqual(rejected(static).keys() & {"scale", "sum", "nest", "clear_rows"}, set())
        self.assertEqual(rejected(static).get("identify"), {"UnsupportedInstruction"})

    def test_follows_calls_into_libraries(self):
        inner, outer = self.folder / "inner.c", self.folder / "outer.c"
        inner.write_text("double twice(double x) { return x + x; }\n")
        outer.write_text("double twice(double), elsewhere(double);\n"
                         "void known(double* a, long n) { for (long i = 0; i < n; ++i) a[i] = twice(a[i]); }\n"
                         "void unknown(double* a, long n) { for (long i = 0; i < n; ++i) a[i] = elsewhere(a[i]); }\n")
        for plt in ("-fplt", "-fno-plt"):
            with self.subTest(plt):
                subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-o", self.folder / "libinner.so", inner], check=True)
                library = self.folder / "libouter.so"
                subprocess.run(["gcc", "-O2", plt, "-fPIC", "-shared", "-o", library, outer, f"-L{self.folder}", "-linner",
                                "-Wl,-rpath,$ORIGIN"], check=True)
                self.assertEqual(rejected(library), {"unknown": {"CallInLoop"}})
                (self.folder / "libinner.so").unlink()
                self.assertEqual(rejected(library), {"known": {"CallInLoop"}, "unknown": {"CallInLoop"}})

    def test_table_for_people(self):
        program = build(SOURCE, ("-O2",))
        done = coverage(program, program)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(len(re.findall(rf"(?m)^{re.escape(program)}: \d+ functions, \d+ innermost loops, [\d.]+% can be lifted$",
                                        done.stdout)), 2)
        self.assertRegex(done.stdout, r"(?m)^2 files: ")
        for words in ("vector float", "scalar float", "integer only", "CallInLoop", "it calls a function", "cpuid"):
            self.assertIn(words, done.stdout)

    def test_a_library_of_the_system(self):
        library = pathlib.Path("/usr/lib/x86_64-linux-gnu/libm.so.6")
        if not library.exists():
            self.skipTest(f"no {library}")
        total = measured(library)["total"]
        self.assertGreater(total["functions"], 500)
        self.assertGreater(total["classes"]["all"]["loops"], 50)
        self.assertGreater(total["classes"]["scalar_float"]["liftable_loops"], 0)

    def refused(self, words, *files):
        done = coverage("--json", *files)
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stderr, rf"^tracelift: .*{words}\n$")
        self.assertIn("problem", json.loads(done.stdout)["files"][-1])
        as_table = coverage(*files)
        self.assertEqual((as_table.returncode, as_table.stderr), (1, done.stderr))

    def test_files_that_are_none(self):
        self.refused("No such file or directory", "/no/such/file")
        self.refused("is a directory", self.folder)
        text = self.folder / "text"
        text.write_text("hello")
        self.refused("text: not an ELF file", text)
        text.write_bytes(b"")
        self.refused("text: not an ELF file", text)
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        self.refused("pipe: not a regular file", pipe)
        self.refused("/dev/zero: not a regular file", "/dev/zero")
        subprocess.run(["gcc", "-c", "-o", self.folder / "object.o", SOURCE], check=True)
        self.refused("an object file; link it .*", self.folder / "object.o")
        if shutil.which("objcopy"):
            subprocess.run(["objcopy", "--only-keep-debug", build(SOURCE, ("-O2", "-g")), self.folder / "debug"], check=True)
            self.refused("debug: .*", self.folder / "debug")

    def test_one_bad_file_does_not_hide_the_others(self):
        program = build(SOURCE, ("-O2",))
        done = coverage("--json", "/no/such/file", program)
        self.assertEqual(done.returncode, 1)
        files = json.loads(done.stdout)["files"]
        self.assertIn("problem", files[0])
        self.assertGreater(files[1]["classes"]["all"]["loops"], 5)

    def test_damaged_files(self):
        good = pathlib.Path(build(SOURCE, ("-O2",))).read_bytes()
        damaged = self.folder / "damaged"

        def change(offset, value):
            damaged.write_bytes(good[:offset] + value + good[offset + len(value):])
            return damaged

        damaged.write_bytes(good[:40])
        self.refused("damaged: it ends within its ELF header", damaged)
        damaged.write_bytes(good[:100])
        self.refused("damaged: its program headers lie beyond its end", damaged)
        damaged.write_bytes(good[:len(good) // 3])
        self.refused("damaged: segment .* lies beyond its end", damaged)
        self.refused("damaged: its program headers lie beyond its end", change(32, b"\xff" * 8))
        self.refused("not x86-64 code .*", change(18, b"\xb7\x00"))
        self.refused("not x86-64 code .*", change(4, b"\x01"))

    def test_wild_bytes_never_end_it(self):
        good = pathlib.Path(build(SOURCE, ("-O2",))).read_bytes()
        generator = random.Random(1)
        damaged = self.folder / "damaged"
        examined = 0
        for _ in range(60):
            data = bytearray(good)
            for _ in range(generator.choice((1, 4, 64))):
                data[generator.randrange(generator.choice((1024, len(data))))] = generator.choice((0, 255, generator.randrange(256)))
            if generator.random() < 0.2:
                del data[generator.randrange(len(data)):]
            damaged.write_bytes(data)
            done = coverage("--json", "--all", damaged)
            if done.returncode not in (0, 1):
                kept = pathlib.Path(tempfile.mkdtemp()) / "damaged"
                shutil.copy(damaged, kept)
                self.fail(f"tracelift coverage {kept}: status {done.returncode}, {done.stderr}")
            json.loads(done.stdout)
            examined += done.returncode == 0
        self.assertGreater(examined, 10)

    def test_the_command_itself_stays_light(self):
        needed = subprocess.run(["readelf", "-d", tracelift_binary()], capture_output=True, text=True, check=True).stdout
        self.assertNotRegex(needed, "NEEDED.*(tracelift_runtime|LLVM|Zydis)")


if __name__ == "__main__":
    harness.main()
