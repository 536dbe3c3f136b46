#!/usr/bin/env python3
"""All samples at their default sizes (1 to 4 s), gcc -O2: natively and under `tracelift run`.

The other baseline is what a recompilation would have given: gcc -O3 -march=native -fopenmp is not possible without
touching the program, gcc -O3 -march=native is; --best measures it, too.

  samples_speed.py [--repetitions N] [--best] [SAMPLE...]
"""
import argparse
import json
import pathlib
import tempfile

import measure
from measure import harness

import samples


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("sample", nargs="*")
    options = parser.parse_args()
    chosen = [samples.by_name(name) for name in options.sample] or samples.SAMPLES
    rows = []
    print(f"{'sample':16} {'native':>8} {'traced':>8} {'speedup':>8}   {'O3 native':>9}  what happened")
    with tempfile.TemporaryDirectory() as folder:
        for sample in chosen:
            program = harness.build(sample.source, ("-O2",))
            report = pathlib.Path(folder) / f"{sample.name}.json"
            native, traced = measure.interleaved([program], measure.traced([program], report), options.repetitions)
            row = {"sample": sample.name, "parallel": sample.parallel, "native": measure.summary(native),
                   "traced": measure.summary(traced),
                   "speedup": round(measure.median(native) / measure.median(traced), 3)}
            best = ""
            if options.best:
                fast = harness.build(sample.source, ("-O3", "-march=native"))
                seconds = [measure.run([fast])[0] for _ in range(options.repetitions)]
                row["gcc_O3_march_native"] = measure.summary(seconds)
                best = f"{measure.median(seconds):.2f}s"
            if report.exists():
                data = json.loads(report.read_text())
                row["compile_ms"] = round(data["compile_ms"], 1)
                row["regions"] = [harness.line_of(region) for region in data["regions"]]
            rows.append(row)
            what = row.get("regions") or ["no report"]
            print(f"{sample.name:16} {measure.median(native):7.2f}s {measure.median(traced):7.2f}s {row['speedup']:7.2f}x   "
                  f"{best:>9}  {what[0][:90]}", flush=True)
    measure.save("samples_speed", {"repetitions": options.repetitions, "rows": rows})


if __name__ == "__main__":
    main()
