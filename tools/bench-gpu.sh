#!/usr/bin/env bash
# Measures this machine's GPU for docs/gpu.md's table, each figure beside what the same run's memory bandwidth and bf16
# peak allow: decode at 128 and about 4,096 tokens, prefill of 2,000, plan to first token, memory beyond the estimate,
# compiling with NVRTC, products and decode attention in a graph; and, where PyTorch and transformers are installed, the
# same shapes run by them, eager and compiled with a static cache.
# What it runs is made as for tools/test-gpu.sh (FUSEBOX_GPU_PREBUILT). Models with random weights are read from
# .cache/models and made there if they are missing; FUSEBOX_GPU_MODELS names another folder. SmolLM2-135M's 4-bit GGUF file
# is measured too where it is found.
#
# usage: tools/bench-gpu.sh [--no-torch] [--log DIR] [MODEL...]     (default: qwen3-0.6b tinyllama-1.1b ernie-4.5-0.3b)
set -uo pipefail
cd "$(dirname "$0")/.."
torch=1 log=build/gpu-log names=()
while [ $# -gt 0 ]; do
  case "$1" in
    --no-torch) torch=; shift ;;
    --log) log=$2; shift 2 ;;
    -*) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 10 ;;
    *) names+=("$1"); shift ;;
  esac
done
gguf=()
. tools/gpu-suite.sh
if [ ${#names[@]} = 0 ]; then
  names=(qwen3-0.6b tinyllama-1.1b ernie-4.5-0.3b)
  if [ -s "$smollm2" ]; then
    # The bench takes a folder with a model's files, named as the model's plan.
    mkdir -p "$log/smollm2" && ln -sf "$(realpath "$smollm2")" "$log/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    gguf=("$log/smollm2")
  fi
fi
folder=${FUSEBOX_GPU_MODELS:-.cache/models}
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
models=()
for name in "${names[@]}"; do
  [ -s "$folder/$name/model.safetensors" ] || $python tools/make_model.py "$name" "$folder/$name" || exit 12
  models+=("$folder/$name")
done

run peaks 60 "$suite/fusebox-gpu-kernel-test" --cubins "$suite/cubins" --bench --filter "no such case"
cat "$log/peaks.txt"
bandwidth=$(grep -o 'read [0-9]* GB' "$log/peaks.txt" | grep -o '[0-9]*' | head -n 1)
peak=$(python3 tools/gpu_torch.py --peak 2>/dev/null | grep -o '[0-9.]* TFLOP' | grep -o '[0-9.]*')
echo "bf16 peak of the run: ${peak:-not known: needs PyTorch} TFLOP/s"
run kernels-bench 300 "$suite/fusebox-gpu-kernel-test" --cubins "$suite/cubins" --bench
cut -c 1-200 "$log/kernels-bench.txt"
run models-bench 300 "$suite/fusebox-gpu-model-test" --plans "$suite/plans" --bandwidth "${bandwidth:-0}" \
  --peak "${peak:-0}" "${models[@]}" "${gguf[@]}"
cat "$log/models-bench.txt"
if [ "$torch" ] && python3 -c 'import torch, transformers' 2>/dev/null; then
  for model in "${models[@]}"; do
    run "torch-$(basename "$model")" 300 python3 tools/gpu_torch.py "$model"
    grep -v Warning "$log/torch-$(basename "$model").txt" | tail -n 4
  done
fi
exit $status
