#!/usr/bin/env bash
# Installs what is missing (Debian 12, as root or with sudo) and builds build/release. Called by samples/demo.sh and
# tests/run.sh. With --no-build it only installs.
set -euo pipefail
cd "$(dirname "$0")"

packages=(
  # to build
  g++ cmake ninja-build ccache lld-19 pkg-config python3 git
  llvm-19-dev libpolly-19-dev zlib1g-dev libzstd-dev
  libzydis-dev libunwind-dev libmetis-dev libtbb-dev libzmq3-dev libhwloc-dev libdw-dev libxxhash-dev
  libfmt-dev libcli11-dev nlohmann-json3-dev libgtest-dev libbenchmark-dev
  # what the samples and the programs under test are built with
  clang-19 clang-14 gfortran binutils make
  # programs that the tests run, with tracelift and without
  octave libblas3 nodejs perl sqlite3 openssl bc jq tcl m4 gnupg libxml2-utils
  gzip bzip2 xz-utils zstd zip unzip file patch libjemalloc2 libtcmalloc-minimal4
  lz4 brotli lzip plzip pigz pbzip2 lzop ncompress gawk dc lua5.4 luajit nasm tcc redis-server redis-tools memcached
  flac netpbm optipng gifsicle argon2 xxhash units minisat lp-solve glpk-utils gsl-bin cpio rsync strace expect mksh
  busybox-static xsltproc bison flex parallel zsh libjpeg-turbo-progs webp lame sox hmmer bwa
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "bootstrap: cannot install ${missing[*]}: run as root or install sudo" >&2; exit 1; }
    sudo=sudo
  fi
  echo "bootstrap: installing ${missing[*]}"
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
[ "${1:-}" = "--no-build" ] && exit 0

cmake --preset release >/dev/null
cmake --build --preset release
