# Debian packages by purpose, and a way to have them. Sourced.

packages_build=(g++ meson ninja-build pkg-config cmake ccache libunwind-dev libdw-dev libelf-dev
  libcli11-dev libtoml11-dev nlohmann-json3-dev libfmt-dev libpugixml-dev libexpected-dev libiberty-dev
  libzstd-dev libdebuginfod-dev libcapstone-dev)
packages_rust=("cargo|cargo-web" "rustc|rustc-web" librust-tokio-dev librust-futures-dev librust-hyper-dev
  librust-async-std-dev librust-smol-dev librust-libc-dev)
packages_test=(libgtest-dev libgmock-dev libpython3-dev python3-pytest python3-jsonschema python3-lxml python3-yaml
  cmark-gfm gdb make systemd binutils elfutils lld clang-14 clang-19 llvm-14
  libclang-rt-14-dev libdebuginfod1 debuginfod libevent-dev libuv1-dev libev-dev libglib2.0-dev
  libsystemd-dev liburing-dev libasio-dev libboost1.81-dev memcached nghttp2-server libglib2.0-bin dbus-daemon curl iproute2
  kea-ctrl-agent libjemalloc2)

# Installs what is missing; needs neither network nor root when nothing is. `a|b`: either will do, for packages
# that exclude each other.
ensure_packages() {
  local wanted missing=() as_root=() log
  for wanted in "$@"; do
    grep -qx installed <<<"$(dpkg-query -W -f '${db:Status-Status}\n' ${wanted//|/ } 2>/dev/null)" ||
      missing+=("${wanted%%|*}")
  done
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || as_root=(sudo)
  echo "installing ${missing[*]}" >&2
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  # A failed update is no failure: the lists at hand may do.
  "${as_root[@]}" apt-get -q update >"$log" 2>&1 || true
  if ! "${as_root[@]}" apt-get -q install -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
    "${missing[@]}" >>"$log" 2>&1; then
    echo "apt-get could not install them: see $log" >&2
    return 1
  fi
  rm -f "$log"
}
