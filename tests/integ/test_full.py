"""A member's disk that is full: no fault, but a state that it comes out of by itself."""

import os
import struct
import subprocess
import threading
import unittest

import grapevine
import nfs3

MIB = 1 << 20


@unittest.skipUnless(os.geteuid() == 0, "a small file system can only be mounted by root")
class Full(grapevine.GrapevineTest):
    def small_pool(self, node, mib):
        """The node's pool on a file system of its own."""
        node.stop()
        pool = node.pools["tank"]
        kept = {}
        for name in os.listdir(pool):
            path = os.path.join(pool, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    kept[name] = f.read()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,nr_inodes=10000" % mib, "none",
                        pool], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", pool], check=True)
        for name, data in kept.items():
            with open(os.path.join(pool, name), "wb") as f:
                f.write(data)
        node.start()

    def resize(self, node, mib):
        subprocess.run(
            ["mount", "-o", "remount,size=%dm" % mib, node.pools["tank"]], check=True)

    def fill(self, client, n, name="f", seconds=35):
        """Write up to @n files of 1 MiB, until the zone takes no more: for so many seconds,
        by default those in which one answer of "later" comes. Those taken."""
        taken = []
        self.addCleanup(setattr, nfs3, "CALL_SECONDS_MAX", nfs3.CALL_SECONDS_MAX)
        nfs3.CALL_SECONDS_MAX = seconds
        for i in range(n):
            try:
                fh = client.create(client.root, "%s%d" % (name, i))
                client.write(fh, 0, bytes([i & 255]) * MIB)
            except (nfs3.NfsError, nfs3.Unanswered) as e:
                self.assertFalse(isinstance(e, nfs3.NfsError) and e.status != nfs3.JUKEBOX, e)
                break
            taken.append(fh)
        return taken

    def check(self, client, taken):
        for i, fh in enumerate(taken):
            for at in range(0, MIB, 1 << 16):
                self.assertEqual(client.read(fh, at, 1 << 16)[0], bytes([i & 255]) * (1 << 16))

    def test_only_member_full(self):
        """It says so, loses nothing, and goes on once the disk is larger."""
        gv = self.grapevine(1)
        node = gv[0]
        self.small_pool(node, 200)
        gv.make_zone("z", [0], quota="4GiB")
        client = gv.client("z", 0)
        taken = self.fill(client, 400)
        self.assertGreater(len(taken), 60)
        self.assertLess(len(taken), 200)
        grapevine.wait(lambda: node.zone("z")["state"] == "full", "the zone is full")
        self.assertIn("no space on pool tank", node.zone("z")["reason"])
        self.assertIn("error zone-full", node.gvraft("doctor").stdout)
        client = gv.client("z", 0)
        self.check(client, taken)
        node.kill()
        node.start()
        # A start makes some room, and only what asks for more meets the full disk again.
        more = []
        writer = threading.Thread(
            target=lambda: more.extend(self.fill(gv.client("z", 0), 150, "more", 120)))
        writer.start()
        grapevine.wait(lambda: node.zone("z")["state"] == "full", "it is back")
        self.resize(node, 900)
        writer.join()
        self.assertEqual(len(more), 150)
        grapevine.wait(lambda: node.zone("z")["state"] == "online", "it has room")
        client = gv.client("z", 0)
        self.check(client, more)
        fh = client.create(client.root, "last")
        client.write(fh, 0, b"z" * MIB)
        self.check(client, taken)
        told = node.gvraft("events", "--zone", "z").stdout
        self.assertIn("  full ", told)
        self.assertIn("  room ", told)

    def limit_inodes(self, node, n):
        subprocess.run(["mount", "-o", "remount,nr_inodes=%d" % n, node.pools["tank"]], check=True)

    def test_out_of_inodes(self):
        """Much room, and none for a few files more: it says what is missing, nothing is lost, and
        who was writing meanwhile is done once there are inodes."""
        gv = self.grapevine(1)
        self.small_pool(gv[0], 400)
        gv.make_zone("z", [0], quota="4GiB")
        room = os.statvfs(gv[0].pools["tank"])
        self.limit_inodes(gv[0], room.f_files - room.f_ffree + 3)
        client = gv.client("z", 0)
        taken = []
        writer = threading.Thread(
            target=lambda: taken.extend(self.fill(client, 150, seconds=120)))
        writer.start()
        grapevine.wait(lambda: gv[0].zone("z")["state"] == "full", "the zone is full")
        self.assertIn("out of inodes", gv[0].zone("z")["reason"])
        self.limit_inodes(gv[0], 10000)
        writer.join()
        self.assertEqual(len(taken), 150)
        grapevine.wait(lambda: gv[0].zone("z")["state"] == "online", "it has room")
        self.check(gv.client("z", 0), taken)

    def test_files_shortened(self):
        """What makes room is taken while it is full, and then it is not full any more."""
        gv = self.grapevine(1)
        self.small_pool(gv[0], 200)
        gv.make_zone("z", [0], quota="4GiB")
        client = gv.client("z", 0)
        taken = self.fill(client, 400)
        grapevine.wait(lambda: gv[0].zone("z")["state"] == "full", "the zone is full")
        client = gv.client("z", 0)
        for fh in taken[:50]:
            client.nfs("SETATTR", 2, nfs3.pack_opaque(fh) + struct.pack(
                ">IIIIQIII", 0, 0, 0, 1, 0, 0, 0, 0))
        grapevine.wait(lambda: gv[0].zone("z")["state"] == "online", "it has room")
        self.assertEqual(gv[0].zone("z")["reason"], "")
        self.assertGreater(len(self.fill(gv.client("z", 0), 20, "more")), 10)

    def test_full_leader_gives_way(self):
        """It hands over before its disk is full, and as a full follower stops nobody."""
        gv = self.grapevine(3)
        self.small_pool(gv[0], 200)
        gv.make_zone("z", [0, 1, 2], quota="4GiB")
        if gv.leader("z") != gv[0]:
            gv[0].ask("transfer-leader", "z", gv[0].name)
        client = gv.client("z", 1)
        taken = self.fill(client, 220)
        self.assertEqual(len(taken), 220)
        grapevine.wait(lambda: gv.leader("z") not in (None, gv[0]), "another one leads")
        self.assertEqual({m["node"]: m["state"] for m in gv[1].zone("z")["members"]},
                         {gv[0].name: "full", gv[1].name: "online", gv[2].name: "online"})
        self.check(client, taken)
        self.resize(gv[0], 900)
        gv.wait_settled("z", 3)
        self.check(gv.client("z", 0), taken)


if __name__ == "__main__":
    unittest.main()
