"""An entry of a member's journal that is committed, is not applied there yet, and cannot be
read any more: the member takes the state from another one and stays the member it was."""

import glob
import os
import struct

import grapevine

SLUG = "z"
BLOCK = 4096
HEADER = 64
ENTRY = 4


def entries(folder):
    """Of each index in a journal the place of its newest record: (path, offset)."""
    newest = {}
    for path in glob.glob(os.path.join(folder, "*.seg")):
        with open(path, "rb") as f:
            data = f.read()
        salt = data[16:24]
        at = data.find(salt, BLOCK)
        while at >= 0:
            start = at - 16
            if data[start + 4] == 1 and data[start + 5] == ENTRY and start % 8 == 0:
                seq, index = struct.unpack_from("<Q8xQ", data, start + 8)
                if seq > newest.get(index, (0,))[0]:
                    newest[index] = (seq, path, start)
            at = data.find(salt, at + 1)
    return {index: place[1:] for index, place in newest.items()}


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 4]))


class Mend(grapevine.GrapevineTest):
    def applied(self, node):
        own = [m for m in node.zone(SLUG)["members"] if m["node"] == node.name]
        return int(own[0]["applied_index"])

    def kinds(self, node):
        done = node.gvraft("--json", "events")
        return [grapevine.json.loads(line)["kind"] for line in done.stdout.splitlines()]

    def raft_life(self, node):
        return int(grapevine.state_json(node, "zones.json")[0]["raft_id"]) & 0xffff

    def journal(self, node):
        return os.path.join(node.pools["tank"], SLUG, "journal")

    def leave_unapplied(self, gv, load, victim, others):
        """Kill @victim with entries that it has and has not applied; what the others have
        by then is committed. It is back, alone. Returns the index of the first of them."""
        for _ in range(30):
            load.wait_steps(5)
            victim.kill()
            load.wait_steps(5)
            for node in others:
                node.kill()
            victim.start()
            applied = grapevine.wait(lambda: self.applied(victim), "it has opened the zone")
            if applied + 1 in entries(self.journal(victim)):
                return applied + 1
            for node in others:
                node.start()
            gv.wait_settled(SLUG, 3)
        self.fail("it has always applied everything")

    # Payload rots in the journal of a member that is down, of data that has not settled. It
    # opens the journal, and each block is healed when it is read there.
    def test_payload_that_rots_at_rest(self):
        gv = self.grapevine(3)
        gv.make_zone(SLUG, [0, 1, 2])
        leader = gv.leader(SLUG)
        victim = [node for node in gv.nodes if node is not leader][0]
        load = grapevine.Load(gv.client(SLUG, gv.nodes.index(leader)), "load")
        load.wait_steps(40)
        load.stop()
        gv.wait_settled(SLUG, 3)
        victim.stop()
        flipped = 0
        for path, offset in entries(self.journal(victim)).values():
            with open(path, "rb") as f:
                f.seek(offset + 40)
                head, payload = struct.unpack("<II", f.read(8))
            if payload > 3000:
                for i in range(2):  # One bit would be set right.
                    flip(path, offset + HEADER + (head + 7) // 8 * 8 + payload // 2 + i)
                flipped += 1
        self.assertGreater(flipped, 5)
        victim.start()
        gv.wait_settled(SLUG, 3)
        load.check(gv.client(SLUG, gv.nodes.index(victim)))
        grapevine.wait(lambda: gv.same_digests(SLUG), "the copies are the same")
        self.assertIn("block-healed", self.kinds(victim))
        self.assertEqual(self.raft_life(victim), 1)
        self.assertNotIn("quarantine", self.kinds(victim))

    def segments(self, node):
        return sorted(os.path.basename(p) for p in glob.glob(self.journal(node) + "/*.seg"))

    # As below; and as soon as it is past the entry, it is killed and started again. The bad
    # spot is still in its journal, or has gone with its segment: in either case the member
    # opens it and is the member it was. In the end the segment is gone, and no spare is made
    # of it.
    def test_restart_past_it(self):
        gv = self.grapevine(3)
        gv.make_zone(SLUG, [0, 1, 2])
        leader = gv.leader(SLUG)
        victim, other = [node for node in gv.nodes if node is not leader]
        places = [gv.nodes.index(node) for node in (leader, other)]
        load = grapevine.Load(gv.client(SLUG, *places), "load")
        index = self.leave_unapplied(gv, load, victim, [leader, other])
        path, offset = entries(self.journal(victim))[index]
        flip(path, offset + 20)
        leader.start()
        other.start()
        grapevine.wait(lambda: "entry-healed" in self.kinds(victim), "it gets past it")
        victim.kill()
        victim.start()
        load.wait_steps(20)
        victim.stop()
        victim.start()
        load.stop()
        gv.wait_settled(SLUG, 3)
        grapevine.wait(lambda: gv.same_digests(SLUG), "the copies are the same")
        self.assertEqual(self.raft_life(victim), 1)
        self.assertNotIn("quarantine", self.kinds(victim))
        self.assertNotIn("failed", self.kinds(victim))
        grapevine.wait(lambda: os.path.basename(path) not in self.segments(victim),
                       "the segment with it goes")
        self.assertFalse(os.path.exists(path[:-len("seg")] + "spare"))
        for i in range(3):
            load.check(gv.client(SLUG, i))

    # The journal is whole when it is opened; then a bit flips in the first entry that is to
    # be applied. When the others are back it is told that the entry is committed, finds that
    # it cannot read it, and takes the state from them. Its raft id, and so its vote, stays.
    def test_unapplied_entry(self):
        gv = self.grapevine(3)
        gv.make_zone(SLUG, [0, 1, 2])
        leader = gv.leader(SLUG)
        victim, other = [node for node in gv.nodes if node is not leader]
        places = [gv.nodes.index(node) for node in (leader, other)]
        load = grapevine.Load(gv.client(SLUG, *places), "load")
        index = self.leave_unapplied(gv, load, victim, [leader, other])
        path, offset = entries(self.journal(victim))[index]
        flip(path, offset + 52)
        leader.start()
        other.start()
        grapevine.wait(lambda: "entry-bad" in self.kinds(victim), "it meets the entry")
        grapevine.wait(lambda: "entry-healed" in self.kinds(victim), "it gets past it")
        self.assertIn("blocks-bad", victim.gvraft("doctor").stdout)
        load.wait_steps(20)
        load.stop()
        gv.wait_settled(SLUG, 3)
        grapevine.wait(lambda: gv.same_digests(SLUG), "the copies are the same")
        self.assertEqual(self.raft_life(victim), 1)
        self.assertNotIn("quarantine", self.kinds(victim))
        self.assertNotIn("failed", self.kinds(victim))
        for i in range(3):
            load.check(gv.client(SLUG, i))
