#!/usr/bin/env bash
# Runs the device suite on this machine's GPU: every CUDA kernel against references, then the same under
# compute-sanitizer where it is installed. Needs no compiler if the folder of cubins is complete.
#
# usage: tools/test-gpu.sh [--bin DIR] [--cubins DIR] [--no-sanitizer]
#   --bin     folder with fusebox-gpu-kernel-test (default: build/release/test/device)
#   --cubins  folder of compiled kernels (default: build/gpu-cubins)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release/test/device cubins=build/gpu-cubins sanitizer=1
while [ $# -gt 0 ]; do
  case "$1" in
    --bin) bin=$2; shift 2 ;;
    --cubins) cubins=$2; shift 2 ;;
    --no-sanitizer) sanitizer=; shift ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 10 ;;
  esac
done
test=$bin/fusebox-gpu-kernel-test
[ -x "$test" ] || { echo "test-gpu: $test is missing; build the target fusebox-gpu-kernel-test, or name its folder with --bin" >&2; exit 12; }
mkdir -p "$cubins"
status=0
"$test" --check --cubins "$cubins" || status=1
if [ "$sanitizer" ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    echo "compute-sanitizer $tool:"
    compute-sanitizer --tool "$tool" --error-exitcode 1 --print-limit 5 "$test" --check --cubins "$cubins" 2>&1 | tail -n 12 || status=1
  done
fi
exit $status
