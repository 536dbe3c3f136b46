"""Runs one program natively and under tracelift, and demands the same bytes.

A case is a command. It runs in a fresh directory, first natively, then in each mode asked for; the directory has the
same path every time, so programs that print or store where they are still agree. Compared are standard output, standard
error, exit status or signal, and every file produced. The report of a mode is then checked against an `Expect`: that
all bytes agree proves nothing when the original code did all the work.

A failing case keeps its directory, with the outputs of every mode and a `repro.sh` for each, and says so.

Used by every script in this folder; `harness_test.py` tests it against a product that fails on purpose.
"""
import dataclasses
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
CXX_SUFFIXES = {".cc", ".cpp", ".cxx"}
FORTRAN_SUFFIXES = {".f90", ".f"}

NATIVE = "native"
RUN = "run"            # tracelift run
VERIFY = "verify"      # tracelift run --verify=always
PRELOAD = "preload"    # LD_PRELOAD and nothing else
PROFILE = "profile"    # tracelift run --profile-only
MODES = (RUN, VERIFY, PRELOAD, PROFILE)


# A shell that puts this into the background has it ignore both, and programs inherit that.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


def build_dir():
    return pathlib.Path(os.environ.get("TRACELIFT_BUILD", ROOT / "build" / "release")).resolve()


def tracelift_binary():
    return build_dir() / "bin" / "tracelift"


def preload_library():
    return build_dir() / "lib" / "libtracelift.so"


def cache_dir():
    """Where built programs are kept: never where the product is, which may be read-only."""
    base = os.environ.get("TRACELIFT_E2E_CACHE") or pathlib.Path(tempfile.gettempdir()) / f"tracelift-e2e-cache-{os.getuid()}"
    path = pathlib.Path(base)
    path.mkdir(parents=True, exist_ok=True)
    return path


def compiler_for(source, family="gcc"):
    """The driver that compiles `source` with this family of compilers, or None where there is none."""
    suffix = pathlib.Path(source).suffix
    if suffix in FORTRAN_SUFFIXES:
        name = "gfortran" if family == "gcc" else None
    elif suffix in CXX_SUFFIXES:
        name = {"gcc": "g++", "clang": "clang++-19", "clang-14": "clang++-14"}.get(family, family)
    else:
        name = {"gcc": "gcc", "clang": "clang-19"}.get(family, family)
    return name and shutil.which(name)


def other_build():
    """("clang-14", ["-O0"]) where TRACELIFT_E2E_BUILD asks for programs built by that compiler at that level instead of how
    their tests would have them (levels_test.py). What is accelerated then is not asked, only that all bytes agree."""
    family, *level = os.environ.get("TRACELIFT_E2E_BUILD", "").split() or [None]
    return family, level


def build(source, flags=("-O2",), family="gcc", libraries=("-lm", "-lpthread")):
    """Compiles one source file as a user would, with none of this project's flags; built once per content."""
    source = pathlib.Path(source)
    if not source.is_absolute():
        source = PROGRAMS / source
    other_family, level = other_build()
    if other_family and source.suffix not in FORTRAN_SUFFIXES:
        family, flags = other_family, [*level, *(flag for flag in flags if not flag.startswith("-O"))]
    compiler = compiler_for(source, family)
    if not compiler:
        raise unittest.SkipTest(f"no {family} compiler for {source.name}")
    command = [compiler, *flags, str(source)]
    headers = b"".join(path.read_bytes() for path in sorted(source.parent.glob("*.h")))
    key = hashlib.sha256("\0".join(command + list(libraries)).encode() + source.read_bytes() + headers).hexdigest()[:16]
    # The name stays the source's: programs may print argv[0].
    folder = cache_dir() / key
    target = folder / source.stem
    if not target.exists():
        folder.mkdir(exist_ok=True)
        temporary = folder / f"{source.stem}.{os.getpid()}"
        done = subprocess.run([*command, "-o", str(temporary), *libraries], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr}")
        os.replace(temporary, target)
    return str(target)


