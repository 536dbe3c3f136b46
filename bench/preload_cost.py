#!/usr/bin/env python3
"""What the preload library costs a process that does nothing: /bin/true, thousands of times.

Three ways in turn: without any preload, with an empty library (what any LD_PRELOAD costs), with libtracelift.so. Wall time
from the start of the process until it has been waited for."""
import argparse
import os
import pathlib
import subprocess
import tempfile
import time

import measure
from measure import harness


def start_us(environment):
    begin = time.perf_counter()
    pid = os.posix_spawn("/bin/true", ["/bin/true"], environment)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise SystemExit(f"/bin/true ended with {status} under {environment}")
    return (time.perf_counter() - begin) * 1e6


def spread(values):
    ordered = sorted(values)
    return {"median_us": round(measure.median(ordered), 1), "p10_us": round(ordered[len(ordered) // 10], 1),
            "p90_us": round(ordered[len(ordered) * 9 // 10], 1), "starts": len(ordered)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        empty = pathlib.Path(folder) / "empty.so"
        subprocess.run(["gcc", "-shared", "-o", empty, "-x", "c", "/dev/null"], check=True)
        base = {"PATH": "/bin:/usr/bin"}
        ways = {"none": base, "empty library": base | {"LD_PRELOAD": str(empty)},
                "tracelift": base | {"LD_PRELOAD": str(harness.preload_library())}}
        times = {name: [] for name in ways}
        for _ in range(options.starts):
            for name, environment in ways.items():
                times[name].append(start_us(environment))
    added = measure.median(times["tracelift"]) - measure.median(times["none"])
    print(", ".join(f"{name} {measure.median(values):.0f} us" for name, values in times.items()) + f": added {added:.0f} us")
    measure.save("preload_cost", {name: spread(values) for name, values in times.items()} | {"added_us": round(added, 1)})


if __name__ == "__main__":
    main()
