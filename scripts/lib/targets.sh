# The Rust programs of test/targets, built offline from Debian's crates. Sourced, in the repository's root.

# A rustc other than Debian 12's own: rustup's in PATH, or a newer one that Debian put beside it. Prints
# nothing where there is none.
second_rustc() {
  local candidate
  while read -r candidate; do
    if ! [[ $candidate -ef /usr/bin/rustc ]]; then
      echo "$candidate"
      return
    fi
  done < <(type -aP rustc)
}

# build_targets DIR TOOLCHAIN RUSTC PROFILE [CARGO ARGUMENTS]
# The programs end up in DIR/targets/TOOLCHAIN/release or .../debug.
build_targets() {
  local toolchain=$2 rustc=$3 profile=$4 targets package
  targets=$(realpath -m "$1")/targets
  package=$targets/${targets_package:-tokio}
  shift 4
  # The package is built through links, so that the lock file, which depends on the crates installed here,
  # stays out of the source tree.
  mkdir -p "$package"
  ln -sfn "$PWD/test/targets/${package##*/}"/{Cargo.toml,src} "$package"
  cat >"$targets/cargo.toml" <<END
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "/usr/share/cargo/registry"
END
  (
    cd "$package" || exit
    unset RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_TARGET
    RUSTC=$rustc CARGO_TARGET_DIR=$targets/$toolchain /usr/bin/cargo build --quiet --offline \
      --config "$targets/cargo.toml" --profile "$profile" "$@"
  )
}

# build_two_tokios DIR
# After the others: a program with two versions of tokio, of which one is Debian's under another number.
build_two_tokios() {
  local old=$1/targets/tokio_old
  if [[ ! -d $old ]]; then
    mkdir -p "$old.new"
    cp -r /usr/share/cargo/registry/tokio-1.*/{Cargo.toml,build.rs,src} "$old.new" &&
      sed -i '0,/^version = .*/s//version = "1.0.99"/' "$old.new/Cargo.toml" &&
      mv "$old.new" "$old" || return
  fi
  targets_package=two build_targets "$1" debian /usr/bin/rustc release
}

# build_variants DIR
# `leaves` as other people build their programs, for test/e2e/test_builds.py: DIR/targets/VARIANT/release. And
# `hangs` with panic=abort.
# Each variant is peculiar in several ways at once, for it takes a minute. --target keeps its flags from
# procedural macros, which are shared libraries.
build_variants() {
  local dir=$1 second leaves=(release --bin leaves --no-default-features)
  build_targets "$dir" fat-lto /usr/bin/rustc "${leaves[@]}" --bin hangs --config 'profile.release.lto="fat"' \
    --config 'profile.release.panic="abort"' --config 'profile.release.codegen-units=1' &&
    build_targets "$dir" thin-lto /usr/bin/rustc "${leaves[@]}" --config 'profile.release.lto="thin"' \
      --config 'profile.release.opt-level="s"' --target x86_64-unknown-linux-gnu \
      --config 'build.rustflags=["-Crelocation-model=static", "-Cforce-frame-pointers=yes"]' &&
    build_targets "$dir" linked /usr/bin/rustc "${leaves[@]}" --config 'profile.release.opt-level="z"' \
      --config "build.rustflags=['-Csymbol-mangling-version=v0', '-Clinker=$PWD/scripts/lib/link_each_way']" ||
    return
  second=$(second_rustc)
  [[ -z $second ]] || build_targets "$dir" dynamic-std "$second" "${leaves[@]}" --config \
    "build.rustflags=['-Csymbol-mangling-version=v0', '-Cprefer-dynamic', '-Crpath', '-Csplit-debuginfo=unpacked']"
}
