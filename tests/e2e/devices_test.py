#!/usr/bin/env python3
"""Regions on the reference device: the same bytes, proof that they ran there, and nothing lost when it is killed, stops answering, or
the program forks."""
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import threading
import time
import unittest

import harness
from harness import NATIVE, ROOT, RUN, VERIFY, Case, TraceTest, build, table_of

sys.path.insert(0, str(ROOT / "bench"))
import programs_table

DEVICE = {"TRACELIFT_DEVICES": "reference"}
OPERANDS = 1_000_000
OPERATIONS = {"add": 150, "sub": 150, "mul": 150, "div": 100, "muladd": 100, "sqrt": 80, "exp": 60, "log": 60, "sin": 60, "cos": 60, "pow": 40}  # rounds
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
            traced, acted = self.disturb(self.command("heat3d"), lambda pid: os.kill(pid, signal.SIGKILL), random.uniform(0.1, 0.8))
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

    def run_on_fake_gpu(self, act, timeout=120):
        """A driver in place of NVIDIA's that does `act`; the report, all bytes being the same."""
        library = pathlib.Path(build("fake_cuda.c", ("-O2", "-shared", "-fPIC"), libraries=()))
        folder = library.parent / "driver"
        folder.mkdir(exist_ok=True)
        shutil.copy(library, folder / "libcuda.so.1")
        env = {"TRACELIFT_DEVICES": "gpu", "LD_LIBRARY_PATH": str(folder), "FAKE_CUDA": act}
        command = [*self.command("matmul")[:1], "1000"]  # the small one ends before it has a kernel where the machine is busy
        case = Case(command, name=f"gpu-{act}", env=env, timeout=timeout)
        native, traced = case.execute(NATIVE), case.execute(RUN)
        self.assertIsNone(harness.difference(native, traced), f"kept: {case.base}")
        case.discard()
        return traced.report

    def test_gpus_that_fail(self):
        for act, told in (("no-device", "the device gpu cannot be used: no CUDA-capable device"), ("fail", "the device Fake GPU was lost: unspecified launch failure"),
                          ("hang", "the device Fake GPU was lost: it did not answer in time")):
            with self.subTest(act=act):
                report = self.run_on_fake_gpu(act)
                self.assertTrue(any(note.startswith(told) for note in report["notes"]), report["notes"])

    def test_gpus_without_memory_or_for_other_kernels(self):
        for act, reason in (("no-memory", "DeviceMemory"), ("bad-ptx", "NoKernel")):
            with self.subTest(act=act):
                report = self.run_on_fake_gpu(act)
                seen = {name for r in report["regions"] for name, _ in r["decline_reasons"]} | {r["reason"] for r in report["regions"]}
                self.assertIn(reason, seen, table_of(report))

    def test_gpus_that_compute_nothing(self):
        report = self.run_on_fake_gpu("idle")
        self.assertIn("VerificationMismatch", {r["reason"] for r in report["regions"]}, table_of(report))

    def test_without_the_device(self):
        case = Case(self.command("matmul"), name="no-device", env={"TRACELIFT_DEVICES": "gpu"})
        native, traced = case.execute(NATIVE), case.execute(RUN)
        self.assertIsNone(harness.difference(native, traced))
        if not any(region["executions"] for region in traced.report["regions"]):  # there is no GPU
            self.assertTrue(any("the device gpu cannot be used: " in note for note in traced.report["notes"]), traced.report["notes"])
        case.discard()


if __name__ == "__main__":
    harness.main()
