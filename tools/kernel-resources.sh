#!/usr/bin/env bash
# Compiles every CUDA kernel of the goldens' and the full-size models' plans to cubin, with no GPU, and prints registers,
# spilled bytes and shared memory: a test, as products of few rows, attention and the kernel of all layers must not spill
# on sm_90a. What ptxas said is kept in the cache by content, so that a second run takes seconds.
#
# usage: tools/kernel-resources.sh [--all] [--chips sm_80,sm_89,sm_90a,sm_100] [BUILD_DIR]
#   --all    a line for each kernel
set -euo pipefail
cd "$(dirname "$0")/.."
chips=sm_80,sm_89,sm_90a,sm_100 build=build/release flags=()
while [ $# -gt 0 ]; do
  case "$1" in
    --all) flags+=(--all); shift ;;
    --chips) chips=$2; shift 2 ;;
    -*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 10 ;;
    *) build=$1; shift ;;
  esac
done
models=()
for name in qwen3 qwen3-extreme-k llama llama-tied llama31-rope ernie4_5; do
  models+=(test/data/golden/$name test/data/golden/$name=f32)
done
for name in qwen3-0.6b tinyllama-1.1b ernie-4.5-0.3b llama-3.1-8b; do
  folder=$build/shapes/$name
  [ -s "$folder/config.json" ] || .venv/bin/python tools/make_model.py $name "$folder" --no-weights
  models+=("$folder")
done
# The kernels of 4-bit weights, where the model has been fetched.
for gguf in .cache/test/SmolLM2-135M-Instruct.Q4_1.gguf; do
  [ -s "$gguf" ] && models+=("$gguf")
done
"$build/test/device/fusebox-kernel-resources" --chips "$chips" ${flags[@]+"${flags[@]}"} "${models[@]}"
