#!/usr/bin/env python3
"""Programs worth a GPU: natively, under tracelift on the cores, on the GPU and on both, in CUDA by hand, and by cuBLAS; all
outputs are compared.

  gpu_speed.py [--quick] [--only CASE|KIND...] [--repetitions N] [--once-above SECONDS] [--native-limit SECONDS]
               [--minutes N] [--all-bytes] [--regions] [--commit TEXT] [--out FILE]
               [--device gpu|reference] [--size full|quick|tiny]

In parts of less than 9 minutes each:
  gpu_speed.py --minutes 9 --only matmul_2048 matmul_4096 matmul_rows_4096 syrk
  gpu_speed.py --minutes 9 --only nbody mandelbrot black_scholes convolution2d
  gpu_speed.py --minutes 9 --only stencil stream

All times are of whole processes without any cache: sampling, compiling, the driver's start, its own compiling, and
transfers count. The variants take turns, and a different one starts each time; what takes longer than --once-above is not
repeated. A program that has a twin is natively not waited for beyond --native-limit: the twin says what must be printed.
The CUDA versions keep the order of float operations and are compiled without fused ones, so they print the same bytes;
those with other functions or sums tell how far apart their results are.

Reports tell a pass's time with its transfers, not a kernel's alone. So what a round of a repeated loop costs is the slope
between two runs with few and with many rounds, of tracelift and of CUDA alike; bandwidth is the bytes that a round must
read and write over that, as a share of what a copy on the device reads and writes.

After --minutes no run is begun or waited for; what is left is named. Cases are merged into bench/results/gpu_speed.json,
those of first looks and of the reference device only where --out says. Without a GPU it says so, and that is no failure;
`--device reference` has the CPU in its place, for tests of this script: the CUDA programs then run on gpu/cuda_on_cpu.h,
where the size is tiny.
"""
import argparse
import dataclasses
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import gpu_builds
import gpu_cases
import gpu_table
import measure
from gpu_builds import Absent
from gpu_cases import FULL, QUICK, TINY
from gpu_table import BOTH, CPU, CUDA, DEVICE, NATIVE, TRACED, VENDOR
from measure import harness

HOTTEST = 6              # regions kept of each report
FARTHEST = 1e-9          # results of other functions or sums from the program's own, relative
LEAST_SLOPE_S = {FULL: 1.5, QUICK: 0.4, TINY: 0.0}  # that more rounds must take longer, to be told from noise
MOST_ROUNDS = 256        # times as many
ROUNDS_LIMIT_S = 60      # for a run with more rounds
REFERENCE = "reference"
NO_REPORT = {"regions": [], "compile_ms": 0, "state": "no report", "notes": []}


class OutOfTime(Exception):
    """Nothing is wrong, but this case must wait for another run of this script."""


class Unmeasured(Exception):
    """Why this case has no row."""