@dataclasses.dataclass
class Outcome:
    """What one run of a program did, as far as its user can see, and the report when there is one."""
    mode: str
    command: list
    status: int                 # as subprocess: negative is the signal that ended it
    stdout: bytes
    stderr: bytes
    files: dict                 # relative path -> (kind and permissions, digest of the contents)
    seconds: float
    report: dict | None = None
    timed_out: bool = False

    def status_text(self):
        if self.timed_out:
            return "timed out"
        if self.status < 0:
            return f"ended by {signal.Signals(-self.status).name}"
        return f"exit status {self.status}"


@dataclasses.dataclass(frozen=True)
class Expect:
    """What the report must prove. Everything given must hold. Looked at are regions whose symbol starts with `symbol`
    and that have at least `min_share` of the samples."""
    symbol: str = ""
    min_share: float = 0.0
    accelerated: bool = False        # some region ran elsewhere and was compared with the original
    at_home: bool = False            # no region ran elsewhere
    reasons: frozenset = frozenset() # some region was rejected, put back or declined for one of these
    min_executions: int = 1
    min_passes: int = 0

    def problem(self, report, mode):
        """None, or why the report does not prove it."""
        if report is None:
            return "there is no report" if (self.accelerated or self.reasons) else None
        regions = [r for r in report["regions"] if r["symbol"].startswith(self.symbol) and r["sample_share"] >= self.min_share]
        ran = [r for r in regions if r["executions"] > 0]
        if mode == PROFILE:
            return f"profile-only ran a variant: {line_of(ran[0])}" if ran else None
        if self.at_home and ran:
            return f"a region ran elsewhere that must stay home: {line_of(ran[0])}"
        if self.accelerated:
            proven = [r for r in ran if r["executions"] >= self.min_executions and r["passes"] >= self.min_passes
                      and r["verified"] > 0]
            if not proven:
                return ("no region was accelerated" + (f" in {self.symbol}" if self.symbol else "") +
                        f" (at least {self.min_executions} executions, {self.min_passes} passes, verified); "
                        f"found: {table_of(report)}")
        if self.reasons:
            seen = {r["reason"] for r in regions} | {name for r in regions for name, _ in r["decline_reasons"]}
            if not seen & self.reasons:
                return f"no region stayed home for one of {sorted(self.reasons)}; found: {table_of(report)}"
        return None


def defect(report):
    """None, or what no report may ever say."""
    if report is None:
        return None
    if report["state"].startswith("off"):
        return f"tracelift turned itself off: {report['state']}; notes: {report['notes']}"
    for region in report["regions"]:
        if region["reason"] == "VerificationMismatch":
            return f"a variant computed other bytes than the original: {line_of(region)}"
    return None


def line_of(region):
    declines = ",".join(f"{name}:{count}" for name, count in region["decline_reasons"])
    return (f"{region['symbol'] or pathlib.Path(region['module']).name}@{region['offset']:#x} {region['state']} "
            f"samples={region['samples']} executions={region['executions']} declines={region['declines']}({declines}) "
            f"passes={region['passes']} verified={region['verified']} {region['reason']} {region['reason_text']}").strip()


def table_of(report):
    lines = [line_of(r) for r in report["regions"]]
    return (f"state {report['state']!r}, {report['samples']} samples, "
            f"{report['cpu_ms']:.0f} ms CPU\n    " + "\n    ".join(lines or ["no regions"]))


def snapshot(folder):
    files = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            files[name] = ("link", os.readlink(path))
        elif stat.S_ISREG(mode):
            files[name] = (f"file {stat.S_IMODE(mode):o}", hashlib.sha256(path.read_bytes()).hexdigest())
        else:
            files[name] = (f"other {mode:o}", "")
    return files


