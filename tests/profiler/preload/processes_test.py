"""What a program can see of its own process: the same with the preload library as without, idle and hot."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

STAGE = pathlib.Path(sys.argv.pop(1))
PRELOAD = STAGE / "libtracelift.so"


def run(*arguments, command=None, **variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TRACELIFT_", "LD_PRELOAD"))}
    environment.update(variables)
    done = subprocess.run(command or [STAGE / "process_probe", *arguments], env=environment, capture_output=True, text=True,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr


class Processes(unittest.TestCase):
    def same(self, mode, *temperature):
        native = run(mode, *temperature)
        with tempfile.TemporaryDirectory() as folder:
            samples = pathlib.Path(folder, "samples")
            traced = run(mode, *temperature, LD_PRELOAD=str(PRELOAD), FAKE_SAMPLES=str(samples), TRACELIFT_HOT_MS="20")
            if temperature:
                self.assertTrue(samples.exists(), "the runtime was not opened, so nothing was tested")
        self.assertEqual(native, traced)
        return native

    def test_c_library_keeps_its_fast_paths_for_one_thread(self):
        self.assertIn("1", self.same("single")[1])

    def test_descriptors_are_the_same(self):
        self.same("descriptors")

    def test_descriptors_are_the_same_with_the_runtime(self):
        self.same("descriptors", "hot")

    def test_calls_for_single_threaded_processes_work(self):
        # In a container or a chroot the first is refused: natively, too.
        self.assertIn(self.same("namespaces")[1], ("0 0\n", "-1 0\n"))

    def test_process_ends_after_its_last_thread(self):
        self.same("main-leaves")

    def test_process_ends_after_its_last_thread_with_the_runtime(self):
        self.same("main-leaves", "hot")

    def test_forked_children_work(self):
        self.same("fork")

    def test_forked_children_work_with_the_runtime(self):
        self.same("fork", "hot")

    def test_spawned_children_work(self):
        self.same("spawn")

    def test_spawned_children_work_with_the_runtime(self):
        self.same("spawn", "hot")

    def test_threads_that_come_and_go(self):
        self.same("many-threads")
        self.same("many-threads", "hot")

    def test_no_runtime_is_opened_with_rights_that_the_program_gave_up(self):
        if os.getuid() != 0:
            self.skipTest("needs root")
        with tempfile.TemporaryDirectory() as folder:
            samples = pathlib.Path(folder, "samples")
            _, out, _ = run("rights", LD_PRELOAD=str(PRELOAD), FAKE_SAMPLES=str(samples), TRACELIFT_HOT_MS="20")
            self.assertEqual(out, "left over: 0\n")
            self.assertFalse(samples.exists())

    def test_runtime_hears_of_an_exit_without_exit_handlers_once(self):
        with tempfile.TemporaryDirectory() as folder:
            for mode in ("_exit", "single", "fork", "spawn"):
                exits = pathlib.Path(folder, mode)
                run(mode, "hot", LD_PRELOAD=str(PRELOAD), FAKE_EXIT=str(exits), TRACELIFT_HOT_MS="20",
                    TRACELIFT_CHILDREN="leave")
                self.assertEqual(len(exits.read_text().split()), 1, mode)


class Environment(unittest.TestCase):
    def test_children_follow_by_default(self):
        self.assertEqual(run("preload", LD_PRELOAD=str(PRELOAD))[1], f"{PRELOAD}\n{PRELOAD}\n")

    def test_children_are_left_when_asked(self):
        self.assertEqual(run("preload", LD_PRELOAD=str(PRELOAD), TRACELIFT_CHILDREN="leave")[1], "(none)\n(none)\n")

    def test_preloads_of_others_stay(self):
        with tempfile.TemporaryDirectory() as folder:
            other = pathlib.Path(folder, "other.so")
            subprocess.run(["gcc", "-shared", "-o", other, "-x", "c", "/dev/null"], check=True)
            for order in (f"{PRELOAD}:{other}", f"{other}:{PRELOAD}", f"{other} {PRELOAD} {other}"):
                left = order.replace(str(PRELOAD), "").replace("  ", " ").strip(": ").replace(" ", ":")
                self.assertEqual(run("preload", LD_PRELOAD=order, TRACELIFT_CHILDREN="leave")[1], f"{left}\n{left}\n")


class IdleReport(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.file = pathlib.Path(self.folder.name, "report.json")

    def test_is_written_by_the_root_only(self):
        command = ["/bin/sh", "-c", f"/bin/true; /bin/echo 'a \"quoted\" word'; cd /; /bin/true"]
        run(command=command, LD_PRELOAD=str(PRELOAD), TRACELIFT_REPORT=str(self.file))
        report = json.loads(self.file.read_text())
        self.assertEqual(report["command"], command)
        self.assertEqual(report["state"], "idle")
        self.assertEqual([path.name for path in self.file.parent.iterdir()], ["report.json"])

    def test_has_the_process_id_in_its_name_when_asked(self):
        run(command=["/bin/true"], LD_PRELOAD=str(PRELOAD), TRACELIFT_REPORT=str(self.file) + ".%p")
        names = [path.name for path in self.file.parent.iterdir()]
        self.assertEqual(len(names), 1)
        self.assertRegex(names[0], r"^report\.json\.\d+$")

    def test_is_written_by_every_process_when_each_has_a_file_of_its_own(self):
        run(command=["/bin/sh", "-c", "/bin/true; /bin/echo; (/bin/true; exit 0); exec /bin/echo"], LD_PRELOAD=str(PRELOAD),
            TRACELIFT_REPORT=str(self.file) + ".%p")
        reports = [json.loads(path.read_text())["command"][0] for path in self.file.parent.iterdir()]
        self.assertEqual(sorted(reports), ["/bin/echo", "/bin/echo", "/bin/true", "/bin/true"])

    def test_holds_any_bytes_of_the_command(self):
        run(command=["/bin/true", b"\xff\n\t\x01\"\\", "ü", b"\xed\xa0\x80", "x" * 100000], LD_PRELOAD=str(PRELOAD),
            TRACELIFT_REPORT=str(self.file))
        self.assertEqual(json.loads(self.file.read_text())["command"][1:4], ["?\n\t\x01\"\\", "ü", "???"])

    def test_summary_is_printed_also_by_programs_that_close_standard_error(self):
        status, out, errors = run(command=["/bin/echo", "hello"], LD_PRELOAD=str(PRELOAD), TRACELIFT_SUMMARY="1")
        self.assertEqual((status, out), (0, "hello\n"))
        self.assertRegex(errors, r"^tracelift: nothing hot in [\d.]+ ms of CPU time \(\d+ samples\)\n$")


if __name__ == "__main__":
    unittest.main()
