#!/usr/bin/env python3
"""bench/gpu_speed.py tried without a GPU: what it tells must not flatter, its CUDA programs print what those in C do and
compile, and all of its ways are gone with the reference device in the GPU's place.

  gpu_speed_test.py [TestCase[.test]]
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import gpu_builds  # noqa: E402  (found through the path above)
import gpu_cases  # noqa: E402
import gpu_speed  # noqa: E402
import gpu_table  # noqa: E402
import measure  # noqa: E402
from gpu_table import BOTH, CPU, CUDA, DEVICE, NATIVE, VENDOR  # noqa: E402

SCRIPT = gpu_cases.FOLDER / "gpu_speed.py"
# Where no size divides another, the edges of tiles and blocks show.
ODD = {"matmul.cu": (101,), "syrk.cu": (75, 67), "nbody.cu": (301, 4), "mandelbrot.cu": (131, 300), "black_scholes.cu": (3001, 5),
       "convolution2d.cu": (131, 97, 7), "heat3d.cu": (41, 3)}


def took(seconds, **more):
    return {"median_s": seconds} | more


def row(kind="compute", target=30, size="full", rounds=None, **variants):
    found = {"case": "c", "kind": kind, "target": target, "size": size, "rounds": rounds or {},
             "variants": {NATIVE: took(60.0), CUDA: took(1.0)} | variants}
    return found | {"verdicts": gpu_table.verdicts(found)}


def passed(found):
    return {name: verdict["passed"] for name, verdict in found["verdicts"].items()}


class TableTest(unittest.TestCase):
    def test_targets_are_reached_or_missed(self):
        self.assertEqual(passed(row(gpu=took(1.9))), {"to native": True, "to CUDA": True})
        self.assertEqual(passed(row(gpu=took(2.1))), {"to native": False, "to CUDA": False})
        self.assertIn("targets missed: c (to native), c (to CUDA)", gpu_table.foot([row(gpu=took(2.1))]))

    def test_a_native_run_not_waited_for_says_only_the_least(self):
        for seconds, expected in ((1.0, True), (4.0, None)):
            found = row(gpu=took(seconds), native={"at_least_s": 60.0})
            self.assertEqual(passed(found)["to native"], expected)
            self.assertIn("> 60 s", gpu_table.line(found))

    def test_what_failed_reaches_nothing(self):
        found = row(gpu=took(0.1, failure="other output"))
        self.assertEqual(passed(found), {"to native": None, "to CUDA": None})
        self.assertIn("FAILED", gpu_table.line(found))
        self.assertIn("c, gpu: other output", gpu_table.foot([found]))

    def test_what_is_absent_is_named(self):
        found = row(gpu=took(1.0), cublas={"absent": "there is no cuBLAS"})
        self.assertIn("c, cublas: skipped: there is no cuBLAS", gpu_table.foot([found]))

    def test_what_stayed_at_home_is_shown(self):
        self.assertIn("30.0x home", gpu_table.line(row(gpu=took(2.0, on_device=False))))
        self.assertNotIn("home", gpu_table.line(row(gpu=took(2.0, on_device=True))))

    def test_bandwidth_is_a_share_of_a_device_copy(self):
        for share, expected in ((0.61, True), (0.59, False)):
            found = row("stream", None, rounds={DEVICE: {"share_of_device_copy": share}}, gpu=took(1.0))
            self.assertEqual(passed(found), {"to CUDA": True, "bandwidth": expected})

    def test_small_sizes_reach_and_miss_nothing(self):
        self.assertEqual(passed(row(size="tiny", gpu=took(9.0))), {"to native": None, "to CUDA": None})
        self.assertEqual(passed(row(size="quick", gpu=took(9.0))), {"to native": None, "to CUDA": False})


class BuildsTest(unittest.TestCase):
    def test_a_device_is_read_from_what_the_driver_says(self):
        self.assertEqual(gpu_builds.parse_device("NVIDIA H200, 580.65.06, 9.0, 143771 MiB\n"),
                         {"name": "NVIDIA H200", "driver": "580.65.06", "architecture": "sm_90", "memory": "143771 MiB"})

    def test_all_compile_by_nvcc(self):
        try:
            gpu_builds.nvcc()
        except gpu_builds.Absent as nothing:
            self.skipTest(str(nothing))
        files = sorted(path.name for path in (gpu_cases.FOLDER / "gpu").glob("*.cu"))
        self.assertEqual({case.cuda for case in gpu_cases.CASES} - set(files), set())
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for file, built in [(file, pool.submit(gpu_builds.build_cuda, file, "sm_90")) for file in files]:
                with self.subTest(file=file):
                    try:
                        self.assertTrue(os.access(built.result(), os.X_OK))
                    except gpu_builds.Absent as nothing:
                        self.skipTest(str(nothing))


class CudaTest(unittest.TestCase):
    """What the programs written by hand print, on the CPU."""

    def printed(self, binary, arguments, file=None):
        times = tempfile.NamedTemporaryFile()
        done = subprocess.run([binary, *map(str, arguments), *([file] if file else [])], capture_output=True, check=True,
                              env=os.environ | {"GPU_SPEED_TIMES": times.name})
        parts = pathlib.Path(times.name).read_text()
        return done.stdout, json.loads(parts) if parts else None

    def test_they_print_what_the_programs_in_c_do(self):
        kinds = {"streams.cu": [(kind, 100_001, 3) for kind in ("scale", "triad", "saxpy")]}
        for case in {(case.source, case.cuda): case for case in gpu_cases.CASES}.values():
            plain, by_hand = gpu_builds.build_c(case.source), gpu_builds.build_cuda_on_cpu(case.cuda)
            for arguments in kinds.get(case.cuda) or [ODD[case.cuda]]:
                with self.subTest(case=case.name, arguments=arguments), tempfile.TemporaryDirectory() as folder:
                    files = [f"{folder}/{name}" if case.all_bytes else None for name in ("c", "cuda")]
                    expected, _ = self.printed(plain, arguments, files[0])
                    found, parts = self.printed(by_hand, arguments, files[1])
                    self.assertEqual(found, expected)
                    self.assertLessEqual({"kernels_ms", "download_ms"}, set(parts))
                    if case.all_bytes:
                        self.assertEqual(*[pathlib.Path(file).read_bytes() for file in files])
                    if not case.same_bytes:
                        self.assertEqual(parts["apart"], 0)  # on the CPU its functions are the program's own

    def test_a_twin_prints_the_same(self):
        for case in (case for case in gpu_cases.CASES if case.twin):
            plain, twin = gpu_builds.build_c(case.source), gpu_builds.build_c(case.twin, "-fopenmp")
            self.assertEqual(self.printed(plain, (101,))[0], self.printed(twin, (101,))[0])


class ComparisonTest(unittest.TestCase):
    """What runs told, judged."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        lab = gpu_speed.Lab({"name": "reference"}, gpu_cases.TINY, 1, 9, 9, float("inf"), False, "none")
        case = gpu_cases.chosen(["black_scholes"], gpu_cases.TINY)[0]
        self.comparison = gpu_speed.Comparison(case, lab, pathlib.Path(folder.name))
        self.comparison.printed[()] = b"right"

    def judged(self, name, stdout=b"right", status=0, killed=False, told=None):
        if told:
            self.comparison.times.write_text(json.dumps(told))
        self.comparison.take_printed(name, measure.Run(1.0, stdout, status, killed, 1.0), ())
        return self.comparison.variants[name].failure

    def test_the_same_output_is_right(self):
        self.assertEqual(self.judged(DEVICE), "")

    def test_other_output_and_other_endings_are_wrong(self):
        self.assertEqual(self.judged(DEVICE, b"wrong"), "other output")
        self.assertEqual(self.judged(CPU, status=3), "exit status 3")
        self.assertEqual(self.judged(BOTH, killed=True), "killed after 1 s")

    def test_other_functions_may_print_something_else_but_near(self):
        self.assertEqual(self.judged(CUDA, b"other", told={"kernels_ms": 1.0, "apart": 1e-13}), "")
        self.assertEqual(self.judged(CUDA, b"other", told={"kernels_ms": 1.0, "apart": 0.1}), "results are 0.1 apart")


