#!/usr/bin/env python3
"""octave-cli with the reference BLAS multiplies two 2000 x 2000 matrices: whole processes, natively and traced in turn.

  octave_blas.py [--n N] [--repetitions N]
"""
import argparse
import json
import pathlib
import tempfile

import measure
from measure import harness

import octave_blas_case


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    if reason := octave_blas_case.missing():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        product = pathlib.Path(folder) / "product.bin"
        command = octave_blas_case.command(options.n)
        native, traced, files = [], [], set()
        for i in range(options.repetitions):
            for seconds, line in ((native, command), (traced, measure.traced(command, report))):
                seconds.append(measure.run(line, octave_blas_case.ENVIRONMENT, folder)[0])
                files.add(product.read_bytes())
                product.unlink()
        if len(files) != 1:
            raise SystemExit("the saved files differ")
        data = json.loads(report.read_text())
    ratio = measure.median(native) / measure.median(traced)
    print(f"n = {options.n}: native {measure.median(native):.2f} s, traced {measure.median(traced):.2f} s, {ratio:.2f}x; same file")
    for region in data["regions"]:
        print("  " + harness.line_of(region))
    measure.save("octave_blas", {"n": options.n, "native": measure.summary(native), "traced": measure.summary(traced),
                                 "speedup": round(ratio, 3), "regions": [harness.line_of(r) for r in data["regions"]]})


if __name__ == "__main__":
    main()
