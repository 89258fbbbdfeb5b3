#!/usr/bin/env bash
# check_binary.sh BINARY MAX_MB READELF STRIP: fails if the binary needs a shared library that a bare Linux system may
# lack, or is larger than MAX_MB once stripped.
set -euo pipefail
binary=$1 limit=$2 readelf=$3 strip=$4

extra=$("$readelf" -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
  grep -vxE 'lib(c|m|pthread|dl|rt)\.so\.[0-9]+|ld-linux.*' || true)
[ -z "$extra" ] || { echo "$binary needs shared libraries: $extra" >&2; exit 1; }

copy=$(mktemp)
trap 'rm -f "$copy"' EXIT
"$strip" -o "$copy" "$binary"
size=$(($(stat -c %s "$copy") / 1000000))
echo "$binary: $size MB stripped"
[ "$size" -le "$limit" ] || { echo "larger than $limit MB" >&2; exit 1; }