def stacks_of(pid):
    """Where a hanging process is, as far as this machine lets us see."""
    if not shutil.which("gdb"):
        return "(no gdb to show where it hangs)"
    try:
        done = subprocess.run(["gdb", "-batch", "-nx", "-p", str(pid), "-ex", "thread apply all bt 12"],
                              capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "(gdb hangs, too)"
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith(("Thread", "#")))


def environment(mode, report, extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TRACELIFT_") and k != "LD_PRELOAD"}
    added = {}
    if mode != NATIVE:
        # Hot after 5 ms of CPU time instead of 50: test programs are short.
        # No cache: what a test shows must not depend on earlier ones.
        added = {"TRACELIFT_HOT_MS": "5", "TRACELIFT_REPORT": str(report), "TRACELIFT_CACHE": "off"}
        # For looking closer at a failing case; never set by the tests themselves.
        for name in ("TRACELIFT_LOG", "TRACELIFT_THREADS", "TRACELIFT_DEVICES"):
            if name in os.environ:
                added[name] = os.environ[name]
    if mode == PRELOAD:
        added["LD_PRELOAD"] = str(preload_library())
    added.update(extra or {})
    env.update(added)
    return env, added


def command_for(mode, command):
    options = {RUN: [], VERIFY: ["--verify=always"], PROFILE: ["--profile-only"]}
    if mode in options:
        return [str(tracelift_binary()), "run", *options[mode], "--", *command]
    return list(command)


class Case:
    """One command with its directory; `execute` may be called once per mode."""

    def __init__(self, command, name="case", env=None, stdin=b"", prepare=None, timeout=120):
        self.command = [str(word) for word in command]
        self.env = env
        self.stdin = stdin
        self.prepare = prepare
        self.timeout = timeout
        self.base = pathlib.Path(tempfile.mkdtemp(prefix=f"tracelift-{name}-"))
        self.work = self.base / "work"

    def start(self, mode):
        """Starts the program; its report will be at `report_path(mode)`."""
        self.work.mkdir()
        if self.prepare:
            self.prepare(self.work)
        env, added = environment(mode, self.report_path(mode), self.env)
        command = command_for(mode, self.command)
        self._write_repro(mode, command, added)
        self._stdout = open(self.base / f"{mode}.stdout", "wb")
        self._stderr = open(self.base / f"{mode}.stderr", "wb")
        (self.base / "stdin").write_bytes(self.stdin)
        with open(self.base / "stdin", "rb") as stdin:
            self._started = time.monotonic()
            return subprocess.Popen(command, cwd=self.work, env=env, stdin=stdin, stdout=self._stdout,
                                    stderr=self._stderr, start_new_session=True)

    def finish(self, mode, process):
        timed_out = threading.Event()

        def give_up():
            timed_out.set()
            (self.base / f"{mode}.stacks").write_text(stacks_of(process.pid))
            os.killpg(process.pid, signal.SIGKILL)

        # Not wait(timeout): that polls, and would round the seconds up.
        timer = threading.Timer(self.timeout, give_up)
        timer.start()
        status = process.wait()
        timer.cancel()
        seconds = time.monotonic() - self._started
        self._stdout.close()
        self._stderr.close()
        files = snapshot(self.work)
        kept = self.base / mode
        shutil.rmtree(kept, ignore_errors=True)
        self.work.rename(kept)
        report = None
        if mode != NATIVE:
            try:
                report = json.loads(self.report_path(mode).read_text())
            except (OSError, ValueError):
                report = None
        return Outcome(mode, self.command, status, (self.base / f"{mode}.stdout").read_bytes(),
                       (self.base / f"{mode}.stderr").read_bytes(), files, seconds, report, timed_out.is_set())

    def execute(self, mode):
        return self.finish(mode, self.start(mode))

    def report_path(self, mode):
        return self.base / f"{mode}.json"

    def _write_repro(self, mode, command, added):
        words = [f"{k}={shlex.quote(v)}" for k, v in added.items()]
        path = self.base / f"{mode}-repro.sh"
        setup = "" if not self.prepare else f"cp -r {self.base}/{mode}/. . 2>/dev/null # files as left by the run\n"
        path.write_text(f"#!/bin/sh\nmkdir -p {self.work} && cd {self.work}\n{setup}"
                        f"exec env {' '.join(words)} {shlex.join(command)} < {self.base}/stdin\n")
        path.chmod(0o755)

    def discard(self):
        shutil.rmtree(self.base, ignore_errors=True)


def difference(native, traced, compare_stderr=True):
    """What a user would notice between the two outcomes, or None."""
    if traced.timed_out:
        return "it hangs"
    if native.status != traced.status:
        tail = traced.stderr[-400:].decode(errors="replace")
        return f"{native.status_text()} natively, {traced.status_text()} in mode {traced.mode}\n    stderr: {tail}"
    streams = [("stdout", native.stdout, traced.stdout)]
    if compare_stderr:
        streams.append(("stderr", native.stderr, traced.stderr))
    for stream, expected, found in streams:
        if expected != found:
            at = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
            show = slice(max(0, at - 30), at + 50)
            return (f"{stream} differs at byte {at} ({len(expected)} and {len(found)} bytes): "
                    f"natively {expected[show]!r}, in mode {traced.mode} {found[show]!r}")
    if native.files != traced.files:
        names = sorted(set(native.files.items()) ^ set(traced.files.items()))
        return f"files differ: {sorted({name for name, _ in names})[:5]}"
    return None


class TraceTest(unittest.TestCase):
    """The assertions that scripts are written in."""

    maxDiff = None

    def setUp(self):
        if not tracelift_binary().exists():
            self.fail(f"{tracelift_binary()} is missing; build it, or set TRACELIFT_BUILD")

    def same(self, command, expect=None, modes=(RUN,), env=None, stdin=b"", prepare=None, timeout=120,
             compare_stderr=True, name=None):
        """Runs natively and in each mode; all must agree, and each report must prove `expect`. Returns the outcomes."""
        case = Case(command, name or self._testMethodName, env, stdin, prepare, timeout)
        native = case.execute(NATIVE)
        if native.timed_out:
            raise self._failure(case, NATIVE, "it hangs natively; the test is wrong")
        outcomes = {NATIVE: native}
        for mode in modes:
            traced = case.execute(mode)
            outcomes[mode] = traced
            if problem := difference(native, traced, compare_stderr):
                raise self._failure(case, mode, problem)
            if problem := defect(traced.report):
                raise self._failure(case, mode, problem)
            if expect and not other_build()[0] and (problem := expect.problem(traced.report, mode)):
                raise self._failure(case, mode, problem, NotProven)
        case.discard()
        return outcomes

    def same_when_accelerated(self, command_of, expect, scales=(1, 2, 4, 8, 32), **options):
        """As `same`, with more work each time until the report proves `expect`: how long it takes until a loop has
        been found and compiled is the machine's business, that all bytes agree is checked at every size."""
        for scale in scales[:-1]:
            try:
                return self.same(command_of(scale), expect, **options)
            except NotProven as failure:
                failure.case.discard()
        return self.same(command_of(scales[-1]), expect, **options)

    def _failure(self, case, mode, problem, kind=None):
        kept = case.base
        failure = (kind or self.failureException)(
            f"{shlex.join(case.command)} in mode {mode}: {problem}\n  kept: {kept}\n"
            f"  reproduce: {kept}/{mode}-repro.sh\n  natively:  {kept}/{NATIVE}-repro.sh")
        failure.case = case
        return failure


class NotProven(AssertionError):
    """The bytes agree, but the report does not show what the test is about."""


def main():
    unittest.main(verbosity=2 if os.environ.get("CI") or "-v" in sys.argv else 1)

