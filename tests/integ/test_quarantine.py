"""Members whose data is lost, old or damaged: they never take part with it, say so, and
come back with a new copy, while clients see nothing."""

import glob
import os
import random
import shutil
import struct

import grapevine
import peerwire
import test_mend

SLUG = "z"


class Quarantine(grapevine.GrapevineTest):
    def dataset(self, node):
        return os.path.join(node.pools["tank"], SLUG)

    def raft_life(self, node):
        """How often this node became a member."""
        return int(grapevine.state_json(node, "zones.json")[0]["raft_id"]) & 0xffff

    def log_has(self, node, text):
        with open(node.log, encoding="utf-8", errors="replace") as f:
            return text in f.read()

    def wait_log(self, node, text):
        grapevine.wait(lambda: self.log_has(node, text), "%s says '%s'" % (node.name, text))

    def wait_repaired(self, gv, node, life=2):
        grapevine.wait(lambda: self.raft_life(node) == life, "%s begins anew" % node.name)
        gv.wait_settled(SLUG, len(gv.nodes))

    def asides(self, node):
        return glob.glob(self.dataset(node) + ".quarantine-*")

    def followers(self, gv):
        leader = gv.leader(SLUG)
        return leader, [node for node in gv.nodes if node is not leader]

    def begin(self):
        """Three members with some data, load on it, and a client of the first."""
        gv = self.grapevine(3)
        gv.make_zone(SLUG, [0, 1, 2])
        load = grapevine.Load(gv.client(SLUG, 0, 1, 2), "load")
        load.wait_steps(10)
        return gv, load

    def end(self, gv, load):
        load.wait_steps(20)
        load.stop()
        gv.wait_settled(SLUG, len(gv.nodes))
        grapevine.wait(lambda: gv.same_digests(SLUG), "the copies are the same")
        for i in range(len(gv.nodes)):
            load.check(gv.client(SLUG, i))

    def put_back(self, node, image):
        shutil.rmtree(self.dataset(node))
        shutil.copytree(image, self.dataset(node))

    def image_of(self, node):
        image = os.path.join(self.tmp, "image")
        node.stop()
        shutil.copytree(self.dataset(node), image)
        node.start()
        return image

    # A backup of one member's dataset is put back. Its vote would then matter: of the other
    # two, one is dead and the other lacks what was acknowledged last. It does not give it.
    # When the dead one is back, everything is there, and the member comes back anew.
    def test_old_dataset(self):
        gv, load = self.begin()
        leader, (old, behind) = self.followers(gv)
        image = self.image_of(old)
        gv.wait_settled(SLUG)
        load.wait_steps(20)
        behind.stop()
        load.wait_steps(20)
        load.stop()
        old.stop()
        leader.kill()
        self.put_back(old, image)
        behind.start()
        old.start()
        self.wait_log(old, "member quarantined")
        self.assertEqual(old.zone(SLUG)["state"], "failed")
        self.assertIn("older than what it acknowledged", old.zone(SLUG)["reason"])
        grapevine.wait(lambda: "majority of the other" in old.zone(SLUG)["reason"],
                       "it says what it waits for")
        self.assertEqual(behind.zone(SLUG)["state"], "offline")
        self.assertEqual(self.raft_life(old), 1)
        leader.start()
        self.wait_repaired(gv, old)
        for i in range(3):
            load.check(gv.client(SLUG, i))
        grapevine.wait(lambda: not self.asides(old), "what was set aside goes")

    # The whole node is put back, its state folder too: the others remember, of the zone and
    # of the directory, in which something had changed, too.
    def test_old_node(self):
        gv, load = self.begin()
        _, (old, other) = self.followers(gv)
        image = os.path.join(self.tmp, "image")
        old.stop()
        shutil.copytree(old.dir, image)
        old.start()
        load.wait_steps(20)
        other.ask("invite")
        gv.wait_settled(SLUG)
        old.stop()
        for part in ("state", "pools"):
            shutil.rmtree(os.path.join(old.dir, part))
            shutil.copytree(os.path.join(image, part), os.path.join(old.dir, part))
        old.start()
        self.wait_log(old, "copy of the directory is quarantined")
        self.wait_log(old, "member quarantined")
        self.wait_repaired(gv, old)
        self.end(gv, load)
        copies = os.path.join(old.dir, "state", "directory.quarantine-*")
        grapevine.wait(lambda: not glob.glob(copies), "the old copy goes")
        other.ask("zone", "set-quota", SLUG, "2GiB")

    # The folder is gone, its disk is there: that may be a mistake, so a person decides.
    def test_lost_dataset(self):
        gv, load = self.begin()
        _, (lost, other) = self.followers(gv)
        lost.stop()
        shutil.rmtree(self.dataset(lost))
        lost.start()
        grapevine.wait(lambda: lost.zone(SLUG)["state"] == "no-data", "it has no data")
        load.wait_steps(10)
        self.assertFalse(os.path.exists(self.dataset(lost)))
        self.assertIn("nothing to rebuild", other.gvraft("zone", "rebuild", SLUG).stderr)
        other.ask("zone", "rebuild", SLUG, lost.name)
        self.wait_repaired(gv, lost)
        self.end(gv, load)

    # A disk that is not mounted: the daemon serves its other zones, makes nothing in the
    # folder below, and goes on as soon as the disk is back. Nobody may give it up.
    def test_unmounted(self):
        gv, load = self.begin()
        _, (away, _) = self.followers(gv)
        pool = away.pools["tank"]
        away.stop()
        os.rename(pool, pool + ".disk")
        os.mkdir(pool)
        away.start()
        grapevine.wait(lambda: away.zone(SLUG)["state"] == "no-data", "it has no data")
        self.assertIn("mount it", away.gvraft("zone", "rebuild", SLUG).stderr)
        load.wait_steps(10)
        self.assertEqual(os.listdir(pool), [])
        os.rmdir(pool)
        os.rename(pool + ".disk", pool)
        gv.wait_settled(SLUG, 3)
        self.assertEqual(self.raft_life(away), 1)
        self.end(gv, load)

    # The journals' disk is not mounted, the pool's is: the same. Nothing is taken for damage.
    def test_journal_unmounted(self):
        gv = self.grapevine(2)
        node = gv[1]
        journals = os.path.join(node.dir, "journals")
        os.mkdir(journals)
        node.stop()
        node.write_config(node.config_text() + "journal = %s\n" % journals)
        node.start()
        gv.make_zone(SLUG, [0, 1])
        node.stop()
        os.rename(journals, journals + ".disk")
        os.mkdir(journals)
        node.start()
        grapevine.wait(lambda: node.zone(SLUG)["state"] == "no-data", "it has no data")
        self.assertEqual(os.listdir(journals), [])
        self.assertIn("mount it", node.gvraft("zone", "rebuild", SLUG).stderr)
        os.rmdir(journals)
        os.rename(journals + ".disk", journals)
        gv.wait_settled(SLUG, 2)
        self.assertFalse(self.log_has(node, "member quarantined"))

    # Two bits of each of ten entries of the journal flip while the member is down; they are not compacted.
    def test_damaged_journal(self):
        gv, load = self.begin()
        _, (bad, _) = self.followers(gv)
        load.wait_steps(20)
        bad.stop()
        entries = test_mend.entries(os.path.join(self.dataset(bad), "journal"))
        for index in random.Random(1).sample(sorted(entries), 10):
            path, offset = entries[index]
            test_mend.flip(path, offset + 20)
            test_mend.flip(path, offset + 21)  # One would be set right.
        bad.start()
        self.wait_log(bad, "member quarantined")
        self.wait_repaired(gv, bad)
        self.end(gv, load)

    # Ten bits of meta.db flip, anywhere, while the member is down: whichever of them is read
    # first, at the start or by whoever asks for it then, the member heals itself.
    def test_damaged_rows(self):
        gv, load = self.begin()
        _, (bad, _) = self.followers(gv)
        load.wait_steps(40)
        bad.stop()
        path = os.path.join(self.dataset(bad), "meta.db")
        pages = os.path.getsize(path) // 4096
        chosen = random.Random(2)
        with open(path, "r+b") as f:
            for page in chosen.sample(range(1, pages), min(10, pages - 1)):
                at = page * 4096 + chosen.randrange(4096)
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ 1 << chosen.randrange(8)]))
        bad.start()

        def found():
            if bad.zone(SLUG)["state"] == "online":
                bad.control("zone-digest", {"slug": SLUG})
            return self.log_has(bad, "member quarantined")
        grapevine.wait(found, "the damage is found")
        self.wait_repaired(gv, bad)
        self.end(gv, load)

    # A copied disk: two daemons are one node. Whoever came later is told, stops, and says
    # so; the other goes on as if nothing had happened.
    def test_copied_node(self):
        gv, load = self.begin()
        original = gv[0]  # It dials the others, so its copy does too.
        image = os.path.join(self.tmp, "copy")
        original.stop()
        shutil.copytree(original.dir, os.path.join(image, original.name))
        original.start()
        gv.wait_settled(SLUG, 3)
        copy = grapevine.Node(image, original.name, "127.0.0.9", make=False)
        self.addCleanup(copy.kill)
        copy.start()
        self.wait_log(copy, "another daemon is this node")
        grapevine.wait(lambda: self.log_has(gv[1], "two daemons are the same node"),
                       "the others say so")
        warnings = copy.control("status", {})["warnings"]
        self.assertTrue(any("another daemon is this node" in w for w in warnings), warnings)
        for zone in copy.status()["zones"]:  # It may not even know them yet.
            self.assertIn(zone["state"], ("failed", "remote"))
        self.end(gv, load)
        copy.kill()

    # A dataset of a newer version is left alone, whatever the others have: nothing is
    # repaired away. A node of another version of the protocol is told which ones there are.
    def test_other_version(self):
        gv, load = self.begin()
        old = gv[0]
        old.stop()
        marker = os.path.join(self.dataset(old), "marker")
        with open(marker, encoding="ascii") as f:
            text = f.read()
        with open(marker, "w", encoding="ascii") as f:
            f.write("grapevinefs dataset 99\nof a later time\n")
        bad = peerwire.BadNode(old, {2: gv[1]})
        connection, kind, body = bad.hello(gv[1], peerwire.pem_of(old), 2, peerwire.CONTROL, 77)
        self.assertEqual(kind, peerwire.REFUSAL)
        self.assertEqual(struct.unpack("<HHHH", body), (peerwire.REFUSED_VERSION, 1, 1, 0))
        self.assertTrue(connection.closed())
        self.wait_log(gv[1], "theirs=77 ours=1")
        bad.close()
        old.start()
        grapevine.wait(lambda: old.zone(SLUG)["state"] == "failed", "it is left alone")
        self.assertIn("another version", old.zone(SLUG)["reason"])
        load.wait_steps(10)
        self.assertFalse(self.log_has(old, "member quarantined"))
        old.stop()
        with open(marker, "w", encoding="ascii") as f:
            f.write(text)
        old.start()
        self.end(gv, load)
        self.assertEqual(self.raft_life(old), 1)

    # A member is back after a long time: its log is gone from the others, most of what it
    # has was removed or written anew, and one of the members it knew has left.
    def test_back_after_months(self):
        gv = self.grapevine(4)
        for node in gv.nodes:
            node.stop()
            node.write_config(node.config_text() + "[zones]\njournal_bytes = 64MiB\n")
            node.start()
        gv.make_zone(SLUG, [0, 1, 2])
        client = gv.client(SLUG, 0, 1)
        files = [client.create(client.root, "f%d" % i) for i in range(8)]
        for fh in files:
            client.write(fh, 0, os.urandom(1 << 20))
        gv.wait_settled(SLUG)
        away = gv[2]
        away.stop()
        for fh in files[:4]:
            for i in range(12):
                client.write(fh, i << 20, os.urandom(1 << 20))
        for i in range(4, 8):
            client.remove(client.root, "f%d" % i)
        gv[0].ask("zone", "add-member", SLUG, gv[3].name)
        gv[0].ask("zone", "remove-member", SLUG, gv[1].name)
        gv[0].ask("invite")
        away.start()
        gv.wait_settled(SLUG, 3)
        grapevine.wait(lambda: gv.same_digests(SLUG), "the copies are the same")
        self.assertEqual(self.raft_life(away), 1)
        self.assertTrue(glob.glob(os.path.join(self.dataset(away), "meta.[1-9]*.db")),
                        "it pulled")
        other = gv.client(SLUG, 2)
        self.assertEqual(sorted(other.names(other.root)), ["f%d" % i for i in range(4)])
