#!/usr/bin/env python3
"""One hundred Debian programs under plain LD_PRELOAD: same stdout, stderr, exit status and files as without.

Runs the rows of `program_rows/`. Rows whose programs or packages are not installed are named and left out.

  hundred_programs.py [ROW...]         these rows, or all
    --group GROUP                      only this group (repeatable)
    --at-least N                       fail unless N rows agree: what is not installed must not pass for tested
    --install                          apt-get install what is missing first (as root)
    --jobs N                           rows at a time (1; more says nothing about seconds)
    --rounds N                         measure N times in turn, natively and traced; medians are shown
    --json FILE                        write the record: machine, versions of packages, a line for each row; of rows
                                       that are not run now, the lines that are there stay
    --list                             only print the rows
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import harness
import program_inputs
import program_rows
import program_run
from program_rows import installed_version
from program_run import ABSENT, SAME


def install(rows):
    missing = sorted({package for row in rows for package in row.packages if not installed_version(package)})
    if missing:
        print("installing", *missing, flush=True)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=environment, check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=environment,
                       check=True, stdout=subprocess.DEVNULL)
        installed_version.cache_clear()


def line_of(result):
    row = result.row
    if result.verdict == ABSENT:
        return f"{row.group:12} {row.name:14} {result.verdict:10} {result.problem}"
    loops = f"{len(result.accelerated)} loops: {', '.join(result.accelerated)[:60]}" if result.accelerated else ""
    mark = " slower?" if result.is_slower() else ""
    text = (f"{row.group:12} {row.name:14} {result.verdict:10} {result.native_s:7.2f} s {result.traced_s:7.2f} s "
            f"{result.processes:4} processes {result.opened:3} hot {result.samples:5} samples  {loops}{mark}")
    return text.rstrip() + (f"\n  {result.problem}" if result.problem else "")


def record_of(result):
    return {"program": result.row.name, "group": result.row.group, "verdict": result.verdict,
            "packages": {package: installed_version(package) for package in result.row.packages},
            "native_s": result.native_s, "traced_s": result.traced_s, "processes": result.processes,
            "hot_processes": result.opened, "samples": result.samples, "accelerated": result.accelerated,
            "time_saved_ms": result.time_saved_ms} | ({"problem": result.problem} if result.problem else {})


def write_record(path, results):
    """Lines of one row each, so that two records can be compared by eye."""
    path = pathlib.Path(path)
    programs = {program["program"]: program for program in json.loads(path.read_text())["programs"]} if path.exists() else {}
    programs |= {result.row.name: record_of(result) for result in results}
    programs = [programs[row.name] for row in program_rows.read_all() if row.name in programs]
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    commit = subprocess.run(["git", "-C", str(harness.ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    head = {"command": "tests/e2e/hundred_programs.py", "machine": f"{model}, {os.cpu_count()} cores", "kernel": platform.release(),
            "after_commit": commit.stdout.strip(), "verdicts": collections.Counter(program["verdict"] for program in programs),
            "with_hot_processes": sum(program["hot_processes"] > 0 for program in programs),
            "with_accelerated_loops": sum(bool(program["accelerated"]) for program in programs)}
    lines = [json.dumps(program) for program in programs]
    path.write_text(json.dumps(head, indent=1)[:-2] + ',\n "programs": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n")


def chosen_rows(arguments):
    rows = program_rows.read_all()
    unknown = set(arguments.rows) - {row.name for row in rows} | set(arguments.group) - {row.group for row in rows}
    if unknown:
        sys.exit(f"no such row or group: {' '.join(sorted(unknown))}; see --list")
    return [row for row in rows if (not arguments.rows or row.name in arguments.rows) and
            (not arguments.group or row.group in arguments.group)]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--group", action="append", default=[])
    parser.add_argument("--at-least", type=int, default=1)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    rows = chosen_rows(arguments)
    if arguments.list:
        for row in rows:
            print(f"{row.group:12} {row.name:14} {','.join(row.packages)}")
        return 0
    if not harness.preload_library().exists():
        sys.exit(f"{harness.preload_library()} is missing; build it, or set TRACELIFT_BUILD")
    if arguments.install:
        install(rows)
    results = []
    with tempfile.TemporaryDirectory(prefix="tracelift-inputs-") as folder:
        inputs = pathlib.Path(folder) / "inputs"
        program_inputs.make(inputs)
        program_run.probe()
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for result in pool.map(lambda row: program_run.run(row, inputs, arguments.rounds), rows):
                results.append(result)
                print(line_of(result), flush=True)
    if arguments.json:
        write_record(arguments.json, results)
    same = sum(result.verdict == SAME for result in results)
    absent = sum(result.verdict == ABSENT for result in results)
    print(f"{same} of {len(results)} programs agree, {len(results) - same - absent} do not, {absent} are not installed; "
          f"something was hot in {sum(r.opened > 0 for r in results)}, accelerated in {sum(bool(r.accelerated) for r in results)}")
    if same < arguments.at_least:
        print(f"at least {arguments.at_least} must agree")
    return 0 if same + absent == len(results) and same >= arguments.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
