#!/bin/sh
# The first minutes on a machine with an NVIDIA GPU, in a built tree: what is there, do loops run on it, are all bytes right, how fast.
# Usage: bench/gpu_first_look.sh [FOLDER for PTX and reports]
cd "$(dirname "$0")/.." || exit
build=${TRACELIFT_BUILD:-build/release}
folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv
"$build/bin/tracelift" doctor
gcc -O2 bench/programs/matmul.c -o "$folder/matmul" -lm
time "$folder/matmul"
time "$build/bin/tracelift" run --cache off --devices gpu --kernels "$folder" --summary --report "$folder/matmul.json" -- "$folder/matmul"
TRACELIFT_DEVICES=gpu python3 tests/e2e/random_loops.py --programs 4
python3 bench/gpu_speed.py --quick --regions --minutes 4 --out "$folder/gpu_speed.json"
echo "kept: $folder"
