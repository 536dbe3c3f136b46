"""How all benchmarks here measure: whole processes, native and traced in turn, so that a slow minute of the machine
hits both alike; medians and spreads; one JSON file per benchmark with the machine and the commit."""
import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
sys.dont_write_bytecode = True

import harness  # noqa: E402  (found through the path above)


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def summary(seconds):
    return {"median_s": round(median(seconds), 4), "least_s": round(min(seconds), 4), "most_s": round(max(seconds), 4),
            "all_s": [round(s, 4) for s in seconds]}


def machine():
    model = "unknown"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "load_before": os.getloadavg()[0]}


def commit():
    try:
        done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def run(command, env=None, cwd=None):
    """(seconds of wall time, standard output, exit status); the caller compares what must be the same."""
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env=os.environ | (env or {}), cwd=cwd)
    return time.perf_counter() - start, done.stdout, done.returncode


@dataclasses.dataclass(frozen=True)
class Run:
    seconds: float
    stdout: bytes
    status: int       # negative: the signal that ended it
    killed: bool      # it took longer than it was given
    peak_mib: float   # largest resident memory; not below that of this interpreter, from which the process was forked


def run_with_limit(command, limit_s):
    """As `run`, with the memory it took; killed after `limit_s` seconds."""
    killed = threading.Event()

    def kill():
        killed.set()
        process.kill()

    timer = threading.Timer(limit_s, kill)
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    timer.start()
    with process.stdout as stdout:
        out = stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(seconds, out, process.returncode, killed.is_set(), round(usage.ru_maxrss / 1024, 1))


def traced(command, report=None, cache="off"):
    """Without a cache unless one is named: else a repetition would not do the work of a first run."""
    return [harness.tracelift_binary(), "run", "--cache", cache, *(["--report", report] if report else []), "--", *command]


def interleaved(native, other, repetitions, env=None, cwd=None):
    """Both commands in turn, `repetitions` times; which one goes first alternates. Outputs must agree."""
    native_s, other_s = [], []
    for i in range(repetitions):
        pair = [(native, native_s), (other, other_s)]
        outputs = {}
        for command, seconds in pair if i % 2 == 0 else reversed(pair):
            spent, out, status = run(command, env, cwd)
            seconds.append(spent)
            outputs[id(seconds)] = (out, status)
        if outputs[id(native_s)] != outputs[id(other_s)]:
            raise SystemExit(f"outputs differ: {' '.join(map(str, other))}")
    return native_s, other_s


def save(name, result, path=None):
    path = pathlib.Path(path or RESULTS / f"{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    everything = {"benchmark": name, "command": " ".join(sys.argv), "commit": commit(),
                  "date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine()} | result
    path.write_text(json.dumps(everything, indent=1) + "\n")
    print(f"written: {os.path.relpath(path)}")
