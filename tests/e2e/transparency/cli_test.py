"""The `tracelift` command: what it refuses and how, what it hands to the program, what it reads and shows."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

TRACELIFT = sys.argv.pop(1)


def tracelift(*arguments, **options):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TRACELIFT_", "LD_PRELOAD"))}
    environment.update(options.pop("variables", {}))
    return subprocess.run([TRACELIFT, *arguments], env=environment, capture_output=True, text=True, timeout=60, **options)


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, contents, mode=0o755):
        path = self.folder / name
        path.write_bytes(contents)
        path.chmod(mode)
        return str(path)


class Refusals(InFolder):
    def refused(self, program, status, words):
        # Nothing may have been started: the report would be there.
        report = self.folder / "report.json"
        done = tracelift("run", "--report", str(report), "--", program)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertRegex(done.stderr, f"^tracelift: .*{words}")
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertFalse(report.exists())

    def compiled(self, name, *flags):
        path = str(self.folder / name)
        subprocess.run(["gcc", "-o", path, "-x", "c", "-", *flags], input="int main(void) { return 0; }", text=True, check=True)
        return path

    def test_missing_programs(self):
        self.refused("no-such-program", 127, "no-such-program: not found in PATH")
        self.refused("./no-such-program", 127, "No such file")

    def test_files_that_cannot_be_executed(self):
        self.refused(str(self.folder), 126, "is a directory")
        self.refused(self.file("plain", b"\x7fELF", 0o644), 126, "not executable")
        self.refused(self.file("text", b"hello\n"), 126, "neither an ELF program nor a script")
        self.refused(self.file("cut", b"\x7fELF\x02\x01\x01"), 126, "damaged")

    def test_static_programs(self):
        self.refused(self.compiled("static", "-static"), 2, "statically linked")
        self.refused(self.compiled("static-pie", "-static-pie"), 2, "statically linked")

    def test_programs_of_other_machines(self):
        header = bytearray(pathlib.Path("/bin/true").read_bytes())
        header[18:20] = (183).to_bytes(2, "little")
        self.refused(self.file("arm", bytes(header)), 2, "not an x86-64 program")

    def test_programs_that_change_their_rights(self):
        self.refused(self.file("setuid", pathlib.Path("/bin/true").read_bytes(), 0o4755), 2, "setuid")
        self.refused(self.file("setgid", pathlib.Path("/bin/true").read_bytes(), 0o2755), 2, "setgid")

    def test_scripts_whose_interpreter_cannot_be_traced(self):
        self.refused(self.file("script", b"#!/no/such/interpreter\n"), 127, "its interpreter /no/such/interpreter")
        static = self.compiled("static", "-static")
        self.refused(self.file("script2", f"#! {static} -x\n".encode()), 2, "its interpreter .*statically linked")
        self.refused(self.file("script3", b"#!\n"), 126, "names no interpreter")

    def test_options_that_are_wrong(self):
        for arguments, words in ((["--threads", "many"], "threads"), (["--math", "fast"], "math"), (["--verify", "maybe"], "verify"),
                                 (["--report", "/no/such/folder/r"], "/no/such/folder"), (["--report", "/tmp"], "directory"),
                                 (["--childen", "leave"], "childen")):
            done = tracelift("run", *arguments, "--", "/bin/true")
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertIn(words, done.stderr)

    def test_no_program_at_all(self):
        for arguments in (["run"], ["run", "--"], [], ["walk"]):
            self.assertEqual(tracelift(*arguments).returncode, 2, arguments)


class Run(InFolder):
    def test_program_gets_its_arguments_as_they_are(self):
        words = ["--report", "x", "--", "-n", "", "a b", "--help"]
        for before in (["--"], []):
            done = tracelift("run", *before, "/usr/bin/printf", "[%s]", *words)
            self.assertEqual((done.returncode, done.stdout), (0, "".join(f"[{word}]" for word in words)), done.stderr)

    def test_streams_and_status_are_the_programs(self):
        done = tracelift("run", "--", "sh", "-c", "cat; echo error >&2; exit 42", input="in")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (42, "in", "error\n"))

    def test_signals_that_end_the_program_end_the_command(self):
        self.assertEqual(tracelift("run", "--", "sh", "-c", "kill -TERM $$").returncode, -signal.SIGTERM)

    def test_process_is_the_same(self):
        with subprocess.Popen([TRACELIFT, "run", "--", "sh", "-c", "echo $$"], stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(int(process.stdout.read()), process.pid)

    def test_scripts_run(self):
        script = self.file("script", b"#!/bin/sh\necho script $1\n")
        self.assertEqual(tracelift("run", "--", script, "works").stdout, "script works\n")

    def test_options_become_variables(self):
        done = tracelift("run", "--report", "r.json", "--cache", "c", "--threads", "3", "--math", "relaxed", "--verify", "always",
                         "--devices", "cpu,gpu", "--children", "follow", "--summary", "--profile-only", "--", "env",
                         cwd=self.folder, variables={"LD_PRELOAD": ""})
        variables = dict(line.split("=", 1) for line in done.stdout.splitlines())
        expected = {"REPORT": f"{self.folder}/r.json", "CACHE": f"{self.folder}/c", "THREADS": "3", "MATH": "relaxed",
                    "VERIFY": "always", "DEVICES": "cpu,gpu", "CHILDREN": "follow", "SUMMARY": "1", "PROFILE_ONLY": "1"}
        for name, value in expected.items():
            self.assertEqual(variables[f"TRACELIFT_{name}"], value)
        self.assertTrue(variables["LD_PRELOAD"].endswith("/libtracelift.so"))

    def test_variables_of_the_user_stay_where_no_option_is_given(self):
        done = tracelift("run", "--", "env", variables={"TRACELIFT_VERIFY": "off", "TRACELIFT_CACHE": "off"})
        self.assertIn("TRACELIFT_VERIFY=off\n", done.stdout)
        self.assertIn("TRACELIFT_CACHE=off\n", done.stdout)

    def test_other_preloaded_libraries_stay(self):
        other = str(self.folder / "other.so")
        subprocess.run(["gcc", "-shared", "-o", other, "-x", "c", "/dev/null"], check=True)
        done = tracelift("run", "--", "sh", "-c", "echo $LD_PRELOAD", variables={"LD_PRELOAD": other})
        self.assertRegex(done.stdout, rf"^/.*/libtracelift\.so:{other}\n$")

    def test_summary_of_an_idle_program(self):
        done = tracelift("run", "--summary", "--", "/bin/echo", "hello")
        self.assertEqual(done.stdout, "hello\n")
        self.assertRegex(done.stderr, "^tracelift: nothing hot")

    def test_missing_runtime_is_said_before_the_program_starts(self):
        for folder in ("bin", "lib"):
            (self.folder / folder).mkdir()
        command = shutil.copy(TRACELIFT, self.folder / "bin")
        for library, words in ((None, "libtracelift.so is neither"), ("libtracelift.so", "libtracelift_runtime.so is missing")):
            if library:
                (self.folder / "lib" / library).touch()
            done = subprocess.run([command, "run", "--", "/bin/echo", "started"], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(words, done.stderr)


class Report(InFolder):
    def test_shows_what_run_wrote(self):
        report = str(self.folder / "report.json")
        tracelift("run", "--report", report, "--", "/bin/echo", "ü \"quoted\"")
        table = tracelift("report", report)
        self.assertEqual((table.returncode, table.stderr), (0, ""))
        self.assertIn("/bin/echo ü \"quoted\"", table.stdout)
        self.assertIn("idle", table.stdout)
        as_json = tracelift("report", report, "--json")
        self.assertEqual(json.loads(as_json.stdout), json.loads(pathlib.Path(report).read_text()))

    def test_names_what_is_wrong_with_a_file(self):
        report = str(self.folder / "report.json")
        tracelift("run", "--report", report, "--", "/bin/true")
        good = pathlib.Path(report).read_bytes()
        for contents, words in ((good[:len(good) // 2], "cut off"), (b"", "empty"), (b"{}", "not a tracelift report"),
                                (b"\x7fELF", "not a tracelift report"),
                                (good.replace(b'"version": 4', b'"version": 99'), "version 99"),
                                (good.replace(b'"pid"', b'"pod"'), "damaged")):
            done = tracelift("report", self.file("bad.json", contents, 0o644))
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, f"^tracelift: .*bad.json: .*{words}")
        self.assertIn("No such file", tracelift("report", "/no/such/report").stderr)


class Doctor(unittest.TestCase):
    def test_names_everything_that_matters_and_succeeds(self):
        done = tracelift("doctor")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for thing in ("kernel", "CPU", "vectors", "perf events", "membarrier", "memory map", "GPU", "preload", "runtime"):
            self.assertRegex(done.stdout, rf"(?m)^  (ok|--)    {thing} ")


if __name__ == "__main__":
    unittest.main()
