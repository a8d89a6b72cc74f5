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

    # A new member's pulled blocks move to their files, and what is removed gives its room
    # back, although nobody writes and the journals are short.
    def test_rest_settles(self):
        gv = self.grapevine(2)
        for node in gv.nodes:
            node.stop()
            node.write_config(node.config_text() + "[zones]\njournal_bytes = 64MiB\n")
            node.start()
        gv.make_zone("z", [0], quota="1GiB")
        client = gv.client("z", 0)
        files = [client.create(client.root, "f%d" % i) for i in range(8)]
        for fh in files:
            for i in range(10):  # More than a log of that size keeps.
                client.write(fh, i << 20, os.urandom(1 << 20))
        gv[0].ask("zone", "add-member", "z", gv[1].name)
        gv.wait_settled("z", 2)
        dataset = os.path.join(gv[1].pools["tank"], "z")
        data = os.path.join(dataset, "data")
        pulled = [name for name in os.listdir(dataset) if name.startswith("pull.")]
        self.assertTrue(pulled)
        grapevine.wait(lambda: allocated(os.path.join(dataset, pulled[0])) == 0,
                       "pulled blocks to settle")
        self.assertGreaterEqual(allocated(data), 60 << 20)
        for fh in files:
            set_size(client, fh, 0)
        grapevine.wait(lambda: allocated(data) == 0, "room to come back")
