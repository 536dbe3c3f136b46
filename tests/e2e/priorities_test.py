#!/usr/bin/env python3
"""A nice program stays nice: no thread of ours goes before its own."""
import os
import pathlib
import signal
import time

import harness
from harness import RUN, Case, TraceTest, build


def nice_values(pid):
    """{thread name: nice values} of a process."""
    values = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text()
        name, rest = fields[fields.index("(") + 1:fields.rindex(")")], fields[fields.rindex(")") + 2:].split()
        values.setdefault(name, []).append(int(rest[16]))
    return values


class PrioritiesTest(TraceTest):
    def test_the_compiler_is_nicer_than_a_nice_program(self):
        case = Case(["nice", "-n", "5", build("signals.c"), "forever", 0], "nice")
        program = min(os.nice(0) + 5, 19)
        process = case.start(RUN)
        end = time.monotonic() + 60
        while not case.report_path(RUN).exists():  # written every second once the runtime is there
            self.assertLess(time.monotonic(), end, f"no report, see {case.base}")
            time.sleep(0.01)
        values = nice_values(process.pid)
        os.kill(process.pid, signal.SIGTERM)
        case.finish(RUN, process)
        self.assertEqual(values.pop("signals"), [program])
        ours = sorted(value for those in values.values() for value in those)
        self.assertGreaterEqual(ours[0], program, values)
        self.assertEqual(ours[-1], min(program + 5, 19), values)
        case.discard()


if __name__ == "__main__":
    harness.main()
