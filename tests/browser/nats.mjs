// What a router does to packets, as nftables rules. A kind is one or more of these words, separated
// by spaces:
//
//   symmetric    another public port for each destination: no direct path through two of these
//   cone         keeps the port where it can, lets in only answers ("port-restricted cone")
//   no-udp       UDP is dropped, and TCP goes to the server only, as in many offices
//   only-443     nothing goes out but TCP to port 443 of the server
//   lossy        one packet in twenty is lost, both ways
export function ruleset(kind, server, { wan }) {
  const words = new Set(kind.split(' '));
  const office = `meta l4proto udp drop\nip saddr != ${server} ip daddr != ${server} drop`;
  const one = `ip saddr != ${server} ip daddr != ${server} drop
    ip daddr ${server} tcp dport != 443 drop
    ip saddr ${server} tcp sport != 443 drop
    meta l4proto != tcp drop`;
  const translate = words.has('symmetric') ? 'masquerade random,fully-random' : 'masquerade';
  return `
    flush ruleset
    table ip hairpin {
      chain translate {
        type nat hook postrouting priority srcnat
        oifname "wan" ${translate}
      }
      chain input {
        type filter hook input priority filter
        # Without this, a probe that comes before the hole is punched occupies the port that the
        # hole needs.
        iifname "wan" ct state new drop
      }
      chain forward {
        type filter hook forward priority filter
        iifname "wan" ct state new drop
        ${words.has('no-udp') ? office : ''}
        ${words.has('only-443') ? one : ''}
        ${words.has('lossy') ? 'numgen random mod 100 < 5 drop' : ''}
      }
    }
  `;
}
