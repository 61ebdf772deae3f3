# Finds or installs what building needs: Rust and a C compiler. Sourced by ./run and ./test; leaves cargo in PATH.
#
# Rust comes from where it is first found: on the PATH or in ~/.cargo; rustup's own site; Debian's
# packages unpacked into a private folder (nothing of the system is replaced). Not here: tools of the interop stage.

RUST_MIN=1.95
RUST_PINNED=1.95.0
RUST_PRIVATE=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/thalweg/rust

say() { echo "$*" >&2; }

rust_is_new_enough() {
  local have
  have=$(rustc --version 2>/dev/null | cut -d' ' -f2) || return 1
  [ -n "$have" ] && command -v cargo >/dev/null || return 1
  [ "$(printf '%s\n%s\n' "$RUST_MIN" "$have" | sort -V | head -1)" = "$RUST_MIN" ]
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}

# apt_install PACKAGE... : quiet; the list of packages is fetched once, when a first try fails.
apt_install() {
  command -v apt-get >/dev/null || return 1
  say "installing $* with apt-get"
  local apt="as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y"
  $apt install --no-install-recommends "$@" >/dev/null 2>&1 && return
  $apt update >/dev/null 2>&1
  $apt install --no-install-recommends "$@" >/dev/null
}

need_c_compiler() {
  command -v cc >/dev/null && [ -e /usr/include/stdio.h ] && [ -d /etc/ssl/certs ] && return
  apt_install gcc libc6-dev ca-certificates && return
  say "A C compiler is missing (the compression libraries are C). As root: apt-get install gcc libc6-dev ca-certificates"
  return 1
}

# rustup, from the distribution's package where there is one, else the binary from its own site.
install_by_rustup() {
  command -v rustup >/dev/null || apt_install rustup 2>/dev/null || fetch_rustup || return 1
  PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
  say "installing Rust $RUST_PINNED with rustup"
  rustup toolchain install "$RUST_PINNED" --profile minimal -c rustfmt -c clippy >/dev/null 2>&1 && rust_is_new_enough
}

fetch_rustup() {
  command -v curl >/dev/null || apt_install curl ca-certificates || return 1
  local init status; init=$(mktemp -d)
  curl --proto '=https' --tlsv1.2 -sSfL -m 120 -o "$init/rustup-init" \
    "https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init" 2>/dev/null &&
    chmod +x "$init/rustup-init" &&
    "$init/rustup-init" -y --profile minimal --default-toolchain none --no-modify-path >/dev/null 2>&1
  status=$?
  rm -rf "$init"
  return $status
}

# The archive that this machine's own apt reads Debian from; Debian's name for it else.
debian_archive() {
  local site
  site=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -m1 '/debian/*$')
  echo "${site:-http://ftp.debian.org/debian}"
}

# Debian's backports carry a new Rust when the release itself is too old. Its packages are unpacked, not
# installed, with the libraries they want, and the programs are told to load those: glibc's too.
install_from_debian() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  command -v patchelf >/dev/null || apt_install patchelf || return 1
  [ -d /usr/share/keyrings ] && ls /usr/share/keyrings/debian-archive-* >/dev/null 2>&1 || apt_install debian-archive-keyring || return 1
  local base=$RUST_PRIVATE.new keys
  rm -rf "$base"; mkdir -p "$base"/apt/{lists,cache/archives/partial} "$base/root"
  keys=$(ls /usr/share/keyrings/debian-archive-*.gpg | tr '\n' ' ')
  : >"$base/apt/status"
  cat >"$base/apt/debian.sources" <<SOURCES
Types: deb
URIs: $(debian_archive)
Suites: trixie trixie-backports
Components: main
Signed-By: $keys
SOURCES
  local apt=(apt-get -qq -y -o "Dir::Etc::sourcelist=$base/apt/debian.sources" -o Dir::Etc::sourceparts=-
    -o Dir::Etc::preferencesparts=- -o "Dir::State::lists=$base/apt/lists" -o "Dir::State::status=$base/apt/status"
    -o "Dir::Cache=$base/apt/cache" -o APT::Sandbox::User= -o Debug::NoLocking=1)
  say "fetching Rust from Debian's packages into $RUST_PRIVATE (about 190 MB, once)"
  "${apt[@]}" update >/dev/null 2>&1 || return 1
  "${apt[@]}" install --no-install-recommends --download-only -t trixie-backports rustc cargo rustfmt rust-clippy >/dev/null 2>&1 || return 1
  local deb
  for deb in "$base"/apt/cache/archives/*.deb; do
    case ${deb##*/} in gcc-*|cpp*|binutils*|lib*san[0-9]*|*-dev_*) [[ $deb == *libstd-rust-dev* ]] || continue;; esac
    dpkg-deb -x "$deb" "$base/root" || return 1
  done
  rm -rf "$base/apt" "$RUST_PRIVATE"; mv "$base" "$RUST_PRIVATE"
  point_at_own_libraries
}

point_at_own_libraries() {
  local root=$RUST_PRIVATE/root loader libraries program
  loader=$(ls "$root"/usr/lib*/ld-linux* "$root"/usr/lib/*/ld-linux* "$root"/lib*/ld-linux* 2>/dev/null | head -1)
  libraries=$(dirname "$(find "$root/usr/lib" -name 'librustc_driver-*.so' | head -1)")
  # A library with a search path of its own would not look where its program says.
  find "$libraries" -maxdepth 1 -type f -name 'libLLVM*.so*' -exec patchelf --remove-rpath {} + || return 1
  for program in rustc rustdoc cargo rustfmt cargo-fmt cargo-clippy clippy-driver; do
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$(readlink -f "$root/usr/bin/$program")" || return 1
  done
}

need_rust() {
  export PATH=$PATH:${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}/bin
  rust_is_new_enough && return
  [ -x "$RUST_PRIVATE/root/usr/bin/cargo" ] && { PATH=$RUST_PRIVATE/root/usr/bin:$PATH; rust_is_new_enough && return; }
  say "Rust $RUST_MIN or newer is missing"
  install_by_rustup && return
  install_from_debian && { PATH=$RUST_PRIVATE/root/usr/bin:$PATH; rust_is_new_enough && return; }
  say "Rust $RUST_MIN could not be had, neither from rustup nor from Debian's backports."
  say "Install it by hand (https://rustup.rs, then: rustup toolchain install $RUST_PINNED) and start again."
  return 1
}
