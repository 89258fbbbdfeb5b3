#!/usr/bin/env bash
# check_binary.sh BINARY MAX_MB READELF STRIP [LIBRARY...]: fails if the binary needs a shared library other than the C
# library's and the LIBRARYs, or is larger than MAX_MB once stripped.
set -euo pipefail
binary=$1 limit=$2 readelf=$3 strip=$4
shift 4
allowed=('lib(c|m|pthread|dl|rt)\.so\.[0-9]+' 'ld-linux.*' "$@")

needed=$("$readelf" -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
[ -n "$needed" ] || { echo "$binary: no shared library found, not even the C library" >&2; exit 1; }
extra=$(grep -vxE "$(IFS='|'; echo "${allowed[*]}")" <<<"$needed" || true)
[ -z "$extra" ] || { echo "$binary needs shared libraries that a bare system may lack: $extra" >&2; exit 1; }

copy=$(mktemp)
trap 'rm -f "$copy"' EXIT
"$strip" -o "$copy" "$binary"
size=$(($(stat -c %s "$copy") / 1000000))
echo "$binary: $size MB stripped; needs" $needed
[ "$size" -le "$limit" ] || { echo "larger than $limit MB" >&2; exit 1; }
