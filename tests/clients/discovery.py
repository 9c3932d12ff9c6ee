#!/usr/bin/env python3
"""What the NAT in front of this machine does, as RFC 5780 finds it out: an opinion beside that of
coturn's turnutils_natdiscovery. Knows nothing of hairpin.

Usage: discovery.py ADDRESS PORT     prints three lines, "mapping: …", "filtering: …", "hairpinning: …"
"""
import os
import socket
import struct
import sys

COOKIE = 0x2112A442
BINDING, SUCCESS = 0x0001, 0x0101
CHANGE_REQUEST, XOR_MAPPED_ADDRESS, OTHER_ADDRESS = 0x0003, 0x0020, 0x802C
CHANGE_IP, CHANGE_PORT = 4, 2
TRIES, PATIENCE = 4, 0.3


def request(flags=None):
    value = b"" if flags is None else struct.pack("!HHI", CHANGE_REQUEST, 4, flags)
    return struct.pack("!HHI", BINDING, len(value), COOKIE) + os.urandom(12) + value


def attributes(message):
    found, at = {}, 20
    while at + 4 <= len(message):
        kind, length = struct.unpack_from("!HH", message, at)
        found.setdefault(kind, message[at + 4 : at + 4 + length])
        at += 4 + (length + 3) // 4 * 4
    return found


def address(value, xor):
    _, family, port = struct.unpack_from("!BBH", value)
    if family != 1:
        sys.exit("this client is for IPv4")
    (ip,) = struct.unpack_from("!I", value, 4)
    if xor:
        port, ip = port ^ COOKIE >> 16, ip ^ COOKIE
    return socket.inet_ntoa(struct.pack("!I", ip)), port


def ask(local, to, flags=None):
    """(mapped address, OTHER-ADDRESS), or None if nobody answers."""
    asked = request(flags)
    local.settimeout(PATIENCE)
    for _ in range(TRIES):
        local.sendto(asked, to)
        try:
            while True:
                answer, _ = local.recvfrom(2048)
                if answer[4:20] == asked[4:20] and struct.unpack_from("!H", answer)[0] == SUCCESS:
                    break
        except TimeoutError:
            continue
        found = attributes(answer)
        other = found.get(OTHER_ADDRESS)
        return address(found[XOR_MAPPED_ADDRESS], True), other and address(other, False)
    return None


def fresh():
    local = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    local.bind(("", 0))
    return local


def know(server):
    local = fresh()
    answer = ask(local, server)
    if answer is None:
        sys.exit("no answer over UDP")
    mapped, other = answer
    if other is None:
        sys.exit("the server has no other address")
    return local, mapped, other


def mapping(server):
    local, first, other = know(server)
    second = ask(local, (other[0], server[1]))
    third = ask(local, other)
    if second is None or third is None:
        sys.exit("the server's other address does not answer")
    if second[0] == first:
        return "endpoint-independent"
    return "address-dependent" if third[0] == second[0] else "address-and-port-dependent"


def filtering(server):
    local, _, _ = know(server)
    if ask(local, server, CHANGE_IP | CHANGE_PORT):
        return "endpoint-independent"
    return "address-dependent" if ask(local, server, CHANGE_PORT) else "address-and-port-dependent"


def hairpinning(server):
    local, mapped, _ = know(server)
    sender, asked = fresh(), request()
    for _ in range(TRIES):
        sender.sendto(asked, mapped)
        try:
            while True:
                if local.recvfrom(2048)[0] == asked:
                    return "yes"
        except TimeoutError:
            pass
    return "no"


if __name__ == "__main__":
    where = sys.argv[1], int(sys.argv[2])
    print("mapping:", mapping(where))
    print("filtering:", filtering(where))
    print("hairpinning:", hairpinning(where))
