#!/usr/bin/env bash
# Makes what the GPU suite runs, in a folder that a machine with a GPU but without a compiler can take over: the two
# test programs, the kernels as cubins, and the plans of the goldens, of SmolLM2 and of the full-size models. Needs no
# GPU. tools/test-gpu.sh and tools/bench-gpu.sh call it themselves unless FUSEBOX_GPU_PREBUILT names such a folder.
#
# usage: tools/prepare-gpu.sh [--chip sm_90a] [--only kernels|goldens|smollm2|models,...] [DIR]
#   DIR     default build/gpu-suite
#   --only  parts to make (default: all)
set -euo pipefail
cd "$(dirname "$0")/.."
chip=sm_90a folder=build/gpu-suite parts=kernels,goldens,smollm2,models
while [ $# -gt 0 ]; do
  case "$1" in
    --chip) chip=$2; shift 2 ;;
    --only) parts=$2; shift 2 ;;
    -*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 10 ;;
    *) folder=$1; shift ;;
  esac
done
bin=build/release
[ -f $bin/build.ninja ] || cmake --preset release >/dev/null
ninja -C $bin fusebox fusebox-gpu-kernel-test fusebox-gpu-model-test | tail -n 1
mkdir -p "$folder/plans" "$folder/cubins" "$folder/models"
for program in kernel model; do
  strip -o "$folder/fusebox-gpu-$program-test" $bin/test/device/fusebox-gpu-$program-test
done
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python

# The IR of a golden with what families of today lack: scales of embedding, residual branches and logits, a soft cap.
# They make chains of pointwise operations.
chains() { # FROM TO
  sed -E -e 's/%embed = (layer.embed .*) : (.*)/%table = \1 : \2\n%embed = layer.scale %table by 3.0 : \2/' \
    -e 's/%(attn_residual|residual) = layer.add (%[a-z_]+), (%[a-z]+) : (.*)/%\1_scaled = layer.scale \3 by 0.7 : \4\n%\1 = layer.add \2, %\1_scaled : \4/' \
    -e 's/%logits = layer.cast (%lm_head) : (.*) -> (.*)/%logits_scaled = layer.scale \1 by 0.5 : \2\n%capped = layer.softcap %logits_scaled at 4.0 : \2\n%logits = layer.cast %capped : \2 -> \3/' \
    "$1" > "$2"
}
wants() { case ",$parts," in *",$1,"*) return 0 ;; *) return 1 ;; esac; }
plan() { # MODEL NAME TYPE OPTION...
  local model=$1 name=$2 type=$3
  shift 3
  $bin/bin/fusebox compile "$model" --target "cuda:$chip" --dtype "$type" --fusion none "$@" \
    -o "$folder/plans/$name.$type.plan"
}

if wants kernels; then
  $bin/test/device/fusebox-gpu-kernel-test --compile --chip "$chip" --cubins "$folder/cubins" | tail -n 1
fi
if wants goldens; then
  for name in qwen3 qwen3-extreme-k llama llama-tied llama31-rope ernie4_5; do
    for type in bf16 f32; do plan test/data/golden/$name $name $type; done
  done
  for type in bf16 f32; do
    golden=test/data/golden/llama work=$folder/chains
    $bin/bin/fusebox compile $golden --dtype $type --dump-phases="$work" -o "$work.plan" > "$work.log"
    chains "$work/2-bind-weights.mlir" "$work.mlir"
    $bin/bin/fusebox compile $golden --start-from "$work.mlir" --target "cuda:$chip,cpu:x86-64-v3" \
      -o "$folder/plans/chains.$type.plan"
  done
fi
if wants smollm2; then
  gguf=.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
  [ -s $gguf ] || gguf=.cache/test/SmolLM2-135M-Instruct.Q4_1.gguf
  [ -s $gguf ] || tools/fetch_test_models.sh smollm2
  plan $gguf smollm2 bf16
  plan $gguf smollm2 f32 --weights bf16
fi
if wants models; then
  for name in qwen3-0.6b tinyllama-1.1b ernie-4.5-0.3b; do
    # A plan needs shapes, not weights; the bench gives it weights of those shapes.
    model=.cache/models/$name
    if [ ! -s $model/model.safetensors ]; then
      model=$folder/models/$name
      $python tools/make_model.py $name "$model" --no-weights
    fi
    plan "$model" $name bf16
  done
fi
