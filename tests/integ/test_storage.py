"""What lies in the pools: files of the largest size, and nothing that is of no use."""

import os
import struct

import grapevine
import nfs3

FILE_MAX = 1 << 43


def set_size(client, fh, size):
    args = nfs3.pack_opaque(fh) + struct.pack(">IIIIQIII", 0, 0, 0, 1, size, 0, 0, 0)
    client.nfs("SETATTR", 2, args)


def allocated(folder):
    """Bytes of disk under a folder."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def pulled_files(dataset):
    """What was pulled and lies beside the files it belongs to."""
    return [name for folder in os.listdir(dataset) if folder.startswith("pull.")
            for _, _, names in os.walk(os.path.join(dataset, folder)) for name in names]


def written_bytes(node):
    """What a daemon made the disk write, or yet will have to."""
    with open("/proc/%d/io" % node.process.pid, encoding="ascii") as f:
        return int(dict(line.split(": ") for line in f)["write_bytes"])


class Storage(grapevine.GrapevineTest):
    # What a zone takes, every member's file system has to hold once it settles: up to
    # 8 TiB, and not a byte more.
    def test_largest_file(self):
        gv = self.grapevine(1)
        gv.make_zone("far", [0], quota="1GiB")
        client = gv.client("far", 0)
        fh = client.create(client.root, "far")
        client.write(fh, FILE_MAX - 9000, b"x" * 9000)
        for refused in (lambda: client.write(fh, FILE_MAX - 1, b"xy"),
                        lambda: client.write(fh, 20 << 40, b"x" * 9000),
                        lambda: set_size(client, fh, 20 << 40)):
            with self.assertRaises(nfs3.NfsError) as caught:
                refused()
            self.assertEqual(caught.exception.status, 27)  # NFS3ERR_FBIG
        set_size(client, fh, FILE_MAX)
        self.assertEqual(client.getattr(fh)["size"], FILE_MAX)

    def short_journals(self, gv):
        for node in gv.nodes:
            node.stop()
            node.write_config(node.config_text() + "[zones]\njournal_bytes = 64MiB\n")
            node.start()

    def fill(self, client, files):
        for fh in files:
            for i in range(10):  # More than a log of that size keeps.
                client.write(fh, i << 20, os.urandom(1 << 20))

    # A new member writes what it pulls once, to where it stays: when it votes, nothing is
    # left to settle. What is removed gives its room back, although nobody writes and the
    # journals are short.
    def test_new_member_writes_once(self):
        gv = self.grapevine(2)
        self.short_journals(gv)
        gv.make_zone("z", [0], quota="1GiB")
        client = gv.client("z", 0)
        files = [client.create(client.root, "f%d" % i) for i in range(8)]
        self.fill(client, files)
        before = written_bytes(gv[1])
        gv[0].ask("zone", "add-member", "z", gv[1].name)
        gv.wait_settled("z", 2)
        dataset = os.path.join(gv[1].pools["tank"], "z")
        data = os.path.join(dataset, "data")
        self.assertGreaterEqual(allocated(data), 80 << 20)
        # 80 MiB of data; ballast and the first segments of its journal are some 50 MiB more.
        self.assertLess(written_bytes(gv[1]) - before, 170 << 20)
        self.assertEqual([], pulled_files(dataset))
        self.assertTrue(gv.same_digests("z"))
        for fh in files:
            set_size(client, fh, 0)
        grapevine.wait(lambda: allocated(data) == 0, "room to come back")

    # A member that was away has old bytes in its files, which it may have to go on with:
    # what it pulls of those lies beside, and moves to them afterwards.
    def test_member_that_was_away_settles(self):
        gv = self.grapevine(3)
        self.short_journals(gv)
        gv.make_zone("z", [0, 1, 2], quota="1GiB")
        gv.wait_settled("z", 3)
        client = gv.client("z", 0)
        files = [client.create(client.root, "f%d" % i) for i in range(8)]
        self.fill(client, files)
        gv.wait_settled("z", 3)
        away = next(n for n in reversed(gv.nodes) if n is not gv.leader("z") and n is not gv[0])
        dataset = os.path.join(away.pools["tank"], "z")
        away.stop()
        self.fill(client, files)
        away.start()
        gv.wait_settled("z", 3)
        with open(os.path.join(dataset, "marker"), encoding="ascii") as f:
            self.assertIn("generation 1\n", f.read())
        grapevine.wait(lambda: not pulled_files(dataset), "pulled blocks to settle")
        self.assertGreaterEqual(allocated(os.path.join(dataset, "data")), 60 << 20)
        self.assertTrue(gv.same_digests("z"))

    # A new member is killed while it pulls, again and again: it goes on with what it has.
    def test_new_member_is_killed(self):
        gv = self.grapevine(2)
        self.short_journals(gv)
        gv.make_zone("z", [0], quota="1GiB")
        client = gv.client("z", 0)
        self.fill(client, [client.create(client.root, "f%d" % i) for i in range(12)])
        data = os.path.join(gv[1].pools["tank"], "z", "data")
        gv[0].ask("zone", "add-member", "z", gv[1].name)
        for mib in (4, 40, 80):
            grapevine.wait(lambda mib=mib: allocated(data) >= mib << 20, "%d MiB" % mib)
            gv[1].kill()
            gv[1].start()
        gv.wait_settled("z", 2)
        self.assertTrue(gv.same_digests("z"))
        self.assertEqual([], pulled_files(os.path.dirname(data)))