@dataclasses.dataclass
class Lab:
    """What this machine has, and how long it may take."""
    device: dict
    size: str
    repetitions: int
    once_above_s: float
    native_limit_s: float
    deadline: float
    all_bytes: bool
    commit: str
    device_copy: dict = None

    @property
    def is_reference(self):
        return self.device["name"] == REFERENCE

    def left_s(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise OutOfTime
        return left

    def cuda(self, file):
        if self.is_reference:
            if self.size != TINY:
                raise Absent("not run on the CPU at this size")
            if "cublas" in file:
                raise Absent("there is no cuBLAS for the CPU")
            return gpu_builds.build_cuda_on_cpu(file)
        return gpu_builds.build_cuda(file, self.device["architecture"])

    def traced(self, name, report, command):
        devices = {CPU: "cpu", DEVICE: "gpu", BOTH: "cpu,gpu"}[name]
        if self.is_reference:
            devices = devices.replace("gpu", REFERENCE)
        return [harness.tracelift_binary(), "run", "--cache", "off", "--devices", devices, "--report", report, "--", *command]


class Variant:
    """The runs of one variant of one case at its size."""

    def __init__(self, build):
        self.binary, self.absent, self.failure = None, "", ""
        self.at_least_s = None
        self.seconds, self.peak_mib = [], 0.0
        self.report = self.parts = None
        try:
            self.binary = build()
        except Absent as nothing:
            self.absent = str(nothing)
        except RuntimeError as failure:
            self.failure = str(failure)

    @property
    def can_run(self):
        return bool(self.binary) and not self.failure

    def row(self, may_use_device):
        if self.absent:
            return {"absent": self.absent}
        if self.at_least_s:
            return {"at_least_s": round(self.at_least_s, 1)}
        row = measure.summary(self.seconds) | {"peak_mib": self.peak_mib} if self.seconds else {}
        if self.failure:
            row["failure"] = self.failure
        if self.parts:
            row["parts_ms"] = {part[:-3]: ms for part, ms in self.parts.items() if part.endswith("_ms")}
            row |= {"apart": self.parts["apart"]} if "apart" in self.parts else {}
        if self.report or may_use_device:
            row |= told(self.report or NO_REPORT, may_use_device)
        return row


def told(report, may_use_device):
    """Of a traced run's report, what says why it took so long."""
    regions = report["regions"]
    found = {"compile_ms": round(report["compile_ms"], 1), "state": report["state"], "report_notes": report["notes"],
             "regions": [line_of(region) for region in regions[:HOTTEST]]}
    if may_use_device:
        found["on_device"] = any(ran_on_device(region) for region in regions)
    after = [region["heat_to_run_ms"] for region in regions if region["heat_to_run_ms"] > 0]
    return found | ({"heat_to_run_ms": round(min(after), 1)} if after else {})


def ran_on_device(region):
    return region["executions"] > 0 and region["place"] != "home" and not region["place"].startswith("cpu")


def line_of(region):
    line = f"{region['place']}: {harness.line_of(region)}"
    if region["executions"] == 0:
        return line
    passes = [region[which]["median_ns"] / 1e6 for which in ("variant", "native")]
    return f"{line} {passes[0]:.3g} ms a pass, natively {passes[1]:.3g}"


def wrong_ending(run):
    if run.killed:
        return f"killed after {run.seconds:.0f} s"
    return f"exit status {run.status}" if run.status != 0 else ""


class Comparison:
    """One case in all its variants."""

    def __init__(self, case, lab, folder):
        self.case, self.lab = case, lab
        self.report, self.times, self.file = folder / "report.json", folder / "times.json", folder / "all.bin"
        self.arguments = case.arguments(lab.size)
        native = Variant(lambda: gpu_builds.build_c(case.source))
        if not native.binary:
            raise Unmeasured(native.failure)
        self.variants = {NATIVE: native} | {name: Variant(lambda: native.binary) for name in TRACED}
        self.variants[CUDA] = Variant(lambda: lab.cuda(case.cuda))
        if case.vendor:
            self.variants[VENDOR] = Variant(lambda: lab.cuda(case.vendor))
        self.printed = {}   # by arguments
        self.notes = []
        self.rounds = {}

    def execute(self, name, arguments, limit_s):
        """The run, having noted what was told of it; only what it printed is not looked at."""
        self.report.unlink(missing_ok=True)
        self.times.unlink(missing_ok=True)
        variant = self.variants[name]
        command = [variant.binary, *arguments]
        if name in TRACED:
            command = self.lab.traced(name, self.report, command)
        variables = [f"GPU_SPEED_TIMES={self.times}", "CUDA_CACHE_DISABLE=1"]
        if self.lab.size == TINY:
            variables.append("TRACELIFT_HOT_MS=5")
        left_s = self.lab.left_s()
        run = measure.run_with_limit(["env", *variables, *command], min(limit_s, left_s))
        if run.killed and run.seconds >= left_s - 1:
            raise OutOfTime
        return run

    def take_printed(self, name, run, arguments):
        """Compares what was printed, unless the variant's sums are others. Sets its failure."""
        variant = self.variants[name]
        if ending := wrong_ending(run):
            variant.failure = ending
        elif self.must_agree(name) and run.stdout != self.printed.setdefault(arguments, run.stdout):
            variant.failure = "other output"
        elif self.times.exists():
            parts = json.loads(self.times.read_text())
            if not parts.get("apart", 0) <= FARTHEST:
                variant.failure = f"results are {parts['apart']:.1g} apart"
            return parts
        elif self.report.exists():
            report = json.loads(self.report.read_text())
            variant.failure = harness.defect(report) or ""
            return report
        return None

    def must_agree(self, name):
        return name != VENDOR and (name != CUDA or self.case.same_bytes)

    def take(self, name):
        variant = self.variants[name]
        run = self.execute(name, self.arguments, self.limit_s)
        variant.seconds.append(run.seconds)
        variant.peak_mib = max(variant.peak_mib, run.peak_mib)
        found = self.take_printed(name, run, self.arguments)
        if found and name in TRACED:
            variant.report = found
        elif found:
            variant.parts = found

    def run_natively(self):
        """Once, to see what must be printed and how long is too long."""
        native = self.variants[NATIVE]
        run = self.execute(NATIVE, self.arguments, self.lab.native_limit_s if self.case.twin else self.lab.left_s())
        if run.killed:
            native.at_least_s = run.seconds
            native.binary = None
            twin = gpu_builds.build_c(self.case.twin, "-fopenmp")
            self.notes.append(f"natively not waited for longer than {run.seconds:.0f} s; {self.case.twin} on all cores "
                              "says what must be printed")
            left_s = self.lab.left_s()
            run = measure.run_with_limit([twin, *self.arguments], left_s)
            if run.killed:
                raise OutOfTime
        if ending := wrong_ending(run):
            raise Unmeasured(f"natively {ending}")
        self.printed[self.arguments] = run.stdout
        if native.binary:
            native.seconds.append(run.seconds)
            native.peak_mib = run.peak_mib
        self.limit_s = 20 + (20 if self.lab.is_reference else 3) * (native.at_least_s or run.seconds)

    def run(self):
        self.run_natively()
        names = list(self.variants)
        for i in range(self.lab.repetitions):
            start = i % len(names)
            for name in names[start:] + names[:start]:
                variant = self.variants[name]
                long = variant.seconds and max(variant.seconds) > self.lab.once_above_s
                if variant.can_run and not long and len(variant.seconds) <= i:
                    self.take(name)
        if self.case.rounds_at is not None:
            for name in (CUDA, DEVICE):
                if self.variants[name].can_run:
                    self.measure_rounds(name)
        if self.lab.all_bytes and self.case.all_bytes:
            self.compare_all_bytes()

    def measure_rounds(self, name):
        """The slope between few and many rounds."""
        case, variant = self.case, self.variants[name]
        few = many = self.arguments[case.rounds_at]
        few_s, long_s = measure.median(variant.seconds), []
        while not long_s and many < MOST_ROUNDS * few:
            many *= 4
            spent = self.run_rounds(name, many)
            if spent is None:
                return
            if spent - few_s >= LEAST_SLOPE_S[self.lab.size]:
                long_s.append(spent)
        while 0 < len(long_s) < self.lab.repetitions and long_s[0] <= self.lab.once_above_s:
            spent = self.run_rounds(name, many)
            if spent is None:
                return
            long_s.append(spent)
        per_round_s = (measure.median(long_s) - few_s) / (many - few) if long_s else 0
        if per_round_s <= 0:
            self.notes.append(f"{name}: what a round takes cannot be told from noise")
            return
        speed = case.round_bytes(self.arguments) / per_round_s / 1e9
        row = {"few": few, "few_s": round(few_s, 4), "many": many, "many_s": [round(s, 4) for s in long_s],
               "round_ms": round(per_round_s * 1e3, 4), "GBs": round(speed, 1)}
        if copy := (self.lab.device_copy or {}).get("device_copy_GBs"):
            row["share_of_device_copy"] = round(speed / copy, 3)
        if name == CUDA:
            row["events_round_ms"] = round(variant.parts["kernels_ms"] / few, 4)
        self.rounds[name] = row

    def run_rounds(self, name, rounds):
        """Seconds, or None where they say nothing. What the hand-written version prints is what the others must."""
        arguments = self.case.with_rounds(self.arguments, rounds)
        if name != CUDA and arguments not in self.printed and self.variants[CUDA].can_run and self.case.same_bytes:
            self.take_printed(CUDA, self.execute(CUDA, arguments, ROUNDS_LIMIT_S), arguments)
        if name != CUDA and arguments not in self.printed:
            self.notes.append(f"{name}: what it printed for {rounds} rounds was not compared")
        run = self.execute(name, arguments, ROUNDS_LIMIT_S)
        if run.killed:
            self.notes.append(f"{name}: not waited for longer than {ROUNDS_LIMIT_S} s, for {rounds} rounds")
            return None
        self.take_printed(name, run, arguments)
        return None if self.variants[name].failure else run.seconds

    def compare_all_bytes(self):
        """One more run of each, which writes all its results into a file."""
        digests = {}
        for name, variant in self.variants.items():
            if not variant.can_run or not self.must_agree(name):
                continue
            run = self.execute(name, (*self.arguments, self.file), self.lab.left_s())
            if run.killed or run.status != 0:
                variant.failure = f"exit status {run.status}, writing all bytes"
                continue
            with open(self.file, "rb") as stream:
                digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            self.file.unlink()
            if digests[name] != next(iter(digests.values())):
                variant.failure = "other bytes in the file"
        self.notes.append(f"all bytes compared of {', '.join(digests)}")

    def row(self):
        row = {"case": self.case.name, "kind": self.case.kind, "arguments": list(self.arguments), "size": self.lab.size,
               "target": self.case.target, "commit": self.lab.commit, "date": time.strftime("%Y-%m-%d", time.gmtime()),
               "repetitions": self.lab.repetitions, "notes": self.notes, "rounds": self.rounds,
               "variants": {name: variant.row(name in (DEVICE, BOTH)) for name, variant in self.variants.items()}}
        return row | {"verdicts": gpu_table.verdicts(row)}


def device_copy(lab):
    """What the device's memory and link can do, as bench/gpu/device_copy.cu says; with a reason where it says nothing."""
    mib = {FULL: 2048, QUICK: 1024, TINY: 4}[lab.size]
    try:
        done = subprocess.run([lab.cuda("device_copy.cu"), str(mib)], capture_output=True, text=True, timeout=lab.left_s())
    except (Absent, RuntimeError, subprocess.TimeoutExpired) as nothing:
        return {"absent": str(nothing)}
    return json.loads(done.stdout) if done.returncode == 0 else {"absent": done.stderr.strip()}


def merged(rows, path, device, size):
    """With those that were measured before of other cases, of the same device at the same size."""
    try:
        before = json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError):
        before = {}
    if before.get("device", {}).get("name") != device["name"] or before.get("size") != size:
        return rows
    found = {row["case"]: row for row in before["rows"]} | {row["case"]: row for row in rows}
    return [found[case.name] for case in gpu_cases.CASES if case.name in found]


