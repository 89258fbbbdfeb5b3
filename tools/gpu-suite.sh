# What tools/test-gpu.sh and tools/bench-gpu.sh share; sourced from the repository's root with $log set.
# Sets $suite (folder of tools/prepare-gpu.sh), $smollm2, $status; run NAME SECONDS COMMAND... runs a part of the suite.
suite=${FUSEBOX_GPU_PREBUILT:-}
if [ -z "$suite" ]; then
  suite=build/gpu-suite
  chip=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
  [ -n "$chip" ] || { echo "no GPU: nvidia-smi shows none" >&2; exit 12; }
  [ "$chip" = 90 ] && chip=90a
  tools/prepare-gpu.sh --chip sm_$chip $suite || exit 12
fi
[ -x "$suite/fusebox-gpu-model-test" ] || { echo "$suite: no fusebox-gpu-model-test; tools/prepare-gpu.sh makes it" >&2; exit 12; }
smollm2=${FUSEBOX_GPU_SMOLLM2:-}
for folder in .cache/models .cache/test; do
  [ -s "$smollm2" ] || smollm2=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
done
mkdir -p "$log"
status=0

# The lines that fail, or the last one; all in $log/NAME.txt.
run() {
  local name=$1 limit=$2 begin=$SECONDS result
  shift 2
  timeout "$limit" "$@" >"$log/$name.txt" 2>&1
  result=$?
  echo "$name: exit $result after $((SECONDS - begin)) s: $(grep -cE '^ok' "$log/$name.txt") ok"
  grep -E '^FAIL|ERROR SUMMARY|RACECHECK SUMMARY|FAILED:' "$log/$name.txt" | cut -c 1-300 | head -n 12
  [ $result = 0 ] || { status=1; tail -n 3 "$log/$name.txt" | cut -c 1-300; }
}
