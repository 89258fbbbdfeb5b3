#!/usr/bin/env bash
# Times the CUDA kernels and whole decode steps on this machine's GPU, each beside the floor that the memory bandwidth
# measured in the same run sets.
#
# usage: tools/bench-gpu.sh [--bin DIR] [--cubins DIR]     (as tools/test-gpu.sh)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release/test/device cubins=build/gpu-cubins
while [ $# -gt 0 ]; do
  case "$1" in
    --bin) bin=$2; shift 2 ;;
    --cubins) cubins=$2; shift 2 ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 10 ;;
  esac
done
test=$bin/fusebox-gpu-kernel-test
[ -x "$test" ] || { echo "bench-gpu: $test is missing; build the target fusebox-gpu-kernel-test, or name its folder with --bin" >&2; exit 12; }
mkdir -p "$cubins"
exec "$test" --bench --cubins "$cubins"
