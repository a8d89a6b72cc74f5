"""A zone, or the grapevine itself, whose majority is gone for good goes on with what is
left; what comes back later never mixes with it, and is kept."""

import glob
import os

import grapevine


class Recover(grapevine.GrapevineTest):
    def loaded(self, gv, slug, *places):
        load = grapevine.Load(gv.client(slug, *places), "load")
        load.wait_steps(10)
        return load

    def kept(self, node, slug):
        return glob.glob(os.path.join(node.pools["tank"], slug + ".discarded-*"))

    def recover(self, node, slug, expect=0):
        done = node.gvraft("zone", "recover", slug, "--accept-loss", "--confirm", slug)
        self.assertEqual(done.returncode, expect, done.stderr)
        return done.stderr

    def most_advanced(self, nodes, slug):
        """Of @nodes, the one that says it may recover the zone, and what it said."""
        for node in nodes:
            done = node.gvraft("zone", "recover", slug, "--accept-loss", "--confirm", slug)
            if done.returncode == 0:
                return node
            self.assertIn("has more of '%s'" % slug, done.stderr)
        raise AssertionError("nobody may")

    # Three of five nodes hold the grapevine; of the zone's three members two die. The
    # third goes on, handles stay good, and the dead find that they are out: they elect
    # nobody, and what they had is kept.
    def test_zone_majority_gone(self):
        gv = self.grapevine(5)
        gv.make_zone("z", [2, 3, 4])
        load = self.loaded(gv, "z", 0)
        gv.wait_settled("z", 3)
        err = self.recover(gv[2], "z", expect=1)
        self.assertIn("a majority of the members", err)
        load.stop()
        gv.wait_settled("z", 3)
        client = gv.client("z", 2)
        held = client.lookup(client.root, "load")
        for i in (3, 4):
            gv[i].kill()
        grapevine.wait(lambda: gv[2].zone("z")["state"] == "offline", "the zone stands")
        asked = gv[2].gvraft("zone", "recover", "z", "--accept-loss")
        self.assertEqual(asked.returncode, 1)
        self.assertIn("do not answer: %s, %s" % (gv[3].name, gv[4].name), asked.stderr)
        self.assertIn("--confirm", asked.stderr)
        wrong = gv[2].gvraft("zone", "recover", "z", "--accept-loss", "--confirm", "y")
        self.assertEqual(wrong.returncode, 1)
        self.assertEqual(gv[2].gvraft("zone", "recover", "z").returncode, 2)
        self.assertEqual(gv[2].zone("z")["state"], "offline")
        self.recover(gv[2], "z")
        grapevine.wait(lambda: gv[2].zone("z")["leader"] == gv[2].name, "it goes on")
        self.assertEqual(gv.client("z", 2).names(held), gv.client("z", 0).names(held))
        load.check(gv.client("z", 0))
        after = grapevine.Load(gv.client("z", 1, 0), "after")
        after.wait_steps(5)
        for i in (3, 4):
            gv[i].start()
        for i in (3, 4):
            grapevine.wait(lambda: self.kept(gv[i], "z"), "%s keeps it" % gv[i].name)
        self.assertEqual([m["node"] for m in gv[3].zone("z")["members"]], [gv[2].name])
        for i in (3, 4):
            gv[2].ask("zone", "add-member", "z", gv[i].name)
        gv[2].kill()
        gv[2].start()
        after.wait_steps(5)
        after.stop()
        gv.wait_settled("z", 3)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")
        for place in (2, 3, 4):
            load.check(gv.client("z", place))
            after.check(gv.client("z", place))
        for i in (3, 4):
            self.assertTrue(os.path.exists(os.path.join(
                self.kept(gv[i], "z")[0], "DISCARDED")))

    # Two of four members are left, killed under load: both go on, with their data. Only
    # one that has all that the other knows to be committed may begin.
    def test_two_of_four_left(self):
        gv = self.grapevine(5)
        gv.make_zone("z", [1, 2, 3, 4])
        load = self.loaded(gv, "z", 0)
        leader = gv.leader("z")
        dead = [leader, next(n for n in gv.nodes[1:] if n is not leader)]
        left = [n for n in gv.nodes[1:] if n not in dead]
        for node in dead:
            node.kill()
        grapevine.wait(lambda: left[0].zone("z")["state"] == "offline", "the zone stands")
        begins = self.most_advanced(left, "z")
        done = begins.gvraft("zone", "recover", "z", "--accept-loss", "--confirm", "z")
        self.assertIn("a majority of the members", done.stderr)
        load.wait_steps(10)
        for node in dead:
            node.start()
        for node in dead:
            grapevine.wait(lambda: self.kept(node, "z"), "%s keeps it" % node.name)
        load.wait_steps(5)
        load.stop()
        gv.wait_settled("z", 2)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")
        load.check(gv.client("z", 0))
        self.assertEqual([self.kept(node, "z") for node in left], [[], []])

    # Two of three nodes are gone, and with them the grapevine's majority and the zone's.
    # One goes on, alone. When the others come back, together, they are a majority of what
    # was before: they follow all the same, and what they had is kept.
    def test_grapevine_majority_gone(self):
        gv = self.grapevine(3)
        gv.make_zone("z", [0, 1, 2])
        gv.make_zone("own", [2])
        load = self.loaded(gv, "z", 0)
        load.stop()
        gv.wait_settled("z", 3)
        client = gv.client("z", 0)
        held = client.lookup(client.root, "load")
        other = gv.client("own", 2)
        other.create(other.root, "there")
        for i in (1, 2):
            gv[i].kill()
        grapevine.wait(lambda: gv[0].zone("z")["state"] == "offline", "the zone stands")
        done = gv[0].gvraft("zone", "recover", "z", "--accept-loss", "--confirm", "z")
        self.assertIn("gvraft recover", done.stderr)
        pid = gv[0].process.pid
        done = gv[0].gvraft("recover", "--accept-loss", "--confirm", gv[0].name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((gv[0].process.pid, gv[0].process.poll()), (pid, None))
        self.recover(gv[0], "z")
        load.check(gv.client("z", 0))
        self.assertEqual(len(gv.client("z", 0).names(held)), len(load.files))
        after = grapevine.Load(gv.client("z", 0), "after")
        after.wait_steps(5)
        for i in (1, 2):
            gv[i].start()
        for i in (1, 2):
            grapevine.wait(lambda: self.kept(gv[i], "z"), "%s keeps it" % gv[i].name)
            self.assertEqual(len(glob.glob(os.path.join(
                gv[i].dir, "state", "directory.discarded-*"))), 1)
        # What is of nobody else goes on where it is.
        grapevine.wait(lambda: gv[0].zone("own")["leader"] == gv[2].name, "own goes on")
        self.assertEqual(gv.client("own", 1).names(gv.client("own", 0).root), ["there"])
        for i in (1, 2):
            gv[i].ask("zone", "add-member", "z", gv[i].name)
        after.wait_steps(5)
        # The grapevine has three voters again: one may go.
        gv[0].kill()
        gv.wait_leader("z", gv[0])
        grapevine.wait(lambda: gv[1].gvraft("zone", "create", "new", "--quota", "1GiB",
                                            "--member", gv[1].name).returncode == 0
                       or "new" in {z["slug"] for z in gv[1].status()["zones"]},
                       "the directory is written")
        gv[0].start()
        after.wait_steps(5)
        after.stop()
        gv.wait_settled("z", 3)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")
        for i in (0, 1, 2):
            load.check(gv.client("z", i))
            after.check(gv.client("z", i))
