#!/usr/bin/env python3
"""Where the compile time goes: the reports of all samples (short runs), per accelerated or rejected region. Then a second
run with the cache of the first: what is left to compile, and what looking it up takes."""
import argparse
import json
import pathlib
import tempfile

import measure
from measure import harness

import samples

STEPS = ("lift_ms", "analyse_ms", "optimise_ms", "emit_ms")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sample", nargs="*")
    options = parser.parse_args()
    chosen = [samples.by_name(name) for name in options.sample] or samples.SAMPLES
    rows = []
    print(f"{'sample':16} {'load':>7} " + " ".join(f"{s[:-3]:>9}" for s in STEPS) + f" {'all':>9}  regions     warm   lookup")
    with tempfile.TemporaryDirectory() as folder:
        for sample in chosen:
            program = harness.build(sample.source, ("-O2",))
            report = pathlib.Path(folder) / f"{sample.name}.json"
            cache = pathlib.Path(folder) / "cache" / sample.name

            def run():
                report.unlink(missing_ok=True)
                measure.run(measure.traced([program, *sample.arguments], report, cache), env={"TRACELIFT_HOT_MS": "5"})
                return json.loads(report.read_text()) if report.exists() else None

            data, warm = run(), run()
            if not data or not warm:
                print(f"{sample.name:16} no report")
                continue
            fetch_ms = sum(region["fetch_ms"] for region in warm["regions"])
            steps = {step: round(sum(region[step] for region in data["regions"]), 2) for step in STEPS}
            rows.append({"sample": sample.name, "load_ms": round(data["load_ms"], 2)} | steps |
                        {"compile_ms": round(data["compile_ms"], 2), "regions": len(data["regions"]),
                         "warm_compile_ms": round(warm["compile_ms"], 2), "warm_fetch_ms": round(fetch_ms, 2)})
            print(f"{sample.name:16} {data['load_ms']:7.1f} " + " ".join(f"{steps[s]:9.1f}" for s in STEPS) +
                  f" {data['compile_ms']:9.1f}  {len(data['regions']):7} {warm['compile_ms']:8.1f} {fetch_ms:8.2f}", flush=True)
    totals = {step: round(sum(row[step] for row in rows), 2) for step in STEPS}
    whole = sum(totals.values()) or 1
    print("share:", ", ".join(f"{step[:-3]} {100 * ms / whole:.0f} %" for step, ms in totals.items()))
    measure.save("compile_time", {"rows": rows, "totals_ms": totals})


if __name__ == "__main__":
    main()
