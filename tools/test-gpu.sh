#!/usr/bin/env bash
# Runs the device suite on this machine's GPU, in one go:
#   every kernel against references, over shapes with odd ones among them
#   the goldens end to end: errors to f64, greedy continuations, bits by batch and chunk, merged against separate
#   SmolLM2-135M's five prompts
#   what is said of a kernel that reads outside memory, or does not return
#   compute-sanitizer's memcheck and racecheck, where it is installed
# What it runs is made by tools/prepare-gpu.sh, here if there is a compiler; else FUSEBOX_GPU_PREBUILT names the folder
# that it made elsewhere, for this GPU's chip. SmolLM2 is read from .cache/models or .cache/test and fetched if there is
# a network; FUSEBOX_GPU_SMOLLM2 names the file elsewhere.
#
# usage: tools/test-gpu.sh [--no-sanitizer] [--log DIR]
#   --log   where details go (default: build/gpu-log)
set -uo pipefail
cd "$(dirname "$0")/.."
sanitizer=1 log=build/gpu-log
while [ $# -gt 0 ]; do
  case "$1" in
    --no-sanitizer) sanitizer=; shift ;;
    --log) log=$2; shift 2 ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 10 ;;
  esac
done
. tools/gpu-suite.sh

kernels="$suite/fusebox-gpu-kernel-test --cubins $suite/cubins"
models="$suite/fusebox-gpu-model-test --plans $suite/plans --goldens test/data/golden"
run kernels 300 $kernels --check
run goldens 300 $models --check
if [ -s "$smollm2" ]; then
  run smollm2 300 $models --smollm2 "$smollm2"
else
  echo "FAIL smollm2: no model file; set FUSEBOX_GPU_SMOLLM2"
  status=1
fi
run fault-memory 60 $models --fault memory
run fault-hang 60 $models --fault hang
if [ "$sanitizer" ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    form="" skip=""
    # racecheck does not know what bulk copies into shared memory wait for, and calls each a race: kernels that use
    # them are checked in the form that other chips run. Nor does it follow barriers in shared memory from one warp to
    # another, nor barriers at which some warps arrive and go on (it calls the example of bar.arrive in the PTX manual
    # races): these order all that linear_stream and attention_stream do.
    [ $tool = racecheck ] && form=--without-bulk-copies skip="--kernel-regex-exclude kns=_stream"
    run $tool-kernels 600 compute-sanitizer --tool $tool $skip --error-exitcode 1 --print-limit 5 $kernels --check $form
    # For the same reason layers run as separate launches under racecheck. And it is slow, so of the goldens it sees the
    # logits alone: to compare bits of batches and chunks runs the same kernels.
    loops=on check=--check
    [ $tool = racecheck ] && loops=off check=--check-logits
    run $tool-goldens 600 env FUSEBOX_GPU_LOOPS=$loops compute-sanitizer --tool $tool $skip --error-exitcode 1 \
      --print-limit 5 $models $check
  done
fi
[ $status = 0 ] && echo "all passed; details in $log" || echo "FAILED; details in $log"
exit $status
