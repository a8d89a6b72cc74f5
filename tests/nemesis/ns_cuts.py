#!/usr/bin/env python3
"""What test_nemesis.py needs namespaces for: cuts in net.py do what they say. Exit status 0;
77 where there are no namespaces; 1 and a traceback if one does not."""

import ctypes
import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import net

PORT = 7007
SECONDS_LOST = 1  # A datagram that is not there by then does not come.


def socket_in(i, host):
    """A UDP socket in node @i's namespace; None: in the router's."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = here if i is None else os.open("/run/netns/n%d" % i, os.O_RDONLY)
    for fd in (there, here):
        if fd is there:
            assert net.LIBC.setns(fd, net.CLONE_NEWNET) == 0, ctypes.get_errno()
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind((host, PORT))
            s.settimeout(SECONDS_LOST)
        if fd is here:
            assert net.LIBC.setns(fd, net.CLONE_NEWNET) == 0, ctypes.get_errno()
    return s


class Cables:
    def __init__(self, network):
        self.sockets = {i: socket_in(i, net.address(i)) for i in range(network.n)}
        self.sockets["clients"] = socket_in(None, net.CLIENTS)
        self.sent = 0

    def host(self, who):
        return net.CLIENTS if who == "clients" else net.address(who)

    def goes(self, source, target):
        self.sent += 1
        text = b"%d" % self.sent
        self.sockets[source].sendto(text, (self.host(target), PORT))
        try:
            return self.sockets[target].recv(100) == text
        except TimeoutError:
            return False


def main():
    net.enter([os.path.abspath(__file__)])
    network = net.Net(3)
    cables = Cables(network)
    pairs = [(0, 1), (1, 0), (0, 2), (2, "clients"), ("clients", 2)]
    assert all(cables.goes(*pair) for pair in pairs)
    network.cut(0, 1)
    network.cut(0, 1)
    network.cut(2, "clients")
    assert [cables.goes(*pair) for pair in pairs] == [False, True, True, False, True]
    network.mend(0, 1)
    assert not cables.goes(0, 1)
    network.mend(0, 1)
    network.mend(2, "clients")
    network.slow(1)
    assert all(cables.goes(*pair) for pair in pairs)
    network.quicken(1)
    assert all(cables.goes(*pair) for pair in pairs)


if __name__ == "__main__":
    main()
