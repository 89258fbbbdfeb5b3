#!/usr/bin/env bash
# The long fuzz run: every reader of untrusted files takes COUNT damaged inputs under the address and undefined-behaviour
# sanitizers, each test in a process of its own, as many at a time as there are cores. tools/test.sh has the short one.
#
#   tools/fuzz.sh [COUNT]      100,000 without COUNT: about ten minutes of one core
set -uo pipefail
cd "$(dirname "$0")/.."
export FUSEBOX_FUZZ_ITERATIONS=${1:-100000}

cmake --preset asan >/dev/null || exit 1
targets=$(ninja -C build/asan -t targets all | sed -nE 's/^([a-z0-9-]+-fuzz-test): phony$/\1/p' | sort -u)
# shellcheck disable=SC2086 # one word a target
cmake --build build/asan --target $targets >/dev/null || exit 1

# Lines "program Suite.Test".
list_tests() {
  local target
  for target in $targets; do
    "build/asan/test/fuzz/$target" --gtest_list_tests | awk -v program="build/asan/test/fuzz/$target" '
      /^[A-Za-z]/ && /\.$/ { suite = $1 } /^  / { print program, suite $1 }'
  done
}

run_test() {
  local started=$SECONDS log
  log=$(mktemp)
  if "$1" --gtest_filter="$2" >"$log" 2>&1; then
    echo "passed: $2, $FUSEBOX_FUZZ_ITERATIONS inputs, $((SECONDS - started)) s"
  else
    echo "FAILED: $2"
    tail -n 40 "$log"
  fi
  rm -f "$log"
}
export -f run_test

results=$(mktemp)
trap 'rm -f "$results"' EXIT
list_tests | xargs -P "$(nproc)" -L 1 bash -c 'run_test "$0" "$1"' | tee "$results"
failed=$(grep -c '^FAILED' "$results")
echo "$(grep -c '^passed' "$results") passed, $failed failed"
[ "$failed" = 0 ]
