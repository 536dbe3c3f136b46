#!/usr/bin/env bash
# Installs, builds, and runs a plain gcc -O2 matrix product with and without tracelift: two times, same output, report.
set -euo pipefail
cd "$(dirname "$0")/.."
./bootstrap.sh
bin=build/release/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

program="$bin/samples/matmul"
echo "The program: $program, built by: gcc -O2 samples/unmodified/matmul.c"
seconds() { python3 -c 'import subprocess,sys,time
start=time.monotonic(); code=subprocess.call(sys.argv[2:], stdout=open(sys.argv[1],"wb")); print(f"{time.monotonic()-start:.2f}"); sys.exit(code)' "$@"; }

native=$(seconds "$work/native.out" "$program")
traced=$(seconds "$work/traced.out" "$bin/tracelift" run --report "$work/report.json" -- "$program")
echo "native:          $native s"
echo "under tracelift: $traced s"
cmp "$work/native.out" "$work/traced.out" && echo "same output"
echo
"$bin/tracelift" report "$work/report.json"
