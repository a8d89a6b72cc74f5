"""A network of nodes in namespaces, whose links can be cut in each direction by itself.

Runs within namespaces of its own (network and mounts): `enter` makes them. The one it
runs in is the router, and the clients' machine: each node has a namespace with one address and
one link to it. A cut is a rule of the router by which what comes from one address for another
vanishes without a word: a cable, not a closed door. Needs ip and tc; no packet filter.
"""

import ctypes
import os
import subprocess
import sys

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
CLIENTS = "10.66.100.1"  # The first; 31 more follow.
CLIENTS_NET = "10.66.100.0/24"
ENTERED = "GV_NEMESIS_ENTERED"


def unshare_command():
    """What gives a process such namespaces here; None if nothing does."""
    for user in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *user, "--net", "--mount", "--propagation", "private"]
        try:
            done = subprocess.run(
                command + ["sh", "-c", "ip link add v0 type veth peer name v1"
                           " && mount -t tmpfs tmpfs /run && ip netns add n0"
                           " && ip rule add from 10.66.0.1 to 10.66.0.2 blackhole"
                           " && echo 1 >/proc/sys/net/ipv4/ip_forward"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
        except OSError:
            return None
        if done.returncode == 0:
            return command
    return None


def enter(words):
    """Come back in namespaces of one's own, or not at all: run this program in them."""
    if os.environ.get(ENTERED):
        return
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    command = unshare_command()
    if command is None:
        print("this environment allows no network namespaces")
        sys.exit(77)
    os.environ[ENTERED] = "1"
    os.execvp(command[0], command + [sys.executable] + words)


def sh(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise OSError("%s: %s" % (" ".join(command), done.stdout.strip()))


def address(i):
    return "10.66.%d.2" % i


class Net:
    def __init__(self, n):
        self.n = n
        self.cuts = {}  # (from, to) -> how many want it cut.
        self.slowed = {}
        sh("mount", "-t", "tmpfs", "tmpfs", "/run")
        sh("ip", "link", "set", "lo", "up")
        for k in range(32):
            sh("ip", "addr", "add", "10.66.100.%d/32" % (k + 1), "dev", "lo")
        with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as f:
            f.write("1")
        # Cuts come before the table of the router's own addresses, which are the clients'.
        sh("ip", "rule", "add", "pref", "1000", "lookup", "local")
        sh("ip", "rule", "del", "pref", "0")
        for i in range(n):
            self.add(i)

    def add(self, i):
        name, link = "n%d" % i, "v%d" % i
        sh("ip", "netns", "add", name)
        sh("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        sh("ip", "addr", "add", "10.66.%d.1/24" % i, "dev", link)
        sh("ip", "link", "set", link, "up")
        sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "-n", name, "addr", "add", address(i) + "/24", "dev", "eth0")
        sh("ip", "-n", name, "link", "set", "eth0", "up")
        sh("ip", "-n", name, "route", "add", "default", "via", "10.66.%d.1" % i)

    def preexec(self, i, then):
        """For a process that is to run in node @i's namespace."""
        path = "/run/netns/n%d" % i

        def run():
            fd = os.open(path, os.O_RDONLY)
            if LIBC.setns(fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(fd)
            then()
        return run

    @staticmethod
    def rule(verb, source, target):
        sh("ip", "rule", verb, "pref", "10", "from", source, "to", target, "blackhole")

    def place(self, who):
        return CLIENTS_NET if who == "clients" else address(who)

    def cut(self, source, target):
        """What @source sends @target vanishes; each is a node or "clients"."""
        wanted = self.cuts.get((source, target), 0)
        if wanted == 0:
            self.rule("add", self.place(source), self.place(target))
        self.cuts[source, target] = wanted + 1

    def mend(self, source, target):
        self.cuts[source, target] -= 1
        if self.cuts[source, target] == 0:
            self.rule("del", self.place(source), self.place(target))

    def slow(self, i, mbit=4):
        """What goes to node @i waits in a narrow link, and is dropped when it is full."""
        if not self.slowed.get(i):
            sh("tc", "qdisc", "add", "dev", "v%d" % i, "root", "tbf", "rate",
               "%dmbit" % mbit, "burst", "8kb", "latency", "150ms")
        self.slowed[i] = self.slowed.get(i, 0) + 1

    def quicken(self, i):
        self.slowed[i] -= 1
        if not self.slowed[i]:
            sh("tc", "qdisc", "del", "dev", "v%d" % i, "root")