class ScriptTest(unittest.TestCase):
    def run_script(self, *words, status=0, **variables):
        done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, env=os.environ | variables)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def test_without_a_gpu_it_says_so(self):
        try:
            self.skipTest(f"there is a GPU: {gpu_builds.device()['name']}")
        except gpu_builds.Absent:
            self.assertIn("skipped: ", self.run_script())

    def test_on_the_reference_device(self):
        with tempfile.TemporaryDirectory() as folder:
            out = f"{folder}/out.json"
            options = ("--device", "reference", "--out", out)
            self.run_script(*options, "--only", "nbody", "mandelbrot", "heat3d_100", "--all-bytes")
            # Merged into the first, and natively not waited for.
            shown = self.run_script(*options, "--only", "matmul_4096", "--native-limit", "0.02")
            self.assertIn("matmul_4096, cublas: skipped: ", shown)
            rows = {found["case"]: found for found in json.loads(pathlib.Path(out).read_text())["rows"]}
        self.assertEqual(list(rows), ["matmul_4096", "nbody", "mandelbrot", "heat3d_100"])
        for found in rows.values():
            for name in (CPU, DEVICE, BOTH, CUDA):
                self.assertIn("median_s", found["variants"][name], found["case"])
                self.assertNotIn("failure", found["variants"][name], found["case"])
        self.assertIn("at_least_s", rows["matmul_4096"]["variants"][NATIVE])
        self.assertIn("absent", rows["matmul_4096"]["variants"][VENDOR])
        self.assertIn("all bytes compared of native, cpu, gpu, cpu,gpu, cuda", rows["heat3d_100"]["notes"])
        self.assertGreater(rows["heat3d_100"]["rounds"][CUDA]["GBs"], 0)

    def test_what_runs_on_the_device_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            out = f"{folder}/out.json"
            shown = self.run_script("--device", "reference", "--size", "quick", "--only", "nbody", "--regions", "--out", out)
            found = json.loads(pathlib.Path(out).read_text())["rows"][0]["variants"]
        self.assertTrue(found[DEVICE]["on_device"], shown)
        self.assertIn("absent", found[CUDA])
        self.assertIn("  reference: ", shown)

    def test_with_a_driver_and_a_compiler_that_are_fakes(self):
        """The ways that only a GPU opens, with the CPU's compiler in the place of nvcc."""
        with tempfile.TemporaryDirectory() as folder:
            for name, lines in (("nvidia-smi", "print('Fake GPU, 1.2, 9.0, 3 MiB')"),
                                ("nvcc", f"""
import pathlib, subprocess, sys
sys.path.insert(0, {str(gpu_cases.FOLDER)!r})
import gpu_builds
words = sys.argv[1:]
assert "-arch=sm_90" in words and "-fmad=false" in words
if "-lcublas" in words:
    sys.exit("cannot find -lcublas")
target, source = words[words.index("-o") + 1:][:2]
text = pathlib.Path(target + ".cc")
text.write_text(gpu_builds.on_cpu(pathlib.Path(source).read_text()))
include = next(word for word in words if word.startswith("-I"))
sys.exit(subprocess.run(["g++", "-O2", "-std=c++17", "-DCUDA_ON_CPU", include, "-o", target, text]).returncode)
""")):
                file = pathlib.Path(folder) / name
                file.write_text(f"#!{sys.executable}\n{lines}\n")
                file.chmod(0o755)
            out = f"{folder}/out.json"
            shown = self.run_script("--size", "tiny", "--only", "matmul_2048", "black_scholes", "--out", out,
                                    PATH=f"{folder}:{os.environ['PATH']}", TRACELIFT_E2E_CACHE=folder)
            found = json.loads(pathlib.Path(out).read_text())
        self.assertEqual(found["device"]["name"], "Fake GPU")
        self.assertIn("device_copy_GBs", found["device_copy"])
        self.assertIn("matmul_2048, cublas: skipped: there is no cuBLAS", shown)
        for case in found["rows"]:
            self.assertNotIn("failure", case["variants"][DEVICE])
            self.assertNotIn("failure", case["variants"][CUDA])
            self.assertIn("kernels", case["variants"][CUDA]["parts_ms"])

    def test_what_there_is_no_time_for_is_left(self):
        shown = self.run_script("--device", "reference", "--only", "nbody", "--minutes", "0.001")
        self.assertIn("left for another run: --only nbody", shown)

    def test_unknown_cases_are_refused(self):
        self.run_script("--device", "reference", "--only", "nothing", status=1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
