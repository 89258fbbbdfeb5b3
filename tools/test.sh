#!/usr/bin/env bash
# Sets up, builds and tests everything. The last line is the sum: "N passed, N failed"; any failure exits non-zero.
#
#   tools/test.sh           everything, as continuous integration runs it
#   tools/test.sh --quick   only the release build's tests: no sanitizers, no runtime-only build, no format check
set -uo pipefail
cd "$(dirname "$0")/.."

quick=
case "${1:-}" in
  '') ;;
  --quick) quick=1 ;;
  *) echo "usage: tools/test.sh [--quick]" >&2; exit 10 ;;
esac

jobs=$(nproc)
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

heading() { printf '\n== %s\n' "$*"; }

# check NAME COMMAND...: runs a step and counts it as one test.
check() {
  local name=$1
  shift
  heading "$name"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $name"
  fi
}

finish() {
  echo
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
  exit
}

# need NAME COMMAND...: a step that later ones rest on; its failure ends the run.
need() {
  local name=$1
  shift
  heading "$name"
  "$@" && return 0
  echo "FAILED: $name"
  failed=$((failed + 1))
  finish
}

# run_ctest BUILD_DIR ARGUMENTS...: adds ctest's own count.
run_ctest() {
  local folder=$1 summary
  shift
  ctest --test-dir "$folder" -j"$jobs" --output-on-failure --no-tests=error --timeout 600 "$@" 2>&1 | tee "$log"
  summary=$(grep -oE '[0-9]+ tests failed out of [0-9]+' "$log")
  if [ -z "$summary" ]; then
    echo "FAILED: ctest ran no test in $folder"
    failed=$((failed + 1))
    return
  fi
  read -r bad _ _ _ _ all <<<"$summary"
  failed=$((failed + bad))
  passed=$((passed + all - bad))
}

# The lit suite, counted test by test.
run_lit() {
  local good bad
  /usr/lib/llvm-22/bin/lit -v -j"$jobs" build/release/test/lit 2>&1 | tee "$log"
  good=$(sed -nE 's/^ *Passed *: *([0-9]+).*/\1/p' "$log")
  bad=$(sed -nE 's/^ *(Failed|Unresolved|Timed Out|Unexpectedly Passed) *: *([0-9]+).*/\2/p' "$log" | awk '{sum += $1} END {print sum + 0}')
  if [ -z "$good" ] && [ "$bad" = 0 ]; then
    echo "FAILED: lit ran no test"
    bad=1
  fi
  passed=$((passed + ${good:-0}))
  failed=$((failed + ${bad:-0}))
}

build() {
  local preset=$1
  shift
  cmake --preset "$preset" >"$log" 2>&1 || { cat "$log"; return 1; }
  NINJA_STATUS='[%f/%t %es] ' cmake --build "build/$preset" -j"$jobs" "$@" >"$log" 2>&1 ||
    { grep -E -A 6 'error:|error :|^FAILED:|CMake Error|undefined symbol' "$log" | head -n 120; tail -n 3 "$log"; return 1; }
  tail -n 1 "$log"
}

# Readers of untrusted files under the sanitizers, by a short run of each fuzz test, and unit tests that need little of LLVM.
sanitized_tests='[a-z0-9-]+-fuzz-test|analysis-test|cublaslt-test|generate-test|runtime-test'
build_sanitized() {
  cmake --preset asan >"$log" 2>&1 || { cat "$log"; return 1; }
  local targets
  targets=$(ninja -C build/asan -t targets all | sed -nE "s/^($sanitized_tests): phony\$/\1/p" | sort -u)
  [ -n "$targets" ] || { echo "no such tests found"; return 1; }
  # shellcheck disable=SC2086 # one word a target
  build asan --target $targets
}

check_format() {
  git ls-files '*.cpp' '*.h' '*.cuh' '*.cu' | xargs -r clang-format-22 --dry-run --Werror
}

# fusebox-run must stay small and free of MLIR, LLVM and Python.
runtime_only() {
  build runtime-only --target fusebox-run || return 1
  test/tools/check_binary.sh build/runtime-only/bin/fusebox-run 30 llvm-readelf-22 llvm-strip-22
}

need "Setting up" tools/setup.sh
need "Fetching test models" tools/fetch_test_models.sh
need "Building (release)" build release
heading "Unit and end-to-end tests"
run_ctest build/release -E '^lit$'
heading "lit tests"
run_lit
if [ -z "$quick" ]; then
  check "Building the runtime alone" runtime_only
  check "Building fuzz and unit tests with sanitizers" build_sanitized
  heading "Fuzz and unit tests with sanitizers"
  FUSEBOX_FUZZ_ITERATIONS=${FUSEBOX_FUZZ_ITERATIONS:-3000} run_ctest build/asan -R "^($sanitized_tests)$"
  check "Format" check_format
fi
finish
