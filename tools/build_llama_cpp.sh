#!/usr/bin/env bash
# Builds llama-bench and llama-cli of llama.cpp for this CPU from the source package llama-cpp-python, for comparisons
# on the same machine. Not part of CI.
#
# usage: tools/build_llama_cpp.sh [VERSION]        result: .cache/llama.cpp/bin/llama-bench
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-0.3.36}
out=$PWD/.cache/llama.cpp
if [ -x "$out/bin/llama-bench" ]; then
  echo "$out/bin/llama-bench is there already"
  exit 0
fi
mkdir -p "$out"
python3 -m pip download --quiet --no-deps --no-binary :all: -d "$out" "llama-cpp-python==$version" \
  || { echo "build_llama_cpp.sh: llama-cpp-python $version could not be downloaded" >&2; exit 12; }
tar -C "$out" -xzf "$out"/llama_cpp_python-"$version".tar.gz
source=$out/llama_cpp_python-$version/vendor/llama.cpp
cmake -S "$source" -B "$out/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DBUILD_SHARED_LIBS=OFF
cmake --build "$out/build" --target llama-bench -j "$(nproc)"
mkdir -p "$out/bin"
cp "$out"/build/bin/llama-bench "$out/bin/"
rm -rf "$out/build"
echo "$out/bin/llama-bench"
