#!/usr/bin/env python3
"""Regions on the reference device: the same bytes, proof that they ran there, and nothing lost when it is killed, stops answering, or
the program forks."""
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import harness
from harness import NATIVE, ROOT, RUN, VERIFY, Case, TraceTest, build, table_of

sys.path.insert(0, str(ROOT / "bench"))
import programs_table

DEVICE = {"TRACELIFT_DEVICES": "reference"}
OPERANDS = 1_000_000
OPERATIONS = {"add": 150, "sub": 150, "mul": 150, "div": 100, "muladd": 250, "sqrt": 80, "exp": 60, "log": 60, "sin": 60, "cos": 60, "pow": 40}  # rounds
PROGRAMS = {program.name: program for program in programs_table.PROGRAMS}


def device_processes():
    """Of all programs that run now, by their program file."""
    server = str(harness.build_dir() / "bin" / "tracelift-device")
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "exe") == server:
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def on_device(report):
    return [region for region in report["regions"] if region["place"] == "reference" and region["executions"] > 0]


class DevicesTest(TraceTest):
    def command(self, name, small=True, flags=("-O2",)):
        program = PROGRAMS[name]
        return [str(part) for part in program.command(build(program.source, flags), small=small)]

    def disturb(self, command, act, delay, env=None):
        """Runs it natively and on the device, to whose processes `act` is done after `delay` seconds; both must agree."""
        case = Case(command, name=self._testMethodName, env=env or DEVICE, timeout=300)
        native = case.execute(NATIVE)
        process = case.start(RUN)
        acted = threading.Event()

        def wait_and_act():
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if device_processes():
                    time.sleep(delay)
                    for pid in device_processes():
                        act(pid)
                        acted.set()
                    return
                time.sleep(0.002)

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        traced = case.finish(RUN, process)
        thread.join()
        problem = harness.difference(native, traced) or harness.defect(traced.report)
        self.assertIsNone(problem, f"{problem}; kept: {case.base}")
        case.discard()
        return traced, acted.is_set()

    def test_killed_in_the_middle(self):
        random.seed(7)
        lost = 0
        for round_ in range(6):
            traced, acted = self.disturb(self.command("heat3d", small=False), lambda pid: os.kill(pid, signal.SIGKILL), random.uniform(0.1, 1.5))
            told = any("was lost: its process ended" in note for note in traced.report["notes"])
            lost += acted and told
        self.assertGreaterEqual(lost, 3, "too few of the runs were long enough for this")

    def test_stops_answering(self):
        traced, acted = self.disturb(self.command("jacobi2d", small=False), lambda pid: os.kill(pid, signal.SIGSTOP), 0.3)
        self.assertTrue(acted)
        self.assertTrue(any("was lost: it did not answer in time" in note for note in traced.report["notes"]), traced.report["notes"])
        for pid in device_processes():
            os.kill(pid, signal.SIGCONT)  # nobody wants it any more: it ends

    def test_other_float_modes_stay_at_home(self):
        program = build("float_modes.c")
        for mode in ("changing", "5f80", "9fc0"):
            with self.subTest(mode=mode):
                outcome = self.same([program, mode, 200], env=DEVICE, modes=(RUN, VERIFY))[VERIFY]
                self.assertEqual([r["reason"] for r in outcome.report["regions"] if r["reason"] == "VerificationMismatch"], [])

    def test_forking_program(self):
        self.same([build("processes.c"), "fork"], env=DEVICE, modes=(RUN, VERIFY))

    def test_leaves_no_process_behind(self):
        self.same(self.command("matmul"), env=DEVICE)
        deadline = time.monotonic() + 10
        while device_processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(device_processes(), [])

    def run_math(self, operation, kind, rounds):
        program = build("device_math.c", ("-O2",))
        return self.same([program, operation, kind, OPERANDS, rounds], env=DEVICE, name=f"math-{operation}-{kind}")[RUN]

    def test_each_operation_keeps_its_bits(self):
        """A million operands each, double and float: usual ones, where the device must have done them; any bits, with NaNs and infinities
        among them, which the original may have to do; and many denormals."""
        for operation, rounds in OPERATIONS.items():
            for kind in ("usual", "any", "denormal"):
                with self.subTest(operation=operation, kind=kind):
                    ran = []
                    for scale in (1, 4):
                        ran = on_device(self.run_math(operation, kind, rounds * scale).report)
                        if kind != "usual" or len(ran) >= 2:
                            break
                    if kind == "usual":
                        self.assertGreaterEqual(len(ran), 2, "double and float")

    def test_what_is_there_stays_there(self):
        """The matrix of an iterated solver is sent once."""
        outcome = self.same(self.command("conjugate_gradient"), env=DEVICE)[RUN]
        notes = " ".join(outcome.report["notes"])
        sent, stayed = map(float, re.search(r"([0-9.]+) MiB were sent to it, ([0-9.]+) MiB that launches needed were there", notes).groups())
        if tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups())) < (6, 7):
            self.skipTest("this kernel keeps no account of writes")
        self.assertGreater(stayed, 5 * sent, notes)

    def left_and_came_home(self, report):
        """MiB of results; skips where none can stay."""
        found = re.search(r"([0-9.]+) MiB of results stayed there, ([0-9.]+) MiB came home", " ".join(report["notes"]))
        doctor = subprocess.run([harness.tracelift_binary(), "doctor"], capture_output=True, text=True)
        if not found and "comes back at once" in doctor.stdout:
            self.skipTest("results cannot stay on a device here")
        self.assertIsNotNone(found, report["notes"])
        return float(found[1]), float(found[2])

    def test_results_stay_there(self):
        stayed, home = self.left_and_came_home(self.same(self.command("heat3d", small=False), env=DEVICE)[RUN].report)
        self.assertGreater(stayed, 5 * home)

    def test_results_are_there_however_they_are_looked_at(self):
        program = build("resident.c")
        for mode in ("none", "write", "read", "fork", "move", "drop", "thread", "unmap", "nan", "place"):
            with self.subTest(mode=mode):
                stayed, _ = self.left_and_came_home(self.same([program, mode, 900, 1000], env=DEVICE, name=f"resident-{mode}")[RUN].report)
                self.assertGreater(stayed, 30)

    def test_results_come_back_at_once_without_privileges(self):
        program = build("resident.c")
        for rights in (["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"], ["prlimit", f"--as={8 << 40}"]):
            report = self.same([*rights, program, "write", 900, 1000], env=DEVICE, name="resident-alone")[RUN].report
            self.assertTrue(on_device(report), table_of(report))
            self.assertFalse(any("of results stayed there" in note for note in report["notes"]), report["notes"])

    def test_results_that_a_lost_device_had(self):
        random.seed(11)
        program = build("resident.c")
        lost = 0
        for mode in ("write", "fork", "drop", "place", "nan"):
            with self.subTest(mode=mode):
                traced, acted = self.disturb([program, mode, "900", "2000"], lambda pid: os.kill(pid, signal.SIGKILL), random.uniform(0.3, 1.0))
                told = any("was lost: its process ended" in note for note in traced.report["notes"])
                lost += acted and told and self.left_and_came_home(traced.report)[0] > 0
        self.assertGreaterEqual(lost, 2, "too few of the runs had results there")

    def test_chooses_by_measurement(self):
        """The reference device is slower than the cores: it is tried, and the region comes home."""
        case = Case(self.command("heat3d", small=False), name="choice", env={"TRACELIFT_DEVICES": "cpu,reference"})
        native, traced = case.execute(NATIVE), case.execute(RUN)
        self.assertIsNone(harness.difference(native, traced), f"kept: {case.base}")
        tried = [region for region in traced.report["regions"]
                 if any("a grid of" in variant["transformation"] and variant["state"] == "slower" and variant["pass"]["count"] > 0
                        for variant in region["variants"])]
        self.assertTrue(tried, table_of(traced.report))
        self.assertTrue(all(region["place"].startswith("cpu") for region in tried), table_of(traced.report))
        case.discard()

    def test_killed_while_the_cores_work_too(self):
        env = {"TRACELIFT_DEVICES": "cpu,reference"}
        traced, acted = self.disturb(self.command("heat3d", small=False), lambda pid: os.kill(pid, signal.SIGKILL), 0.02, env)
        self.assertTrue(acted)
        self.assertTrue(any(region["executions"] and region["place"].startswith("cpu") for region in traced.report["regions"]))

    def fake_libraries(self, **sources):
        """A folder with stand-ins for NVIDIA's libraries, by name."""
        folder = harness.cache_dir() / "-".join(["fake", *sources])
        folder.mkdir(exist_ok=True)
        for name, source in sources.items():
            unfinished = folder / f"{name}.{os.getpid()}"
            shutil.copy(build(source, ("-O2", "-shared", "-fPIC"), libraries=()), unfinished)
            unfinished.rename(folder / f"lib{name.replace('_', '-')}.so.1")
        return str(folder)

    def run_on_fake_gpu(self, act, size=1000, timeout=120, more_env=None):
        """A matrix product with a driver in place of NVIDIA's that does `act`; the report, all bytes being the same."""
        folder = self.fake_libraries(cuda="fake_cuda.c")
        env = {"TRACELIFT_DEVICES": "gpu", "LD_LIBRARY_PATH": folder, "FAKE_CUDA": act, **(more_env or {})}
        case = Case([*self.command("matmul", small=False), size], name=f"gpu-{act}", env=env, timeout=timeout)
        native, traced = case.execute(NATIVE), case.execute(RUN)
        self.assertIsNone(harness.difference(native, traced), f"kept: {case.base}")
        case.discard()
        return traced.report

    def test_gpus_that_fail(self):
        lost = "the device Fake GPU was lost: "
        for act, told in (("no-device", "the device gpu cannot be used: no CUDA-capable device"), ("fail", lost + "unspecified launch failure"),
                          ("fault", lost + "unspecified launch failure"), ("hang", lost + "it did not answer in time"),
                          ("endless", lost + "it did not answer in time")):
            with self.subTest(act=act):
                report = self.run_on_fake_gpu(act, size=1200)  # time enough to be told that it was lost
                self.assertTrue(any(note.startswith(told) for note in report["notes"]), report["notes"])

    def test_gpus_without_memory_or_for_other_kernels(self):
        for act, reason in (("no-memory", "DeviceMemory"), ("bad-ptx", "NoKernel")):
            with self.subTest(act=act):
                report = self.run_on_fake_gpu(act)
                seen = {name for r in report["regions"] for name, _ in r["decline_reasons"]} | {r["reason"] for r in report["regions"]}
                self.assertIn(reason, seen, table_of(report))

    def test_kernels_are_linked_once(self):
        """The driver's work on kernels is kept where compiled regions are, or not at all."""
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            log_of = {}
            for name, cache in (("first", f"{folder}/cache"), ("second", f"{folder}/cache"), ("without", "off")):
                self.run_on_fake_gpu("idle", more_env={"TRACELIFT_CACHE": cache, "FAKE_CUDA_LOG": str(log)})
                log_of[name] = log.read_text().splitlines() if log.exists() else []
                log.unlink(missing_ok=True)
        self.assertIn("link", log_of["first"])
        self.assertIn("load cubin", log_of["second"])
        self.assertNotIn("link", log_of["second"])
        self.assertIn("load ptx", log_of["without"])
        self.assertNotIn("link", log_of["without"])

    def test_gpus_that_compute_nothing(self):
        report = self.run_on_fake_gpu("idle")
        self.assertIn("VerificationMismatch", {r["reason"] for r in report["regions"]}, table_of(report))

    def doctor(self, folder, **env):
        """What it says."""
        outcome = subprocess.run([harness.tracelift_binary(), "doctor"], env={**os.environ, "LD_LIBRARY_PATH": folder, **env}, capture_output=True, text=True)
        self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))
        return outcome.stdout

    def test_doctor_names_gpus(self):
        with_nvml = self.fake_libraries(cuda="fake_cuda.c", nvidia_ml="fake_nvml.c")
        two = {"FAKE_CUDA_DEVICES": "2", "FAKE_NVML": "5:1536,-", "FAKE_NVML_BY": "uuid"}
        said = self.doctor(with_nvml, **two)
        self.assertRegex(said, r"(?m)^  ok    GPU +Fake GPU, 8 GiB, compute capability 9\.0, 5% busy, 1\.5 GiB in use, PCIe 5 x16, 123 W$")
        self.assertRegex(said, r"(?m)^  ok    GPU +Fake GPU 1, 8 GiB, compute capability 9\.0$")
        self.assertNotIn("NVML", said)
        said = self.doctor(with_nvml, CUDA_VISIBLE_DEVICES="1", **two)
        self.assertRegex(said, r"(?m)^  ok    GPU +Fake GPU 1, ")
        self.assertNotIn("Fake GPU,", said)
        said = self.doctor(with_nvml, FAKE_CUDA="no-device", **two)
        self.assertRegex(said, r"(?m)^  --    GPU +a CUDA driver, but .*no CUDA-capable device.*; NVML knows Fake GPU 1, Fake GPU 0$")
        said = self.doctor(self.fake_libraries(cuda="fake_cuda.c"))
        self.assertRegex(said, r"(?m)^  ok    GPU +Fake GPU, 8 GiB, compute capability 9\.0$")
        self.assertRegex(said, r"(?m)^  --    NVML +there is no libnvidia-ml\.so\.1\n +which GPU is busy is not known: the first is used$")

    def test_without_the_device(self):
        case = Case(self.command("matmul"), name="no-device", env={"TRACELIFT_DEVICES": "gpu"})
        native, traced = case.execute(NATIVE), case.execute(RUN)
        self.assertIsNone(harness.difference(native, traced))
        if not any(region["executions"] for region in traced.report["regions"]):  # there is no GPU
            self.assertTrue(any("the device gpu cannot be used: " in note for note in traced.report["notes"]), traced.report["notes"])
        case.discard()


if __name__ == "__main__":
    harness.main()
