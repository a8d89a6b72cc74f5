"""What the kernel's client never shows: verifiers and guards on the wire, over two nodes;
and that reads cost no log entry. The rest of POSIX is in tests/kernel/cases_posix.py."""

import grapevine
import nfs3


class Posix(grapevine.GrapevineTest):
    # The verifier is replicated: who made a file finds it again through another node, with
    # a new xid, and nobody else does. Once its attributes are set it is like any other.
    def test_exclusive_create_over_two_nodes(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        one, other = gv.client("tier-1", 0), gv.client("tier-1", 1)
        for i in range(20):
            name = "file%d" % i
            fh = one.create_exclusive(one.root, name, b"verifier")
            self.assertEqual(other.create_exclusive(other.root, name, b"verifier"), fh)
            with self.assertRaises(nfs3.NfsError) as caught:
                other.create_exclusive(other.root, name, b"foreign!")
            self.assertEqual(caught.exception.status, nfs3.EXIST)
            other.chmod(fh, 0o640)
            self.assertEqual(one.getattr(fh)["mode"], 0o640)
            with self.assertRaises(nfs3.NfsError) as caught:
                one.create_exclusive(one.root, name, b"verifier")
            self.assertEqual(caught.exception.status, nfs3.EXIST)

    # Of two clients that saw the same ctime one changes the object, the other is told that
    # it was too late.
    def test_guarded_setattr_over_two_nodes(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        one, other = gv.client("tier-1", 0), gv.client("tier-1", 1)
        fh = one.create(one.root, "file")
        for i in range(20):
            ctime = other.getattr(fh)["ctime"]
            one.chmod(fh, 0o600 + i % 8, ctime)
            with self.assertRaises(nfs3.NfsError) as caught:
                other.chmod(fh, 0o777, ctime)
            self.assertEqual(caught.exception.status, nfs3.NOT_SYNC)
            self.assertEqual(other.getattr(fh)["mode"], 0o600 + i % 8)

    # Reading moves the atime that this node shows, and neither the log nor the atime that
    # others show.
    def test_reads_make_no_entries(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        clients = [gv.client("tier-1", i) for i in range(3)]
        fh = clients[0].create(clients[0].root, "file")
        clients[0].write(fh, 0, b"data")
        before = clients[1].getattr(fh)
        gv.wait_settled("tier-1", 3)
        index = gv[0].zone("tier-1")["commit_index"]
        last = before["atime"]
        for _ in range(50):
            self.assertEqual(clients[1].read_all(fh), b"data")
            self.assertEqual(clients[1].names(clients[1].root), ["file"])
            now = clients[1].getattr(fh)["atime"]
            self.assertGreater(now, last)
            last = now
        self.assertGreaterEqual(last, before["ctime"])
        self.assertEqual(clients[2].getattr(fh)["atime"], before["atime"])
        gv.wait_settled("tier-1", 3)
        self.assertEqual(gv[0].zone("tier-1")["commit_index"], index)
