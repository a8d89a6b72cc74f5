"""Exports: who may mount what, and how, as [export] says. The clients are addresses of
this machine's own loopback network."""

import os
import struct
import subprocess
import sys
import unittest

import grapevine
import nfs3
from nfs3 import ACCES, OK, ROFS, pack_opaque, pack_u32

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77  # What ns_exports.py then ends with.
ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
# READ, LOOKUP, MODIFY, EXTEND, DELETE: all that there is for a folder; and the first two.
ACCESS_ALL, ACCESS_LOOK = 0x1F, 0x03
NO_SATTR = pack_u32(0, 0, 0, 0, 0, 0)
WRITE_PROCEDURES = {"SETATTR": 2, "WRITE": 7, "CREATE": 8, "MKDIR": 9, "SYMLINK": 10,
                    "MKNOD": 11, "REMOVE": 12, "RMDIR": 13, "RENAME": 14, "LINK": 15}


def arguments(fh):
    """Arguments that each procedure takes for @fh, a folder's or a file's handle."""
    handle = pack_opaque(fh)
    name = pack_opaque(b"new")
    return {
        "GETATTR": (1, handle),
        "SETATTR": (2, handle + NO_SATTR + pack_u32(0)),
        "LOOKUP": (3, handle + name),
        "ACCESS": (4, handle + pack_u32(ACCESS_ALL)),
        "READLINK": (5, handle),
        "READ": (6, handle + struct.pack(">QI", 0, 10)),
        "WRITE": (7, handle + struct.pack(">QII", 0, 1, nfs3.FILE_SYNC) + pack_opaque(b"x")),
        "CREATE": (8, handle + name + pack_u32(nfs3.UNCHECKED) + NO_SATTR),
        "MKDIR": (9, handle + name + NO_SATTR),
        "SYMLINK": (10, handle + name + NO_SATTR + pack_opaque(b"to")),
        "MKNOD": (11, handle + name + pack_u32(7) + NO_SATTR),
        "REMOVE": (12, handle + name),
        "RMDIR": (13, handle + name),
        "RENAME": (14, handle + name + handle + pack_opaque(b"other")),
        "LINK": (15, handle + handle + name),
        "READDIR": (16, handle + struct.pack(">Q8sI", 0, b"", 4096)),
        "READDIRPLUS": (17, handle + struct.pack(">Q8sII", 0, b"", 4096, 8192)),
        "FSSTAT": (18, handle),
        "FSINFO": (19, handle),
        "PATHCONF": (20, handle),
        "COMMIT": (21, handle + struct.pack(">QI", 0, 0)),
    }


