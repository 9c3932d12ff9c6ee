# shellcheck shell=bash
# A client behind a NAT, and a server with two addresses, as network namespaces. Source it; then:
#
#   home 10.5.0.2 ── 10.5.0.1 router 198.51.100.10 ── 198.51.100.1, 198.51.100.2 world
#
#   lab_up            makes them; fails, and says why in $lab_complaint, where it cannot
#   lab_nat KIND      puts a NAT of this kind between
#   in_lab ROLE …     runs a program in world or home
#   lab_down          removes them, with the programs in them
#
# Kinds, by what RFC 4787 calls them:
#   open         endpoint-independent mapping and filtering, hairpins
#   restricted   endpoint-independent mapping, address-dependent filtering
#   cone         endpoint-independent mapping, address- and port-dependent filtering
#   symmetric    address- and port-dependent mapping and filtering

lab="" lab_complaint=""
lab_server=198.51.100.1 lab_other=198.51.100.2 lab_router=198.51.100.10

lab_up() {
  local tool role
  for tool in ip nft; do
    command -v "$tool" >/dev/null || { lab_complaint="there is no $tool"; return 1; }
  done
  lab="hairpin-$$"
  for role in world router home; do
    ip netns add "$lab-$role" 2>/dev/null || {
      lab_complaint="network namespaces cannot be made here"
      return 1
    }
  done
  lab_step ip -n "$lab-world" link add wan type veth peer name wan netns "$lab-router" &&
    lab_step ip -n "$lab-router" link add lan type veth peer name lan netns "$lab-home" &&
    lab_step ip -n "$lab-world" addr add "$lab_server/24" dev wan &&
    lab_step ip -n "$lab-world" addr add "$lab_other/24" dev wan &&
    lab_step ip -n "$lab-router" addr add "$lab_router/24" dev wan &&
    lab_step ip -n "$lab-router" addr add 10.5.0.1/24 dev lan &&
    lab_step ip -n "$lab-home" addr add 10.5.0.2/24 dev lan || return 1
  for role in world router home; do lab_step ip -n "$lab-$role" link set lo up || return 1; done
  for role in world router; do lab_step ip -n "$lab-$role" link set wan up || return 1; done
  for role in router home; do lab_step ip -n "$lab-$role" link set lan up || return 1; done
  lab_step ip -n "$lab-home" route add default via 10.5.0.1 &&
    lab_step ip netns exec "$lab-router" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

# Runs one step of lab_up. It is a condition there, so a failure ends nothing by itself.
lab_step() {
  local said
  said=$("$@" 2>&1) || {
    lab_complaint="the lab cannot be made here: $*: $said"
    return 1
  }
}

lab_nat() {
  local ports="" forward=""
  case $1 in
    open)
      forward="ip daddr $lab_router meta l4proto udp dnat to 10.5.0.2"
      ;;
    restricted)
      forward="ip saddr $lab_server ip daddr $lab_router meta l4proto udp dnat to 10.5.0.2"
      ;;
    symmetric) ports="random,fully-random" ;;
    cone) ;;
  esac
  ip netns exec "$lab-router" nft -f - <<RULES
flush ruleset
table ip nat {
  chain back {
    type nat hook prerouting priority dstnat
    $forward
  }
  chain out {
    type nat hook postrouting priority srcnat
    ip saddr 10.5.0.0/24 masquerade $ports
  }
  chain input {
    type filter hook input priority filter
    iifname wan ct state new drop
  }
}
RULES
}

in_lab() {
  local role=$1
  shift
  ip netns exec "$lab-$role" "$@"
}

lab_down() {
  local role pid
  [[ -n $lab ]] || return 0
  for role in home router world; do
    # Whatever runs in them was started here.
    for pid in $(ip netns pids "$lab-$role" 2>/dev/null); do kill -KILL "$pid" || true; done
    ip netns del "$lab-$role" 2>/dev/null || true
  done
  lab=""
}
