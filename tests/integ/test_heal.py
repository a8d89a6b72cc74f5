"""Flipped bits on one member's disk: readers get right bytes, and the disk is good again."""

import os
import random
import sqlite3
import struct

import grapevine
import nfs3

BLOCK = 131072
EIO = 5


def files_below(folder):
    for path, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(path, name)


def find(folder, mark):
    """Where @mark is below @folder: (path, offset)."""
    for path in files_below(folder):
        with open(path, "rb") as f:
            data = f.read()
        at = data.find(mark)
        while at >= 0:
            yield path, at
            at = data.find(mark, at + 1)


def flip(path, offset):
    with open(path, "r+b", buffering=0) as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 0x10]))


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def seal(path):
    """Make the checksums of a database's pages right, where pages have any."""
    with open(path, "r+b") as f:
        data = bytearray(f.read())
        if data[20] != 8:  # Reserved bytes of each page.
            return
        size = struct.unpack(">H", data[16:18])[0]
        for at in range(0, len(data), size):
            if any(data[at:at + size]):
                crc = crc32c(struct.pack("<Q", at // size) + data[at:at + size - 8])
                data[at + size - 8:at + size] = struct.pack("<II", crc, 0)
        f.seek(0)
        f.write(data)


class Damage(grapevine.GrapevineTest):
    def zone(self, n):
        """A zone whose journals are small, so that what is written settles soon."""
        gv = self.grapevine(n)
        for node in gv.nodes:
            node.stop()
            node.write_config(node.config_text() + "[zones]\njournal_bytes = 64MiB\n")
            node.start()
        grapevine.wait(lambda: all(node["up"] for node in gv[0].status()["nodes"]),
                       "the nodes to reach each other")
        gv.make_zone("z", range(n))
        return gv

    def dataset(self, node, part=""):
        return os.path.join(node.pools["tank"], "z", part)

    def fill(self, gv, client, members, n=6):
        """Files of a few blocks that have settled on all members: name -> bytes."""
        files = {}
        for i in range(n):
            data = os.urandom(3 * BLOCK - 5000)
            fh = client.create(client.root, "big%d" % i)
            for at in range(0, len(data), 1 << 18):
                client.write(fh, at, data[at:at + (1 << 18)])
            files["big%d" % i] = data
        self.push(gv, client, files, members)
        return files

    def push(self, gv, client, files, members):
        """Write until all of @files is in the members' data files."""
        fh = client.create(client.root, "push")

        def settled():
            for i in range(4):
                client.write(fh, i << 20, os.urandom(1 << 20))
            for node in members:
                for data in files.values():
                    for at in range(0, len(data), BLOCK):
                        if not any(find(self.dataset(node, "data"), data[at:at + 32])):
                            return False
            return True
        grapevine.wait(settled, "data to settle")

    def flip_mark(self, node, part, mark):
        """Flip a bit behind each @mark in that part of the member's disk."""
        found = list(find(self.dataset(node, part), mark))
        for path, at in found:
            flip(path, at + 3)
        return len(found)

    def check(self, client, files):
        for name, data in files.items():
            fh = client.lookup(client.root, name)
            for at in range(0, len(data), 1 << 18):
                part = data[at:at + (1 << 18)]
                got = client.read(fh, at, len(part))[0]
                self.assertTrue(got == part, "wrong bytes in %s at %d" % (name, at))

    def good_again(self, node, files):
        """Every block of @files is in the member's data files as it should be."""
        def on_disk():
            for data in files.values():
                for at in range(0, len(data), BLOCK):
                    if not any(find(self.dataset(node, "data"), data[at:at + BLOCK])):
                        return False
            return True
        grapevine.wait(on_disk, "%s's disk to be good again" % node.name)

    # Settled blocks of one member rot while clients write: whoever reads through it gets
    # the right bytes, no error, and its files are good again afterwards.
    def test_settled(self):
        gv = self.zone(3)
        files = self.fill(gv, gv.client("z", 0), gv.nodes)
        node = gv[1]
        load = grapevine.Load(gv.client("z", 0), "load")
        for i, data in enumerate(files.values()):
            mark = data[(i % 3) * BLOCK + 500 * i:][:32]
            self.assertEqual(self.flip_mark(node, "data", mark), 1)
        self.check(gv.client("z", 1), files)
        load.wait_steps(20)
        load.stop()
        load.check(gv.client("z", 1))
        self.good_again(node, files)
        gv.wait_settled("z", 3)
        self.assertTrue(gv.same_digests("z"))

    # What is still in the journal only.
    def test_recent(self):
        gv = self.zone(3)
        client = gv.client("z", 0)
        files = {"recent": os.urandom(3 * BLOCK)}
        client.write(client.create(client.root, "recent"), 0, files["recent"])
        gv.wait_settled("z", 3)
        node = gv[2]
        self.assertGreater(self.flip_mark(node, "journal", files["recent"][700:732]), 0)
        self.check(gv.client("z", 2), files)
        self.good_again(node, {"recent": files["recent"][:BLOCK]})

    # Small files inside meta.db; a write to a row that is bad does not stop the member.
    def test_small(self):
        gv = self.zone(3)
        client = gv.client("z", 0)
        files = {"small": os.urandom(5000), "changed": os.urandom(6000)}
        for name, data in files.items():
            client.write(client.create(client.root, name), 0, data)
        gv.wait_settled("z", 3)
        node = gv[2]
        node.stop()  # So that the rows are in meta.db itself.
        for data in files.values():
            self.assertGreater(sum(self.flip_meta(node, data[at:at + 16])
                                   for at in range(0, len(data) - 16, 400)), 0)
        node.start()
        gv.wait_settled("z", 3)
        fh = client.lookup(client.root, "changed")
        client.write(fh, 100, b"new")
        files["changed"] = files["changed"][:100] + b"new" + files["changed"][103:]
        self.check(gv.client("z", 2), files)
        gv.wait_settled("z", 3)
        self.assertTrue(gv.same_digests("z"))

    def flip_meta(self, node, mark):
        path = self.dataset(node, "meta.db")
        with open(path, "rb") as f:
            at = f.read().find(mark)
        if at >= 0:
            flip(path, at + 3)
        return at >= 0

    # One block is bad everywhere: an error for that block and no other, and when a member
    # has it again, so have all.
    def test_no_good_copy(self):
        gv = self.zone(3)
        files = self.fill(gv, gv.client("z", 0), gv.nodes, n=1)
        data = files["big0"]
        mark = data[BLOCK + 100:BLOCK + 132]
        for node in gv.nodes:
            self.assertEqual(self.flip_mark(node, "data", mark), 1)
        for i in range(3):
            client = gv.client("z", i)
            fh = client.lookup(client.root, "big0")
            with self.assertRaises(nfs3.NfsError) as caught:
                client.read(fh, BLOCK, 4096)
            self.assertEqual(caught.exception.status, EIO)
            self.assertEqual(client.read(fh, 0, BLOCK)[0], data[:BLOCK])
            self.assertEqual(client.read(fh, 2 * BLOCK, 4096)[0], data[2 * BLOCK:][:4096])
        for path, at in find(self.dataset(gv[2], "data"), data[BLOCK:BLOCK + 64]):
            flip(path, at + 103)
        self.check(gv.client("z", 0), files)
        self.good_again(gv[0], files)

    # Nobody to ask: said at once, and not for the rest of the file.
    def test_sole_member(self):
        gv = self.zone(1)
        client = gv.client("z", 0)
        files = self.fill(gv, client, gv.nodes, n=1)
        data = files["big0"]
        self.assertEqual(self.flip_mark(gv[0], "data", data[100:132]), 1)
        fh = client.lookup(client.root, "big0")

        def met():
            try:
                client.read(fh, 0, 4096)
            except nfs3.NfsError as e:
                return e.status == EIO
            return False  # The bytes are in their file, but the journal's count yet.
        grapevine.wait(met, "the damage to be met")
        # Who asks again and again gets the error each time, and the log does not grow.
        for _ in range(40):
            self.assertTrue(met())
        with open(gv[0].log, encoding="utf-8", errors="replace") as f:
            lines = [line for line in f if "bad" in line]
        self.assertLess(len(lines), 12, lines)
        told = gv[0].gvraft("events").stdout
        self.assertEqual(told.count("a read met a damaged block"), 1, told)
        self.assertEqual(told.count("no member has a good copy"), 1, told)
        self.assertEqual(client.read(fh, BLOCK, BLOCK)[0], data[BLOCK:2 * BLOCK])
        client.write(fh, 0, data[:BLOCK])
        self.assertEqual(client.read(fh, 0, BLOCK)[0], data[:BLOCK])

    def scrub(self, gv, node):
        """Scrub and wait: exit status, and what each member says of it."""
        done = node.gvraft("scrub", "z", "--wait")
        zone = node.ask("zone", "show", "z")
        return done, {m["node"]: m["scrub"] for m in zone["members"]}

    # Ten flips somewhere in what has settled on one member: all found and healed, while
    # clients write, and the members compare equal.
    def test_scrub(self):
        gv = self.zone(3)
        files = self.fill(gv, gv.client("z", 0), gv.nodes, n=4)
        chosen = random.Random(7)
        blocks = [(name, at) for name, data in files.items()
                  for at in range(0, len(data), BLOCK)]
        for name, at in chosen.sample(blocks, 10):
            mark = files[name][at + chosen.randrange(100000):][:32]
            self.assertEqual(self.flip_mark(gv[1], "data", mark), 1)
        load = grapevine.Load(gv.client("z", 0), "load")
        done, scrubs = self.scrub(gv, gv[2])
        load.stop()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(int(scrubs[gv[1].name]["bad"]), 10, scrubs)
        self.assertEqual(int(scrubs[gv[1].name]["healed"]), 10, scrubs)
        for node in gv.nodes:
            self.assertEqual(scrubs[node.name]["phase"], "idle")
            self.assertEqual(scrubs[node.name]["verdict"], "equal", scrubs)
            self.assertEqual(int(scrubs[node.name]["compared"]), 2)
            self.assertGreaterEqual(int(scrubs[node.name]["bytes"]), 12 * BLOCK)
        self.good_again(gv[1], files)
        load.check(gv.client("z", 1))

    # What no CRC tells: a row that is not there any more. The digests do, loudly, and the
    # state is still said after a restart.
    def test_scrub_differs(self):
        gv = self.zone(3)
        files = self.fill(gv, gv.client("z", 0), gv.nodes, n=1)
        gv.wait_settled("z", 3)
        gv[2].stop()
        with sqlite3.connect(self.dataset(gv[2], "meta.db")) as db:
            db.execute("DELETE FROM block WHERE block=1 AND ino=(SELECT min(ino) FROM block)")
        db.close()
        seal(self.dataset(gv[2], "meta.db"))
        gv[2].start()
        gv.wait_settled("z", 3)
        grapevine.wait(lambda: all(node["up"] for node in gv[0].status()["nodes"]),
                       "gv[0] to reach all: it asks them")
        done, scrubs = self.scrub(gv, gv[0])
        self.assertEqual(done.returncode, 1)
        self.assertEqual(scrubs[gv[2].name]["verdict"], "differs", scrubs)
        self.assertEqual(scrubs[gv[0].name]["differs_from"], gv[2].name, scrubs)
        self.assertIn("DIFFERENT STATE", gv[0].gvraft("status").stdout)
        gv[0].stop()
        gv[0].start()
        grapevine.wait(lambda: "DIFFERENT STATE: %s and %s" % (gv[0].name, gv[2].name)
                       in gv[0].gvraft("zone", "show", "z").stdout, "the verdict again")

    # At its rate, on after a restart, and ended when asked.
    def test_scrub_goes_on(self):
        gv = self.grapevine(1)
        gv[0].stop()
        gv[0].write_config(gv[0].config_text() + "[zones]\nscrub_rate = 1MiB\n")
        gv[0].start()
        gv.make_zone("z", [0])
        client = gv.client("z", 0)
        fh = client.create(client.root, "f")
        for i in range(30):
            client.write(fh, i << 20, os.urandom(1 << 20))
        self.assertEqual(gv[0].gvraft("scrub", "z").returncode, 0)

        def state():
            return gv[0].ask("zone", "show", "z")["members"][0]["scrub"]
        grapevine.wait(lambda: int(state()["bytes"]) > 6 << 20, "some to be read")
        self.assertEqual(state()["phase"], "reading")
        self.assertLess(int(state()["bytes"]), 25 << 20)
        begun = state()["begun"]
        gv[0].stop()
        gv[0].start()
        grapevine.wait(lambda: "scrub" in gv[0].ask("zone", "show", "z")["members"][0],
                       "the state to be read")
        self.assertEqual(state()["begun"], begun)
        self.assertEqual(state()["phase"], "reading")
        self.assertEqual(gv[0].gvraft("scrub", "z", "--stop").returncode, 0)
        self.assertEqual(state()["phase"], "idle")
        # What is asked right after a start waits until the member is open.
        gv[0].stop()
        gv[0].start()
        done = gv[0].gvraft("scrub", "z")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(state()["phase"], "reading")
