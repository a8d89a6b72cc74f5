"""Disks that are slow, in real daemons: a library that is preloaded makes every sync of one
daemon take longer, from the moment the test says so."""

import os

import grapevine

SHIM = os.path.join("tests", "integ", "slowdisk.so")
SLOW_MS = 250
LONG_MS = 10000


class Slow(grapevine.GrapevineTest):
    def three(self):
        """Three nodes whose disks can be made slow, and the load of one client."""
        gv = grapevine.Grapevine(self.tmp)
        self.grapevines.append(gv)
        gv.environment = lambda node: {
            "LD_PRELOAD": os.path.join(grapevine.build_dir(), SHIM),
            "SLOWDISK_FILE": self.file_of(node),
            "ASAN_OPTIONS": "verify_asan_link_order=0",
        }
        for _ in range(3):
            gv.add_node()
        gv.make_zone("tier-1", [0, 1, 2])
        return gv

    def file_of(self, node):
        return os.path.join(node.dir, "slow")

    def slow(self, node, ms):
        path = self.file_of(node)
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write("%d\n" % ms)
        os.rename(path + ".new", path)

    def load(self, gv, leader):
        at = next(i for i, n in enumerate(gv.nodes) if n is not leader)
        load = grapevine.Load(gv.client("tier-1", at), "load")
        load.wait_steps(20)
        return load

    def finish(self, gv, load):
        load.stop()
        gv.wait_settled("tier-1")
        grapevine.wait(lambda: gv.same_digests("tier-1"), "the copies are the same")
        client = gv.client("tier-1", 0)
        load.check(client)
        client.close()

    def log_of(self, node):
        with open(node.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    # The leader's disk becomes slow: it hands over by itself, says so, and whoever leads
    # then is not slowed down by it. With all disks slow, nobody hands over.
    def test_leader_with_a_slow_disk(self):
        gv = self.three()
        leader = gv.leader("tier-1")
        load = self.load(gv, leader)
        self.slow(leader, SLOW_MS)
        new = gv.wait_leader("tier-1", but=leader)
        grapevine.wait(lambda: "this disk is slow" in self.log_of(leader), "it was said")
        load.wait_steps(20)
        for node in gv.nodes:
            self.slow(node, SLOW_MS)
        load.wait_steps(15)
        self.assertEqual(gv.leader("tier-1").name, new.name)
        self.assertNotIn("this disk is slow", self.log_of(new))
        self.finish(gv, load)

    # It stands still for longer than anybody waits: the others go on without it.
    def test_leader_whose_disk_stands_still(self):
        gv = self.three()
        leader = gv.leader("tier-1")
        load = self.load(gv, leader)
        self.slow(leader, LONG_MS)
        gv.wait_leader("tier-1", but=leader)
        load.wait_steps(20)
        self.slow(leader, 0)
        self.finish(gv, load)

    # Nobody waits for a follower's disk.
    def test_follower_with_a_slow_disk(self):
        gv = self.three()
        leader = gv.leader("tier-1")
        load = self.load(gv, leader)
        follower = next(n for n in gv.nodes if n is not leader)
        self.slow(follower, LONG_MS)
        load.wait_steps(200)  # Far more than syncs of the follower in that time.
        self.assertEqual(gv.leader("tier-1").name, leader.name)
        self.slow(follower, 0)
        self.finish(gv, load)
