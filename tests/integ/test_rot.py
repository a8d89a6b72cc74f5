"""Bits that flip in the files that say what is whose: nothing is lost, nothing is taken for
something else, and what cannot be made good is said."""

import glob
import os
import random
import subprocess
import threading
import unittest

import grapevine

BLOCK = 4096  # Of a journal: the segment's header, then batches.
STATE_FILES = ("node.json", "zones.json", "nodes.json", "node.pem")


def flip(path, bit):
    with open(path, "r+b") as f:
        f.seek(bit // 8)
        byte = f.read(1)[0]
        f.seek(bit // 8)
        f.write(bytes([byte ^ 1 << bit % 8]))


def flip_any(rng, path):
    flip(path, rng.randrange(8 * os.path.getsize(path)))


def first_segment(journal):
    return sorted(glob.glob(os.path.join(journal, "*.seg")))[0]


class Rot(grapevine.GrapevineTest):
    def state(self, node, name):
        return os.path.join(node.dir, "state", name)

    def sole(self, n=1):
        """A zone of one member, with load that has ended."""
        gv = self.grapevine(n)
        gv.make_zone("z", [0])
        load = grapevine.Load(gv.client("z", 0), "load")
        load.wait_steps(10)
        load.stop()
        return gv, load

    def kinds(self, node):
        done = node.gvraft("--json", "events")
        return [grapevine.json.loads(line)["kind"] for line in done.stdout.splitlines()]

    # A bit of every small file flips at once, in the files or in their copies: the only copy
    # of a zone is there as it was.
    def test_any_bit(self):
        gv, load = self.sole()
        node = gv[0]
        pool = node.pools["tank"]
        rng = random.Random(11)
        for i in range(6):
            node.stop()
            for name in STATE_FILES:
                flip_any(rng, self.state(node, name + (".copy" if i % 2 else "")))
            flip_any(rng, self.state(node, "marks.json"))
            flip_any(rng, os.path.join(pool, ".grapevine-pool"))
            flip_any(rng, os.path.join(pool, "z", "marker"))
            node.start()
            gv.wait_settled("z", 1)
            load.check(gv.client("z", 0))
        self.assertIn("state-healed", self.kinds(node))
        self.assertIn("state-rotten", node.gvraft("doctor").stdout)

    # One bit of the first batch of each journal flips: in its header, in its first record, and
    # in the segment's header. With one member nobody else has what is in them.
    def test_journals(self):
        gv, load = self.sole()
        node = gv[0]
        journals = sorted(glob.glob(os.path.join(node.dir, "state", "**", "journal"),
                                    recursive=True))
        journals += glob.glob(os.path.join(node.pools["tank"], "z", "journal"))
        self.assertGreaterEqual(len(journals), 2, "the directory's and the zone's")
        for at in (20, BLOCK + 40, BLOCK + 64 + 30):
            node.stop()
            for journal in journals:
                flip(first_segment(journal), 8 * at + 3)
            node.start()
            gv.wait_settled("z", 1)
            load.check(gv.client("z", 0))
            self.assertGreaterEqual(node.log_text().count("a flipped bit of the journal"),
                                    len(journals))
        more = grapevine.Load(gv.client("z", 0), "more")
        more.wait_steps(5)
        more.stop()
        node.stop()
        node.start()
        gv.wait_settled("z", 1)
        load.check(gv.client("z", 0))
        more.check(gv.client("z", 0))

    # The digit of zones.json that says under which raft id the dataset is this node's: with
    # one less it would be that of a membership that is over.
    def test_raft_id(self):
        gv, load = self.sole()
        node = gv[0]
        node.stop()
        with open(self.state(node, "zones.json"), "rb") as f:
            at = f.read().index(b"65537") + 4
        flip(self.state(node, "zones.json"), 8 * at)
        node.start()
        gv.wait_settled("z", 1)
        load.check(gv.client("z", 0))

    # Both are damaged: the daemon does not start, touches nothing, and says where to read on.
    def test_both_damaged(self):
        gv, load = self.sole()
        node = gv[0]
        node.stop()
        for name in ("zones.json", "node.pem", "node.json"):
            kept = {}
            for path in (self.state(node, name), self.state(node, name + ".copy")):
                with open(path, "rb") as f:
                    kept[path] = f.read()
                with open(path, "r+b") as f:
                    f.seek(20)
                    f.write(b"?" * 10)
            status, words = node.run_to_end()
            self.assertEqual(status, 1)
            self.assertIn(name, words)
            self.assertIn("Damaged state folder", words)
            told = node.gvraft("doctor", "--config", node.config).stdout
            self.assertIn("error start-refused", told)
            self.assertIn(name, told)
            for path, content in kept.items():
                with open(path, "wb") as f:
                    f.write(content)
        node.start()
        gv.wait_settled("z", 1)
        load.check(gv.client("z", 0))

    # zones.json of long ago is put back: the zone went to another node and came back, so the
    # dataset is of a later membership than that says. It is the only one, and stays.
    def test_old_zones_file(self):
        gv, load = self.sole(2)
        old = grapevine.state_json(gv[0], "zones.json")
        for come, go in ((1, 0), (0, 1)):
            gv[0].ask("zone", "add-member", "z", gv[come].name)
            gv.wait_settled("z", 2)
            gv[0].ask("zone", "remove-member", "z", gv[go].name)
            gv.wait_settled("z", 1)
        after = grapevine.Load(gv.client("z", 1), "after")
        after.wait_steps(5)
        after.stop()
        grapevine.wait(lambda: grapevine.state_json(gv[0], "zones.json")[0]["raft_id"]
                       > old[0]["raft_id"], "it is a later membership")
        gv[0].stop()
        grapevine.write_state(gv[0], "zones.json", old)
        gv[0].start()
        gv.wait_settled("z", 1)
        for client in (gv.client("z", 0), gv.client("z", 1)):
            load.check(client)
            after.check(client)

    # What cannot be written down is not begun: a dataset of which a restart knew nothing
    # would be made again, empty, if its disk was not mounted then.
    def test_state_cannot_be_written(self):
        gv = self.grapevine(1)
        node = gv[0]
        in_the_way = self.state(node, "zones.json.tmp")
        os.mkdir(in_the_way)
        open(os.path.join(in_the_way, "x"), "wb").close()
        made = threading.Thread(target=node.gvraft, args=(
            "zone", "create", "z", "--quota", "1GiB", "--member", node.name))
        made.start()  # It waits for the zone.
        self.addCleanup(made.join)
        grapevine.wait(lambda: "could not write a state file" in node.log_text(), "it is said")
        grapevine.wait(lambda: "z" in [z["slug"] for z in node.status()["zones"]], "it is known")
        self.assertEqual(os.listdir(node.pools["tank"]), [".grapevine-pool"])
        os.remove(os.path.join(in_the_way, "x"))
        os.rmdir(in_the_way)
        gv.wait_settled("z", 1)
        self.assertEqual(len(grapevine.state_json(node, "zones.json")), 1)

    # A pool that turned read-only takes its own zones along, and not the node: those of
    # another pool are served, and the reason is said.
    @unittest.skipUnless(os.geteuid() == 0, "only root can mount")
    def test_broken_pool(self):
        gv = grapevine.Grapevine(self.tmp)
        self.grapevines.append(gv)
        node = gv.add_node(pools=("tank", "nvme"))
        for slug in ("tank", "nvme"):
            node.ask("zone", "create", slug, "--quota", "1GiB", "--member",
                     "%s:%s" % (node.name, slug))
            gv.wait_settled(slug)
        node.stop()
        pool = node.pools["tank"]
        subprocess.run(["mount", "--bind", pool, pool], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", pool], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", pool], check=True)
        node.start()
        gv.wait_settled("nvme")
        grapevine.wait(lambda: node.zone("tank")["state"] == "failed", "it fails")
        self.assertIn("Read-only file system", node.zone("tank")["reason"])
        subprocess.run(["mount", "-o", "remount,bind,rw", pool], check=True)
        node.stop()
        node.start()
        gv.wait_settled("tank")

    # The marker of one member of three is rubbish: the member is made anew, and what does not
    # say any more whose it is stays for a person to look at.
    def test_marker_is_rubbish(self):
        gv = self.grapevine(3)
        gv.make_zone("z", [0, 1, 2])
        load = grapevine.Load(gv.client("z", 0, 1), "load")
        load.wait_steps(10)
        node = gv[2]
        node.stop()
        marker = os.path.join(node.pools["tank"], "z", "marker")
        with open(marker, "r+b") as f:
            f.seek(30)
            f.write(b"rubbish")
        node.start()
        grapevine.wait(lambda: glob.glob(os.path.join(node.pools["tank"], "z.quarantine-*")),
                       "it is set aside")
        gv.wait_settled("z", 3)
        load.wait_steps(5)
        load.stop()
        gv.wait_settled("z", 3)
        load.check(gv.client("z", 2))


if __name__ == "__main__":
    unittest.main()
