#!/usr/bin/env python3
"""The table of programs and its runner must notice: rows that are wrong, and rows that fail on purpose."""
import pathlib
import tempfile
import unittest

import program_rows
import program_run
from program_rows import parse
from program_run import ABSENT, DIFFERS, FAILS, NOT_LOADED, SAME, VARIES

HEAD = "[row] programs={} packages=bash\n"


class TableTest(unittest.TestCase):
    def test_a_row_is_a_header_and_a_script(self):
        rows = parse("# about the group\n\n[a] programs=gzip,sort packages=gzip status=3 unloaded=sort\necho 1\n\necho 2\n\n"
                     "[b-2.0] programs=x packages=y\necho 3\n", "group")
        self.assertEqual([(row.name, row.programs, row.status, row.unloaded) for row in rows],
                         [("a", ("gzip", "sort"), 3, frozenset(["sort"])), ("b-2.0", ("x",), 0, frozenset())])
        self.assertEqual([row.script for row in rows], ["echo 1\n\necho 2\n", "echo 3\n"])

    def test_what_is_not_a_row_is_named(self):
        for text, words in (("echo 1\n", "group:1: expected"), ("[a] programs=x\n", "needs programs= and packages="),
                            ("[a] programs=x packages=y retries=3\n", "unknown ['retries']")):
            with self.assertRaisesRegex(ValueError, words.replace("[", r"\[").replace("]", r"\]")):
                parse(text, "group")

    def test_a_name_does_not_come_twice(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in "one", "two":
                pathlib.Path(folder, f"{name}.rows").write_text(HEAD.format("bash") + "true\n")
            with self.assertRaisesRegex(ValueError, "comes twice"):
                program_rows.read_all(pathlib.Path(folder))

    def test_there_are_more_than_a_hundred_different_programs(self):
        self.assertGreater(len({row.programs[0] for row in program_rows.read_all()}), 110)


class RunnerTest(unittest.TestCase):
    def verdict(self, script, programs="bash", options=""):
        head = HEAD.format(programs).rstrip("\n") + options
        with tempfile.TemporaryDirectory() as inputs:
            pathlib.Path(inputs, "words").write_text("b\na\n")
            self.result = program_run.run(parse(f"{head}\n{script}\n", "group")[0], inputs)
        return self.result.verdict

    def test_a_program_that_agrees(self):
        self.assertEqual(self.verdict("sort words; echo err >&2; exit 3", "bash,sort", " status=3"), SAME)
        self.assertGreaterEqual(self.result.processes, 2)

    def test_one_that_prints_something_else_when_it_is_traced(self):
        self.assertEqual(self.verdict('echo "$LD_PRELOAD"'), DIFFERS)

    def test_one_that_writes_something_else_when_it_is_traced(self):
        self.assertEqual(self.verdict('echo "$LD_PRELOAD" > file'), DIFFERS)

    def test_one_that_exits_differently_when_it_is_traced(self):
        self.assertEqual(self.verdict('test -z "$LD_PRELOAD"'), DIFFERS)

    def test_one_that_prints_something_else_each_time(self):
        self.assertEqual(self.verdict("echo $$"), VARIES)

    def test_one_that_fails_natively(self):
        self.assertEqual(self.verdict("exit 5"), FAILS)

    def test_one_that_the_library_never_came_into(self):
        self.assertEqual(self.verdict("env -u LD_PRELOAD sort words", "bash,env,sort"), NOT_LOADED)
        self.assertEqual(self.verdict("env -u LD_PRELOAD sort words", "bash,env,sort", " unloaded=sort"), SAME)

    def test_one_that_is_not_installed(self):
        self.assertEqual(self.verdict("true", "bash,no-such-program"), ABSENT)
        self.assertIn("no-such-program", self.result.problem)

    def test_one_whose_package_is_not_installed(self):
        row = parse("[row] programs=bash packages=bash,no-such-package\ntrue\n", "group")[0]
        self.assertEqual(program_run.run(row, ".").problem, "not installed: no-such-package")


if __name__ == "__main__":
    unittest.main()
