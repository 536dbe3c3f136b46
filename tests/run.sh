#!/usr/bin/env bash
# Installs, builds and runs all tests. Extra arguments go to ctest (e.g. -L unit, -R Footprint).
set -euo pipefail
cd "$(dirname "$0")/.."
./bootstrap.sh
exec ctest --preset release --no-tests=error -j "$(nproc)" "$@"
