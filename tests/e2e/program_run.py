"""Runs one row of `program_rows` natively, under plain LD_PRELOAD, and natively again, and says what a user would notice.

The two native runs must agree with each other, or agreeing with the traced one means nothing. That the programs were
really traced is proven by a probe that is preloaded beside the library, and by the reports of all processes in which
something was hot.
"""
import dataclasses
import json
import os
import pathlib
import shutil
import statistics

import harness
from harness import NATIVE, PRELOAD, Case, build, difference
from program_rows import Row

# What would tell the time, the user or the machine is fixed, so that two native runs agree.
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "2024-01-02T03:04:05Z",
    "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.org", "GIT_COMMITTER_DATE": "2024-01-02T03:04:05Z",
    "SOURCE_DATE_EPOCH": "1704164645", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "CCACHE_DISABLE": "1",
    "PATH": "/usr/bin:/bin:/usr/sbin:/sbin:/usr/games", "SHELL": "/bin/sh", "TERM": "dumb", "USER": "root",
}
TIMEOUT_S = 240

SAME = "same"
DIFFERS = "differs"        # from the native run: our bug
VARIES = "varies"          # the native runs differ from each other: the row is wrong
FAILS = "fails"            # natively, it does not exit as the row says
NOT_LOADED = "not loaded"  # agrees, but not every program of the row had the library
ABSENT = "absent"          # not installed


@dataclasses.dataclass
class Result:
    row: Row
    verdict: str
    problem: str = ""
    native_s: float = 0.0
    traced_s: float = 0.0
    processes: int = 0         # that had the library
    opened: int = 0            # in which something was hot: the runtime was opened
    samples: int = 0
    accelerated: list = dataclasses.field(default_factory=list)  # the loops that ran elsewhere, verified
    time_saved_ms: float = 0.0

    def is_slower(self):
        """Than what sampling and short processes may cost. Only a suspicion: one run on a machine that may be busy."""
        return self.verdict == SAME and self.traced_s > 1.05 * self.native_s + 0.03 + 0.001 * self.processes


def elf_program(name):
    """The file that the kernel runs for a program's name: of a script, its interpreter."""
    path = pathlib.Path(shutil.which(name, path=ENVIRONMENT["PATH"])).resolve()
    with open(path, "rb") as file:
        first = file.readline(200)
    if first.startswith(b"#!"):
        words = first[2:].split()
        name = words[1] if words[0].endswith(b"/env") else words[0]
        return elf_program(os.fsdecode(name))
    return str(path)


def probe():
    """The library that says which processes have ours; built once."""
    return build("preload_probe.c", ("-O2", "-shared", "-fPIC"), libraries=())


class RowRun:
    """One row with its directory, which stays when something is wrong."""

    def __init__(self, row, inputs):
        self.row = row
        self.case = Case(["/bin/bash", "-c", row.script], row.name, ENVIRONMENT,
                         prepare=lambda work: shutil.copytree(inputs, work, dirs_exist_ok=True), timeout=TIMEOUT_S)

    def native(self):
        self.case.env = ENVIRONMENT
        return self.case.execute(NATIVE)

    def traced(self):
        shutil.rmtree(self.case.base / "reports", ignore_errors=True)
        (self.case.base / "reports").mkdir()
        (self.case.base / "loaded").unlink(missing_ok=True)
        self.case.env = ENVIRONMENT | {
            "LD_PRELOAD": f"{harness.preload_library()} {probe()}", "PRELOAD_PROBE": str(self.case.base / "loaded"),
            "TRACELIFT_REPORT": str(self.case.base / "reports" / "%p.json")}
        return self.case.execute(PRELOAD)

    def loaded(self):
        """The program files that had the library, once for each process."""
        path = self.case.base / "loaded"
        return [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()] if path.exists() else []

    def reports(self):
        texts = [path.read_text() for path in sorted((self.case.base / "reports").iterdir())]
        return [json.loads(text) for text in texts if text]

    def judge(self, natives, traced):
        """(verdict, problem) of one round."""
        for native in natives:
            if native.timed_out or native.status != self.row.status:
                stderr = native.stderr[-500:].decode(errors="replace")
                return FAILS, f"natively {native.status_text()}, not {self.row.status}; stderr: {stderr}"
        if problem := difference(natives[0], natives[1]):
            return VARIES, f"the native runs differ: {problem}"
        if problem := difference(natives[0], traced):
            return DIFFERS, problem
        try:
            reports = self.reports()
        except ValueError as damage:
            return DIFFERS, f"a report is damaged: {damage}"
        for report in reports:
            if problem := harness.defect(report):
                return DIFFERS, f"{report['command']}: {problem}"
        missing = {program for program in self.row.programs
                   if program not in self.row.unloaded and elf_program(program) not in self.loaded()}
        if missing:
            return NOT_LOADED, f"never with the library: {sorted(missing)}; with it: {sorted(set(self.loaded()))}"
        return SAME, ""


def run(row, inputs, rounds=1):
    """Native, traced, native; more rounds only for the seconds, whose medians are taken."""
    if absent := row.absent(ENVIRONMENT["PATH"]):
        return Result(row, ABSENT, f"not installed: {' '.join(absent)}")
    one = RowRun(row, inputs)
    native_s, traced_s = [], []
    for _ in range(rounds):
        natives = [one.native()]
        traced = one.traced()
        natives.append(one.native())
        native_s += [outcome.seconds for outcome in natives]
        traced_s.append(traced.seconds)
        verdict, problem = one.judge(natives, traced)
        if verdict != SAME:
            break
    reports = one.reports() if verdict == SAME else []
    active = [report for report in reports if report["state"] != "idle"]
    ran = [region for report in reports for region in report["regions"] if region["passes"] > 0 and region["verified"] > 0]
    result = Result(row, verdict, problem, round(statistics.median(native_s), 3), round(statistics.median(traced_s), 3),
                    len(one.loaded()), len(active), sum(report["samples"] for report in reports),
                    sorted({region["symbol"] or f"{pathlib.Path(region['module']).name}+{region['offset']:#x}"
                            for region in ran}),
                    round(sum(report["time_saved_ms"] for report in reports), 1))
    if verdict == SAME:
        one.case.discard()
    else:
        result.problem += f"\n  kept: {one.case.base}\n  reproduce: {one.case.base}/{PRELOAD}-repro.sh"
    return result
