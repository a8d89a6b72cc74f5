"""The main job: what is written through one node is read, equal, through another."""

import os
import random
import subprocess

import grapevine
import nfs3


class Main(grapevine.GrapevineTest):
    # What is installed fits together: the service starts the program that was installed, and
    # that takes the configuration that was.
    def test_installed(self):
        subprocess.run(["meson", "install", "-C", grapevine.build_dir(), "--no-rebuild",
                        "--destdir", self.tmp], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        found = {}
        for folder, _, names in os.walk(self.tmp):
            found.update({name: os.path.join(folder, name) for name in names})
        for name in ("gvraft", "gvraft.8", "grapevined.8", "grapevine.conf.5"):
            self.assertIn(name, found)
        with open(found["grapevined.service"], encoding="ascii") as f:
            commands = [line.split("=", 1)[1].split()[0] for line in f
                        if line.startswith("ExecStart")]
        self.assertEqual([self.tmp + command for command in commands],
                         2 * [found["grapevined"]])
        sample = [path for folder, _, names in os.walk(self.tmp) for path in
                  (os.path.join(folder, name) for name in names)
                  if path.endswith("examples/grapevine.conf")]
        subprocess.run([found["grapevined"], "--check", "--config", *sample], check=True)

    # A zone's display name is text, whatever a shell hands over: others have to read it as
    # JSON. What is too long is said, not cut.
    def test_names(self):
        gv = self.grapevine(1)
        node = gv[0]

        def create(name, display):
            return node.gvraft("zone", "create", name, "--display", display, "--quota",
                               "1GiB", "--member", node.name)

        for display in ("D\udcff", "\x1b[31m", "two\nlines", "\u00e9" * 64):
            done = create("z", display)
            self.assertEqual(done.returncode, 1)
            self.assertIn("the display name is not text", done.stderr)
        done = create("z" * 64, "Z")
        self.assertIn("zone's name is missing, or has more than 63 bytes", done.stderr)
        self.assertIn("--display for a name", create("Tier 1", "Tier 1").stderr)
        self.assertEqual(create("z", "\u00c9t\u00e9 " + 121 * "x").returncode, 0)
        self.assertEqual(len(node.zone("z")["display"].encode()), 127)
        done = node.gvraft("zone", "replace-member", "z", node.name, node.name + ":tank")
        self.assertIn("a zone is on a node once", done.stderr)

    # Written by nobody's own client here (libnfs's tools) through the first node, read
    # through the third; status shows one leader and three members at one applied index.
    def test_write_here_read_there(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        source = os.path.join(self.tmp, "source")
        copy = os.path.join(self.tmp, "copy")
        with open(source, "wb") as f:
            f.write(random.Random(1).randbytes(5_000_011))
        grapevine.nfs_tool("nfs-cp", source, gv[0].url("/tier-1/file"))
        grapevine.nfs_tool("nfs-cp", gv[2].url("/tier-1/file"), copy)
        with open(source, "rb") as a, open(copy, "rb") as b:
            self.assertEqual(a.read(), b.read())
        for node in gv.nodes:
            self.assertIn(b"file", grapevine.nfs_tool("nfs-ls", node.url("/tier-1")))
        gv.wait_settled("tier-1", 3)
        zone = gv[0].zone("tier-1")
        self.assertEqual(len({m["applied_index"] for m in zone["members"]}), 1)
        self.assertEqual(len({n.zone("tier-1")["leader"] for n in gv.nodes}), 1)
        self.assertGreaterEqual(int(zone["used_bytes"]), 5_000_011)

    # Rights that the kernel refuses are one line each in the log, and all works without.
    def test_without_rights(self):
        node = self.node()
        node.start(grapevine.die_with_parent_without_right)
        lines = node.log_tail(100).split("\n")
        for text in "flusher", "memory is not locked":
            found = [line for line in lines if text in line]
            self.assertEqual(len(found), 1, lines)
            self.assertIn("level=info", found[0])
        node.ask("init")
        self.assertEqual(node.stop(), 0)
        node.write_config(node.config_text().replace("[listen]", "lock_memory = no\n[listen]"))
        os.truncate(node.log, 0)
        node.start(grapevine.die_with_parent_without_right)
        self.assertNotIn("locked", node.log_tail(100))

    # What one client was told is done, a client of another node sees at once: reads are
    # linearizable, on members and through them.
    def test_reads_see_what_was_acknowledged(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        writer = gv.client("tier-1", 0)
        readers = [gv.client("tier-1", i) for i in (1, 2)]
        fh = writer.create(writer.root, "clock")
        for i in range(100):
            writer.write(fh, 0, b"%06d" % i)
            for reader in readers:
                self.assertEqual(reader.read(fh, 0, 64), (b"%06d" % i, True))
        writer.rename(writer.root, "clock", "watch")
        for reader in readers:
            self.assertEqual(reader.names(reader.root), ["watch"])
            self.assertEqual(reader.lookup(reader.root, "watch"), fh)
            with self.assertRaises(nfs3.NfsError) as caught:
                reader.lookup(reader.root, "clock")
            self.assertEqual(caught.exception.status, nfs3.NOENT)

    # A node that keeps nothing of a zone gives access to it all the same.
    def test_not_a_member(self):
        gv = self.grapevine(3)
        gv.make_zone("build-cache-fast", [0])
        there = gv.client("build-cache-fast", 2)
        data = random.Random(2).randbytes(300_000)
        fh = there.create(there.root, "object")
        for at in range(0, len(data), 65536):
            there.write(fh, at, data[at:at + 65536])
        here = gv.client("build-cache-fast", 0)
        self.assertEqual(here.read_all(here.lookup(here.root, "object")), data)
        self.assertEqual(there.read_all(fh), data)
        self.assertEqual(gv[2].zone("build-cache-fast")["state"], "remote")
        self.assertEqual(grapevine.nfs_tool(
            "nfs-cat", gv[1].url("/build-cache-fast/object")), data)

    # Zones are folders of the export "/", and each its own file system.
    def test_root_shows_zones(self):
        gv = self.grapevine(1)
        gv.make_zone("tier-1", [0])
        gv.make_zone("tier-2", [0])
        client = gv.client("", 0)
        self.assertEqual(sorted(client.names(client.root)), ["tier-1", "tier-2"])
        fsids = [client.getattr(fh)["fsid"] for fh in [client.root] + [
            client.lookup(client.root, name) for name in ("tier-1", "tier-2")]]
        self.assertEqual(len(set(fsids)), 3)

    # A quota refuses with DQUOT, exactly there, and what is deleted is free again.
    # A zone keeps the election timeout that it was made with, wherever it is asked for.
    def test_election_timeout_of_a_zone(self):
        gv = self.grapevine(2)
        gv[0].ask("zone", "create", "far", "--quota", "1GiB", "--member", gv[0].name,
                  "--member", gv[1].name, "--election-ms", "3000")
        gv.make_zone("near", [0, 1])
        gv.wait_settled("far")
        for node in gv.nodes:
            self.assertEqual(node.zone("far")["election_ms"], 3000)
            self.assertEqual(node.zone("near")["election_ms"], 500)
        # A leader's lease is nine tenths of it.
        leader = gv.leader("far")
        grapevine.wait(lambda: int(leader.zone("far")["leader_lease_ms"]) > 1000,
                       "its lease is as long")
        done = gv[0].gvraft("zone", "create", "b", "--quota", "1GiB", "--member",
                            gv[0].name, "--election-ms", "10")
        self.assertEqual(done.returncode, 1)
        self.assertIn("election_ms is wrong", done.stderr)

    def test_quota(self):
        gv = self.grapevine(3)
        gv.make_zone("small", [0, 1, 2], quota="1MiB")
        client = gv.client("small", 1)
        fh = client.create(client.root, "a")
        at = 0
        with self.assertRaises(nfs3.NfsError) as caught:
            while at < 4 << 20:
                client.write(fh, at, b"x" * 65536)
                at += 65536
        self.assertEqual(caught.exception.status, nfs3.DQUOT)
        self.assertLess(at, 1 << 20)
        client.remove(client.root, "a")
        self.assertEqual(gv[2].gvraft("zone", "set-quota", "small", "4MiB").stderr, "")
        fh = client.create(client.root, "b")
        for at in range(0, 2 << 20, 65536):
            client.write(fh, at, b"y" * 65536)
        # More than the disks have is warned of, member by member; one that is away is asked
        # nothing, and hinders nothing.
        gv[0].kill()
        gv.wait_leader("small")
        done = gv[2].gvraft("zone", "set-quota", "small", "1PiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([f"node '{node.name}' has room for" in done.stderr
                          for node in gv.nodes], [False, True, True], done.stderr)
