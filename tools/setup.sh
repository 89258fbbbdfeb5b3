#!/usr/bin/env bash
# Installs everything that building and testing Fusebox needs, on Debian 12 (as root, or with sudo).
# Seconds when all is there. --check installs nothing and says what is missing; --with-npm also installs npm, which
# one test asset comes by.
#
# Pinning: names fix the major version where it matters (clang-22, llvm-22-dev, ...), and the versions found are
# compared below. Exact apt pins (package=version) are not used: the archive drops a version as soon as a security
# update replaces it, and a script with such pins then installs nothing at all. Python packages are pinned
# exactly in tools/requirements.txt, Rust crates in runtime/text/rust/Cargo.lock.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  clang-22 lld-22 llvm-22-dev llvm-22-tools llvm-22 libmlir-22-dev mlir-22-tools libclang-rt-22-dev
  clang-format-22 clang-tidy-22
  rustc-web cargo-web
  cmake ninja-build ccache pkg-config
  libc6-dev libstdc++-12-dev nlohmann-json3-dev libcli11-dev libyaml-cpp-dev libfmt-dev libbenchmark-dev
  libgtest-dev libgmock-dev libzstd-dev libxxhash-dev zlib1g-dev
  python3 python3-venv python3-pip
  unzip git ca-certificates
)

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

missing_packages() {
  local installed
  # dpkg-query fails when it doesn't know one of them; what it knows is printed all the same.
  installed=$({ dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "${packages[@]}" 2>/dev/null || true; } |
    sed -n 's/^ii //p' | sort -u)
  comm -13 <(printf '%s\n' "$installed") <(printf '%s\n' "${packages[@]}" | sort -u)
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  [ "${#missing[@]}" -gt 0 ] || return 0
  [ "${check:-}" ] && fail "not installed: ${missing[*]}; run tools/setup.sh"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "these packages are missing and there is no sudo: ${missing[*]}; install them as root"
  say "installing ${#missing[@]} packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get -q -o Acquire::Retries=3 update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
    install --no-install-recommends "${missing[@]}"
}

# expect_version NAME PATTERN COMMAND...: the first version in the command's output must match the glob PATTERN.
expect_version() {
  local name=$1 pattern=$2 version
  shift 2
  version=$("$@" 2>/dev/null | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1) || true
  # shellcheck disable=SC2053 # the pattern is meant as a glob
  [[ "$version" == $pattern ]] || fail "$name: version $pattern is needed, found '${version:-none}'"
}

check_versions() {
  expect_version clang '22.*' clang++-22 --version
  expect_version lld '22.*' ld.lld-22 --version
  expect_version LLVM '22.*' llvm-config-22 --version
  expect_version MLIR '22.*' /usr/lib/llvm-22/bin/mlir-opt --version
  expect_version cargo '1.*' /usr/bin/cargo --version
  local minor
  minor=$(/usr/bin/cargo --version | grep -oE '1\.[0-9]+' | head -n 1 | cut -d. -f2)
  [ "$minor" -ge 85 ] || fail "cargo: version 1.85 or newer is needed, found 1.$minor (package cargo-web)"
  expect_version cmake '3.*' cmake --version
}

# Python packages live in .venv; the stamp holds the requirements they were installed from.
install_venv() {
  cmp -s tools/requirements.txt .venv/fusebox-requirements.txt && return 0
  [ "${check:-}" ] && fail ".venv is missing or old; run tools/setup.sh"
  say "making .venv from tools/requirements.txt"
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 3 -r tools/requirements.txt
  cp tools/requirements.txt .venv/fusebox-requirements.txt
}

# Fetches the Rust crates that Cargo.lock names, so that later builds need no network.
fetch_crates() {
  local manifest=runtime/text/rust/Cargo.toml stamp=.cache/cargo-fetched
  cmp -s runtime/text/rust/Cargo.lock "$stamp" && return 0
  [ "${check:-}" ] && fail "the Rust crates are not fetched; run tools/setup.sh"
  say "fetching Rust crates"
  /usr/bin/cargo fetch --quiet --locked --manifest-path "$manifest"
  mkdir -p .cache
  cp runtime/text/rust/Cargo.lock "$stamp"
}

check=
case "${1:-}" in
  '') ;;
  --check) check=1 ;;
  --with-npm) command -v npm >/dev/null || packages+=(npm) ;;
  *) fail "usage: tools/setup.sh [--check | --with-npm]" ;;
esac
[ -r /etc/os-release ] && . /etc/os-release
[ "${ID:-}${VERSION_ID:-}" = debian12 ] || say "made for Debian 12, this is ${PRETTY_NAME:-unknown}: going on"
install_packages
check_versions
install_venv
fetch_crates
say "ready"
