#!/usr/bin/env python3
"""What test_exports.py needs a network of its own for: a wildcard listener, IPv6, rpcbind
and showmount. Runs in new network and mount namespaces, one case for each run.

    ns_exports.py CASE

Exit status 0; 77 if a program is missing, with its name; 1 and a traceback if it failed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import grapevine
import nfs3
from grapevine import wait

FOUR, SIX = "192.0.2.7", "2001:db8::7"
NFS, MOUNT = 100003, 100005
SKIPPED = 77


def sh(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, "%s: status %d\n%s" % (
        " ".join(command), done.returncode, done.stdout)
    return done.stdout


class Case:
    """A node that listens everywhere, and perhaps an rpcbind."""

    def __init__(self, tmp):
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "addr", "add", FOUR + "/32", "dev", "lo")
        sh("ip", "-6", "addr", "add", SIX + "/128", "dev", "lo", "nodad")
        sh("mount", "-t", "tmpfs", "tmpfs", "/run")
        self.gv = grapevine.Grapevine(tmp)
        self.rpcbind = None

    def end(self):
        self.gv.end()
        self.end_rpcbind()

    def start(self, export="", listen="[::]", user=None):
        """One node with zones a and b, and this in its configuration."""
        node = self.gv.nodes[0] if self.gv.nodes else None
        if node is None:
            node = self.gv.add_node()
            for slug in "a", "b":
                self.gv.make_zone(slug, [0])
        node.stop()
        node.listen = listen
        node.export = export
        node.user = user
        node.write_config()
        if user is not None:
            sh("chown", "-R", str(user), node.dir)
        node.start()
        return node

    def start_rpcbind(self):
        self.rpcbind = subprocess.Popen(["rpcbind", "-f"], stdin=subprocess.DEVNULL,
                                        preexec_fn=grapevine.die_with_parent)
        # It answers: its own registration is there.
        wait(lambda: (100000, 2, "tcp") in self.registered(), "rpcbind answers")

    def end_rpcbind(self):
        if self.rpcbind:
            self.rpcbind.kill()
            self.rpcbind.wait()
            self.rpcbind = None

    def registered(self):
        """What rpcbind knows by its version 4 list: (program, version, netid) -> (address,
        owner)."""
        found = {}
        for line in sh("rpcinfo", "127.0.0.1").splitlines()[1:]:
            words = line.split()
            found[int(words[0]), int(words[1]), words[2]] = (words[3], words[-1])
        return found

    def ours(self):
        return {key: value for key, value in self.registered().items() if key[0] in (NFS, MOUNT)}

    def client(self, slug, source):
        host = SIX if ":" in source else FOUR
        return nfs3.Client([(host, self.gv[0].nfs_port)], slug, source, (0, 0))

    def denied(self, slug, source):
        try:
            self.client(slug, source)
        except nfs3.NfsError as e:
            return e.status == nfs3.ACCES
        return False


def universal(host, port):
    return "%s.%d.%d" % (host, port >> 8, port & 255)


# One listener takes IPv4 and IPv6: IPv4 clients, whose addresses then look like IPv6, fall
# under IPv4 rules and not under "all of IPv6".
def case_families(case):
    case.start("[export a]\nclients = 192.0.2.0/24 ::1\n[export b]\nclients = ::/0(ro)\n")
    case.client("a", FOUR).getattr(case.client("a", FOUR).root)
    case.client("a", "::1")
    assert case.denied("a", SIX)
    assert case.denied("a", "127.0.0.1")
    assert case.denied("b", FOUR)
    client = case.client("b", SIX)
    assert client.status(9, nfs3.pack_opaque(client.root) + nfs3.pack_opaque(b"x")
                         + nfs3.pack_u32(0, 0, 0, 0, 0, 0)) == nfs3.ROFS
    assert case.client("", FOUR).exports() == {
        "/": ["*"], "/a": ["192.0.2.0/24", "::1"]}, case.client("", FOUR).exports()


# showmount finds the service through rpcbind, shows lists and mounts; the end of the
# daemon takes back what it had registered, and nothing else.
def case_showmount(case):
    case.start_rpcbind()
    before = case.registered()
    node = case.start("[export b]\nclients = 192.0.2.0/24 2001:db8::/32 127.0.0.1\n")
    wait(lambda: len(case.ours()) == 4, "registered")
    assert {key: value[0] for key, value in case.ours().items()} == {
        (program, 3, netid): universal(host, node.nfs_port)
        for program in (NFS, MOUNT) for netid, host in (("tcp", "0.0.0.0"), ("tcp6", "::"))}
    shown = sh("showmount", "--no-headers", "-e", "127.0.0.1").splitlines()
    assert sorted(line.split(None, 1)[1] for line in shown) == sorted(
        ["*", "*", "192.0.2.0/24,2001:db8::/32,127.0.0.1"]), shown
    assert [line.split()[0] for line in shown] == ["/", "/a", "/b"], shown
    case.client("b", FOUR)
    shown = sh("showmount", "--no-headers", "-a", "127.0.0.1").split()
    assert shown == ["192.0.2.7:/b"], shown
    assert node.stop() == 0
    assert case.registered() == before, case.registered()


# A daemon that is not root registers as its own user, and takes it back.
def case_plain_user(case):
    case.start_rpcbind()
    os.chmod(case.gv.base, 0o755)
    node = case.start(user=12345, listen=FOUR)
    wait(lambda: len(case.ours()) == 2, "registered")
    assert case.ours() == {
        (program, 3, "tcp"): (universal(FOUR, node.nfs_port), "12345")
        for program in (NFS, MOUNT)}, case.ours()
    assert node.stop() == 0
    assert case.ours() == {}, case.ours()


# Without rpcbind, with "rpcbind = no", or on loopback, nothing is registered, and the
# daemon starts and ends as always. One that does not answer holds neither up.
def case_no_rpcbind(case):
    node = case.start()
    wait(lambda: "no rpcbind answers here" in node.log_tail(50), "it is said")
    assert node.stop() == 0
    case.start_rpcbind()
    node = case.start()
    wait(lambda: len(case.ours()) == 4, "registered")
    node.stop()
    with open(node.config, encoding="utf-8") as f:
        text = f.read()
    node.write_config(text.replace("[listen]\n", "[listen]\nrpcbind = no\n"))
    node.start()
    case.client("a", FOUR)
    assert case.ours() == {}, case.ours()
    node = case.start(listen="127.0.0.1")
    assert case.ours() == {}, case.ours()
    case.rpcbind.send_signal(signal.SIGSTOP)
    node = case.start()
    case.client("a", FOUR).getattr(case.client("a", FOUR).root)
    assert node.stop() == 0
    case.rpcbind.send_signal(signal.SIGCONT)


# What another server has registered is left alone, at the start and at the end, and is
# said; after a crash the daemon finds its own registration.
def case_others(case):
    case.start_rpcbind()
    sh("python3", "-c", "import sys; sys.path.insert(0, %r); import ns_exports; "
       "ns_exports.set_registration(%d, 'tcp', '0.0.0.0.8.1')" % (HERE, NFS))
    node = case.start(listen="0.0.0.0")
    wait(lambda: "rpcbind refuses" in node.log_tail(50), "the refusal is logged")
    assert case.ours()[NFS, 3, "tcp"][0] == "0.0.0.0.8.1"
    assert case.ours()[MOUNT, 3, "tcp"][0] == universal("0.0.0.0", node.nfs_port)
    case.client("a", FOUR)
    assert node.stop() == 0
    assert list(case.ours()) == [(NFS, 3, "tcp")], case.ours()
    sh("rpcinfo", "-d", str(NFS), "3")
    node.start()
    wait(lambda: len(case.ours()) == 2, "registered")
    node.kill()
    assert len(case.ours()) == 2
    lines = len(node.log_tail(1000).splitlines())
    node.start()
    wait(lambda: any("registered with rpcbind" in line
                     for line in node.log_tail(1000).splitlines()[lines:]), "registered again")
    assert node.stop() == 0
    assert case.ours() == {}, case.ours()


def set_registration(program, netid, address):
    """RPCBPROC_SET over the local socket, as any server does it."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("/run/rpcbind.sock")
        call = nfs3.pack_u32(1, 0, 2, 100000, 3, 1, 0, 0, 0, 0, program, 3)
        for text in netid, address, "":
            call += nfs3.pack_opaque(text.encode())
        s.sendall(nfs3.pack_u32(0x80000000 | len(call)) + call)
        reply = s.recv(1000)
        assert reply[-4:] == nfs3.pack_u32(1), reply


CASES = {name[5:]: value for name, value in list(globals().items()) if name.startswith("case_")}


def main(words):
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in "ip", "rpcbind", "rpcinfo", "showmount":
        if not shutil.which(program):
            print("there is no " + program)
            return SKIPPED
    with tempfile.TemporaryDirectory(prefix="gv-ns-") as tmp:
        case = Case(tmp)
        try:
            CASES[words[0]](case)
        except BaseException:
            for node in case.gv.nodes:
                print("-- the end of %s's log\n%s" % (node.name, node.log_tail(15)))
            raise
        finally:
            case.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