class Exports(grapevine.GrapevineTest):
    def one_node(self, *slugs, export=""):
        """A node with these zones, restarted with @export in its configuration."""
        gv = self.grapevine(1)
        for slug in slugs:
            gv.make_zone(slug, [0])
        self.configure(gv[0], export)
        return gv

    def configure(self, node, export):
        node.stop()
        node.export = export
        node.write_config()
        node.start()

    def client(self, gv, slug, source=ONE, user=(0, 0), groups=()):
        client = nfs3.Client(gv.servers(0), slug, source, user, groups)
        self.addCleanup(client.close)
        return client

    def denied(self, gv, slug, source):
        with self.assertRaises(nfs3.NfsError) as raised:
            self.client(gv, slug, source)
        self.assertEqual(raised.exception.status, ACCES)

    # Without a word, everyone may mount, and root is nobody.
    def test_defaults(self):
        gv = self.one_node("a")
        client = self.client(gv, "a", THREE)
        self.assertEqual(client.exports(), {"/": ["*"], "/a": ["*"]})
        with self.assertRaises(nfs3.NfsError) as raised:
            client.create(client.root, "f")  # The zone's root folder is root's.
        self.assertEqual(raised.exception.status, ACCES)

    # Of such a zone whoever makes it is told at once; not of one that can be written.
    def test_warned_of_owner(self):
        gv = self.one_node()
        base = ["--quota", "1GiB", "--member", gv[0].name]
        warned = [(["a", "--owner", "0:0"], "", True), (["b", "--owner", "7:7"], "", False),
                  (["c", "--owner", "0:0", "--mode", "1777"], "", False),
                  (["d", "--owner", "0:0"], "squash = none\n", False),
                  (["e", "--owner", "0:0"], "clients = 10.0.0.0/8 127.0.0.3\n", True),
                  (["f", "--owner", "0:0"],
                   "clients = 10.0.0.0/8 127.0.0.3(no_root_squash)\n", False)]
        for words, export, expected in warned:
            if gv[0].export != export:
                self.configure(gv[0], export)
            done = gv[0].gvraft("zone", "create", *words, *base)
            with self.subTest(words=words, export=export):
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual("squash = root" in done.stderr, expected, done.stderr)

    # Who is in a zone's list mounts it; who is not does not, nor "/" without being in that.
    def test_who_may_mount(self):
        gv = self.one_node("a", "b", "c", export=(
            "clients = 127.0.0.1\n"
            "[export b]\nclients = 127.0.0.2/31\n"
            "[export c]\nclients = none\n"
            "[export /]\nclients = 127.0.0.0/30\n"))
        for source, slugs in (ONE, "a"), (TWO, "b"), (THREE, "b"), ("127.0.0.4", ""):
            for slug in "abc":
                with self.subTest(source=source, slug=slug):
                    if slug in slugs:
                        self.client(gv, slug, source).getattr(
                            self.client(gv, slug, source).root)
                    else:
                        self.denied(gv, slug, source)
        self.denied(gv, "", "127.0.0.4")
        self.client(gv, "", THREE)

    # A handle does not help who may not use its zone: not with any procedure, and not
    # after the rules have changed.
    def test_handles_of_others(self):
        gv = self.one_node("a", export="squash = none\n")
        client = self.client(gv, "a", TWO)
        file = client.create(client.root, "f")
        client.close()
        self.configure(gv[0], "squash = none\nclients = 127.0.0.1\n")
        for fh in client.root, file:
            for name, (procedure, args) in arguments(fh).items():
                with self.subTest(procedure=name):
                    self.assertEqual(client.status(procedure, args), ACCES)
        client = self.client(gv, "a", ONE)
        self.assertEqual(client.names(client.root), ["f"])

    # "/" shows a client its zones, and no way into others.
    def test_root_folder(self):
        gv = self.one_node("a", "b", "c", export=(
            "[export b]\nclients = 127.0.0.2\n"
            "[export c]\nclients = 127.0.0.0/8\n"))
        client = self.client(gv, "", ONE)
        self.assertEqual(sorted(client.names(client.root)), ["a", "c"])
        self.assertEqual(client.getattr(client.root)["nlink"], 4)
        self.assertEqual(sorted(client.exports()), ["/", "/a", "/c"])
        client.getattr(client.lookup(client.root, "a"))
        with self.assertRaises(nfs3.NfsError) as raised:
            client.lookup(client.root, "b")
        self.assertEqual(raised.exception.status, ACCES)
        client = self.client(gv, "", TWO)
        self.assertEqual(sorted(client.names(client.root)), ["a", "b", "c"])
        self.assertEqual(client.exports()["/b"], ["127.0.0.2"])
        # From "/" one comes into a zone as who one is there.
        client.getattr(client.lookup(client.root, "b"))

    # What may only be read is read, and not changed by any procedure; ACCESS and FSINFO
    # say so before a client tries.
    def test_read_only(self):
        gv = self.one_node("a", export="squash = none\n")
        client = self.client(gv, "a")
        file = client.create(client.root, "f")
        client.write(file, 0, b"kept")
        self.configure(gv[0], "squash = none\nclients = 127.0.0.1 127.0.0.2(ro)\n"
                              "[export a]\nanonuid = 7\n")
        reader = self.client(gv, "a", TWO)
        for fh in file, client.root:
            for name, (procedure, args) in arguments(fh).items():
                status = reader.status(procedure, args)
                with self.subTest(procedure=name):
                    if name in WRITE_PROCEDURES:
                        self.assertEqual(status, ROFS)
                    else:
                        self.assertNotEqual(status, ROFS)
        self.assertEqual(reader.read_all(file), b"kept")
        self.assertEqual(reader.names(reader.root), ["f"])

        def access(client):
            reply = client.nfs("ACCESS", 4, pack_opaque(client.root) + pack_u32(ACCESS_ALL))
            reply.post_op_attr()
            return reply.u32()

        def properties(client):
            reply = client.nfs("FSINFO", 19, pack_opaque(client.root))
            reply.post_op_attr()
            reply.take(44)
            return reply.u32()

        self.assertEqual(access(client), ACCESS_ALL)
        self.assertEqual(access(reader), ACCESS_LOOK)
        self.assertEqual(properties(client), 0x1B)
        self.assertEqual(properties(reader), 0x0B)  # Times cannot be set.
        client.write(file, 0, b"KEPT")
        self.assertEqual(reader.read_all(file), b"KEPT")

    # Root is not root, neither as a user, nor as a group, nor as the last of sixteen
    # groups; where it is let, it is in all three.
    def test_root_squash(self):
        gv = self.one_node("a", export=(
            "clients = 127.0.0.1(no_root_squash) 127.0.0.2(anonuid=70,anongid=71)\n"))
        root = self.client(gv, "a", ONE)
        roots = root.create(root.root, "roots", mode=0o640)
        root.write(roots, 0, b"secret")
        root.nfs("SETATTR", 2, pack_opaque(root.root) + pack_u32(1, 0o777, 0, 0, 0, 0, 0, 0))
        groups = tuple(range(100, 115)) + (0,)
        for source, status in (ONE, OK), (TWO, ACCES):
            for user, more in ((0, 0), ()), ((500, 0), ()), ((500, 500), groups):
                client = self.client(gv, "a", source, user, more)
                with self.subTest(source=source, user=user, groups=more):
                    self.assertEqual(client.status(*arguments(roots)["READ"]), status)
        for user, owner in ((0, 0), (70, 71)), ((500, 0), (500, 71)), ((0, 9), (70, 71)), \
                ((500, 501), (500, 501)):
            client = self.client(gv, "a", TWO, user)
            attr = client.getattr(client.create(client.root, "f%d-%d" % user))
            self.assertEqual((attr["uid"], attr["gid"]), owner)

    # All are the anonymous user: what they own, and what they may do.
    def test_all_squash(self):
        gv = self.one_node("a", export="squash = all\nanonuid = 70\nanongid = 71\n"
                                       "[export a]\nclients = * 127.0.0.1(no_all_squash,"
                                       "no_root_squash)\n")
        root = self.client(gv, "a", ONE)
        root.nfs("SETATTR", 2, pack_opaque(root.root) + pack_u32(1, 0o777, 0, 0, 0, 0, 0, 0))
        client = self.client(gv, "a", TWO, (500, 501), (502, 503))
        attr = client.getattr(client.create(client.root, "f"))
        self.assertEqual((attr["uid"], attr["gid"]), (70, 71))
        # A group that the user has at home does not count here.
        group = root.create(root.root, "group", mode=0o040)
        root.nfs("SETATTR", 2, pack_opaque(group) + pack_u32(0, 0, 1, 502, 0, 0, 0, 0))
        self.assertEqual(client.status(*arguments(group)["READ"]), ACCES)

    # Rules for a zone that there is not hinder nothing, are told, and are there before
    # anybody can use the zone without them.
    def test_zone_that_comes_later(self):
        gv = self.one_node("a", export="[export later]\nclients = 127.0.0.2\n")
        node = gv[0]
        told = "[export later] is for a zone that there is not"
        self.assertIn(told, node.log_tail(100))
        status = node.gvraft("status")
        self.assertEqual(status.returncode, 0)
        self.assertIn("%s:9: %s" % (node.config, told), status.stderr)
        gv.make_zone("later", [0])
        self.denied(gv, "later", ONE)
        self.client(gv, "later", TWO)
        self.assertEqual(node.gvraft("status").stderr, "")
        self.assertIn("[export later] is in use now", node.log_tail(100))

    # Each client that mounted is told of until it unmounts, to those who could mount the
    # same.
    def test_dump(self):
        gv = self.one_node("a", "b", export="[export b]\nclients = 127.0.0.2\n")
        one = self.client(gv, "a", ONE)
        two = self.client(gv, "b", TWO)
        self.assertEqual(one.mounts(), [(ONE, "/a")])
        self.assertEqual(two.mounts(), [(ONE, "/a"), (TWO, "/b")])
        two.call(nfs3.MOUNT_PROGRAM, 3, pack_opaque(b"/b/"))
        self.assertEqual(two.mounts(), [(ONE, "/a")])
        one.call(nfs3.MOUNT_PROGRAM, 4, b"")
        self.assertEqual(two.mounts(), [])


class Namespace(unittest.TestCase):
    """What needs a network of its own: ns_exports.py has the cases, and says of each what
    it shows."""

    def run_case(self, name):
        unshare = ["unshare", "--net", "--mount", "--propagation", "private"]
        if os.geteuid() != 0:
            self.skipTest("a network namespace needs root")
        if subprocess.run(unshare + ["true"], stdin=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("this environment allows no namespaces")
        done = subprocess.run(
            unshare + [sys.executable, os.path.join(HERE, "ns_exports.py"), name],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=600)
        if done.returncode == SKIPPED:
            self.skipTest(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_families(self):
        self.run_case("families")

    def test_showmount(self):
        self.run_case("showmount")

    def test_plain_user(self):
        self.run_case("plain_user")

    def test_no_rpcbind(self):
        self.run_case("no_rpcbind")

    def test_others(self):
        self.run_case("others")