def parsed(words):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a first look in two minutes: small sizes, run once")
    parser.add_argument("--only", nargs="*", default=[], metavar="CASE")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--once-above", type=float, default=12.0, metavar="SECONDS")
    parser.add_argument("--native-limit", type=float, default=100.0, metavar="SECONDS")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--all-bytes", action="store_true", 
                        help="compare all results, too, where a sample of them is printed")
    parser.add_argument("--regions", action="store_true", help="show what became of each program's hottest loops")
    parser.add_argument("--device", choices=("gpu", REFERENCE), default="gpu")
    parser.add_argument("--size", choices=(FULL, QUICK, TINY))
    parser.add_argument("--commit", help="of this source, where it is no checkout")
    parser.add_argument("--out")
    options = parser.parse_args(words)
    options.size = options.size or (QUICK if options.quick else TINY if options.device == REFERENCE else FULL)
    options.repetitions = options.repetitions or (3 if options.size == FULL else 1)
    return options


def measured(case, lab):
    """Its row."""
    with tempfile.TemporaryDirectory(prefix="tracelift-gpu-speed-") as folder:
        comparison = Comparison(case, lab, pathlib.Path(folder))
        comparison.run()
        return comparison.row()


def main():
    options = parsed(sys.argv[1:])
    if not harness.tracelift_binary().exists():
        raise SystemExit(f"{harness.tracelift_binary()} is missing; build it, or set TRACELIFT_BUILD")
    deadline = time.monotonic() + 60 * options.minutes
    try:
        device = {"name": REFERENCE} if options.device == REFERENCE else gpu_builds.device()
    except Absent as nothing:
        print(f"skipped: {nothing}; --device reference tries this script without one")
        return 0
    lab = Lab(device, options.size, options.repetitions, options.once_above, options.native_limit, deadline,
              options.all_bytes, options.commit or measure.commit())
    machine = measure.machine()
    lab.device_copy = device_copy(lab)
    print(f"{device['name']}, driver {device.get('driver', 'none')}; {machine['cpu']}, {machine['cores']} cores\n"
          f"what its memory and link can do: {json.dumps(lab.device_copy)}\n{gpu_table.head()}", flush=True)
    rows, left, wrong = [], [], []
    try:
        for case in gpu_cases.chosen(options.only, options.size):
            try:
                rows.append(measured(case, lab))
                print(gpu_table.line(rows[-1]), flush=True)
            except OutOfTime:
                left.append(case.name)
            except Unmeasured as why:
                print(f"{case.name}: {why}", flush=True)
                wrong.append(case.name)
    finally:
        keep(rows, lab, machine, options.out)
    print(gpu_table.foot(rows))
    if options.regions:
        print(gpu_table.regions(rows))
    if left:
        print(f"out of time, left for another run: --only {' '.join(left)}")
    wrong += [row["case"] for row in rows if any("failure" in found for found in row["variants"].values())]
    if wrong:
        print(f"failed on: {' '.join(wrong)}")
    return 1 if wrong else 0


def keep(rows, lab, machine, out):
    whole = lab.size == FULL and not lab.is_reference
    path = out or (measure.RESULTS / "gpu_speed.json" if whole else None)
    if rows and path:
        measure.save("gpu_speed", {"commit": lab.commit, "machine": machine, "device": lab.device,
                                   "device_copy": lab.device_copy, "size": lab.size, "meanings": gpu_table.MEANINGS,
                                   "rows": merged(rows, path, lab.device, lab.size)}, path)


if __name__ == "__main__":
    sys.exit(main())
