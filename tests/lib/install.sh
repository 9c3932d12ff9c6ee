# shellcheck shell=bash
# What ring 5 needs besides Rust. Source it and call install_clients ROOT: it installs what is
# missing, if it may, and leaves the rest to the tests, which say themselves what they lack.

install_clients() {
  local missing=()
  need() { command -v "$1" >/dev/null || missing+=("$2"); }
  need turnutils_uclient coturn
  need chromium chromium
  need nft nftables
  need ip iproute2
  need conntrack conntrack
  need sysctl procps
  need node nodejs
  need npm npm
  if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
      echo "missing and not to be installed without apt-get: ${missing[*]}"
    elif ((EUID != 0)); then
      echo "missing, and only root can install them: ${missing[*]}"
    else
      echo "installing ${missing[*]}"
      install_packages "${missing[@]}" || echo "some of these could not be installed"
    fi
  fi
  install_playwright "$1" || echo "playwright-core could not be installed"
}

install_packages() {
  local policy=/usr/sbin/policy-rc.d status=0 coturn_is_new=false
  [[ " $* " != *" coturn "* ]] || coturn_is_new=true
  # Of coturn only the programs are wanted. Debian starts a service as it installs it, unless this
  # file forbids it.
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  else
    policy=""
  fi
  {
    apt-get update -qq &&
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
  } </dev/null || status=$?
  [[ -z $policy ]] || rm -f "$policy"
  if $coturn_is_new && [[ -d /run/systemd/system ]]; then
    systemctl disable --quiet coturn.service || true
  fi
  return "$status"
}

install_playwright() {
  local directory=$1/tests/browser stamp
  command -v npm >/dev/null || return 0
  stamp="$directory/node_modules/.package-lock.json"
  if [[ ! -e $stamp || $directory/package-lock.json -nt $stamp ]]; then
    npm ci --prefix "$directory" --no-audit --no-fund --loglevel=error </dev/null
  fi
}
