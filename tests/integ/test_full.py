"""A member's disk that is full: no fault, but a state that it comes out of by itself."""

import os
import subprocess
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
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % mib, "none", pool], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", pool], check=True)
        for name, data in kept.items():
            with open(os.path.join(pool, name), "wb") as f:
                f.write(data)
        node.start()

    def resize(self, node, mib):
        subprocess.run(
            ["mount", "-o", "remount,size=%dm" % mib, node.pools["tank"]], check=True)

    def fill(self, client, n):
        """Write up to @n files of 1 MiB, until the zone takes no more. Those taken."""
        taken = []
        self.addCleanup(setattr, nfs3, "CALL_SECONDS_MAX", nfs3.CALL_SECONDS_MAX)
        nfs3.CALL_SECONDS_MAX = 35  # One answer of "later" is enough.
        for i in range(n):
            try:
                fh = client.create(client.root, "f%d" % i)
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
        print(len(taken), subprocess.run("du -sm %s/z/*; df -m %s" % (node.pools["tank"], node.pools["tank"]), shell=True, capture_output=True, text=True).stdout)
        self.assertGreater(len(taken), 60)
        self.assertLess(len(taken), 200)
        grapevine.wait(lambda: node.zone("z")["state"] == "full", "the zone is full")
        self.assertIn("no space on pool tank", node.zone("z")["reason"])
        client = gv.client("z", 0)
        self.check(client, taken)
        node.kill()
        node.start()
        grapevine.wait(lambda: node.zone("z")["state"] in ("full", "online"), "it is back")
        self.resize(node, 600)
        grapevine.wait(lambda: node.zone("z")["state"] == "online", "it has room")
        client = gv.client("z", 0)
        fh = client.create(client.root, "last")
        client.write(fh, 0, b"z" * MIB)
        self.check(client, taken)


if __name__ == "__main__":
    unittest.main()
