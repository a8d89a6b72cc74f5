"""A zone, or the grapevine itself, whose majority is gone for good goes on with what is
left; what comes back later never mixes with it, and is kept."""

import glob
import json
import os
import random
import subprocess
import threading

import grapevine
import nfs3


class Recover(grapevine.GrapevineTest):
    def all_vote(self, n):
        """@n nodes that have just joined, and all of them vote on the directory."""
        gv = self.grapevine(n)
        for node in gv.nodes:
            self.wait_vote(node)
        return gv

    def wait_vote(self, node):
        grapevine.wait(lambda: node.control("recover-look", {
            "group": node.status()["grapevine"]})["result"]["voter"], "%s votes" % node.name)

    def wait_up(self, node, other):
        grapevine.wait(lambda: [n["up"] for n in node.status()["nodes"]
                                if n["name"] == other.name] == [True],
                       "%s reaches %s" % (node.name, other.name))

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
        gv = self.all_vote(5)
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
            kept = self.kept(gv[i], "z")[0]
            self.assertTrue(os.path.exists(os.path.join(kept, "DISCARDED")))
            self.assertIn("warning: %s" % kept, gv[i].gvraft("status").stderr)

    # What only the lost members had is gone, and its handles are stale for good: a file that
    # is made afterwards gets the inode number of a lost one, but is not taken for it. Each
    # lost file is made one entry further from the next, so that one of them has the very
    # place in the log that a new one with its number would have.
    def test_handles_of_what_is_lost(self):
        gv = self.all_vote(5)
        gv.make_zone("z", [2, 3, 4])
        client = gv.client("z", 3)
        kept = client.create(client.root, "kept")
        gv.wait_settled("z", 3)
        gv[2].kill()
        gv.wait_leader("z", gv[2])
        before = gv.client("z", 3)
        lost = []
        for i in range(16):
            lost.append(before.create(before.root, "lost-%d" % i))
            before.chmod(kept, 0o600 + i)
        numbers = [before.getattr(fh)["fileid"] for fh in lost]
        for i in (3, 4):
            gv[i].kill()
        gv[2].start()
        grapevine.wait(lambda: "--confirm" in gv[2].gvraft(
            "zone", "recover", "z", "--accept-loss").stderr, "it may be recovered")
        self.recover(gv[2], "z")
        after = gv.client("z", 0)
        made = [after.create(after.root, "new-%d" % i) for i in range(16)]
        self.assertTrue(set(numbers) & {after.getattr(fh)["fileid"] for fh in made})
        for fh in lost:
            self.assertNotIn(fh, made)
            with self.assertRaises(nfs3.NfsError) as stale:
                after.getattr(fh)
            self.assertEqual(stale.exception.status, nfs3.STALE)
        self.assertEqual(after.getattr(after.lookup(after.root, "kept"))["mode"], 0o644)
        after.chmod(kept, 0o640)
        # Nothing of what comes back, or joins anew, changes that.
        gv[3].start()
        grapevine.wait(lambda: self.kept(gv[3], "z"), "%s keeps it" % gv[3].name)
        self.wait_up(gv[2], gv[3])
        gv[2].ask("zone", "add-member", "z", gv[3].name)
        gv.wait_settled("z", 2)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")
        again = gv.client("z", 3)
        for fh in lost:
            with self.assertRaises(nfs3.NfsError) as stale:
                again.getattr(fh)
            self.assertEqual(stale.exception.status, nfs3.STALE)
        self.assertEqual(sorted(again.names(again.root)),
                         sorted(["kept"] + ["new-%d" % i for i in range(16)]))

    # The last member had just pulled, and has of a file what an entry did that is lost. That
    # is told, with its path, before it is decided; the zone goes on, what was pulled stays
    # as it is, and status points to the names until a person has looked.
    def test_torn_files_are_named(self):
        gv = self.all_vote(5)
        gv.make_zone("z", [2, 3, 4])
        client = gv.client("z", 3)
        folder = client.mkdir(client.root, "a folder")
        held = client.create(folder, "photo")
        client.write(held, 0, b"x" * 40000)
        number = client.getattr(held)["fileid"]
        gv.wait_settled("z", 3)
        for i in (2, 3, 4):
            gv[i].stop()
        dataset = os.path.join(gv[2].pools["tank"], "z")
        with open(os.path.join(dataset, "marker"), encoding="ascii") as f:
            zone = f.read().split()[4]
        tool = os.path.join(grapevine.build_dir(), "tests", "integ", "torn")
        self.assertEqual(subprocess.run([tool, dataset, zone, str(number), "40000", "999"],
                                        check=False).returncode, 0)
        gv[2].start()
        asked = grapevine.wait(lambda: self.plan(gv[2], "z"), "it may be recovered")
        self.assertIn("1 file has a part", asked)
        self.assertIn("    /a folder/photo\n", asked)
        self.recover(gv[2], "z")
        data = gv.client("z", 0).read_all(held)
        self.assertEqual((len(data), data[:20000], data[20000:].strip(b"\0")),
                         (40000, b"x" * 20000, b""))
        names = os.path.join(dataset, "TORN")
        with open(names, encoding="utf-8") as f:
            self.assertEqual(f.read().splitlines()[-1], "/a folder/photo")
        self.assertIn(names, gv[2].gvraft("status").stderr)
        self.assertIn("1 file has a part of what was lost", gv[2].log_text())
        os.remove(names)
        self.assertNotIn(names, gv[2].gvraft("status").stderr)
        for i in (3, 4):
            gv[i].start()
        grapevine.wait(lambda: self.kept(gv[3], "z"), "%s keeps it" % gv[3].name)
        self.wait_up(gv[2], gv[3])
        gv[2].ask("zone", "add-member", "z", gv[3].name)
        gv.wait_settled("z", 2)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")

    def plan(self, node, slug):
        text = node.gvraft("zone", "recover", slug, "--accept-loss").stderr
        return text if "--confirm" in text else None

    # Two of four members are left, killed under load: both go on, with their data. Only
    # one that has all that the other knows to be committed may begin.
    def test_two_of_four_left(self):
        gv = self.all_vote(5)
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
    # One goes on, alone. The others come back while it is down: they are a majority of what
    # was before, elect each other and take writes. Once they meet it they follow all the
    # same, nothing mixes, and what they had is kept.
    def test_grapevine_majority_gone(self):
        gv = self.all_vote(3)
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
        grapevine.wait(lambda: "begin with gvraft recover" in gv[0].gvraft(
            "zone", "recover", "z", "--accept-loss").stderr, "the grapevine comes first")
        pid = gv[0].process.pid
        done = gv[0].gvraft("recover", "--accept-loss", "--confirm", gv[0].name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((gv[0].process.pid, gv[0].process.poll()), (pid, None))
        self.recover(gv[0], "z")
        # It began anew, and pgrep and ps still find it.
        with open("/proc/%d/comm" % pid, encoding="ascii") as f:
            self.assertEqual(f.read(), "grapevined\n")
        load.check(gv.client("z", 0))
        self.assertEqual(len(gv.client("z", 0).names(held)), len(load.files))
        after = grapevine.Load(gv.client("z", 0), "after")
        after.wait_steps(5)
        after.stop()
        gv[0].kill()
        for i in (1, 2):
            gv[i].start()
        gv.wait_leader("z")
        apart = gv.client("z", 1)
        apart.create(apart.root, "apart")
        apart.close()
        gv[0].start()
        for i in (1, 2):
            grapevine.wait(lambda: self.kept(gv[i], "z"), "%s keeps it" % gv[i].name)
            self.assertEqual(len(glob.glob(os.path.join(
                gv[i].dir, "state", "directory.discarded-*"))), 1)
        # What is of nobody else goes on where it is.
        grapevine.wait(lambda: gv[0].zone("own")["leader"] == gv[2].name, "own goes on")
        self.assertEqual(gv.client("own", 1).names(gv.client("own", 0).root), ["there"])
        for i in (0, 1, 2):
            client = gv.client("z", i)
            self.assertEqual(sorted(client.names(client.root)), ["after", "load"])
        for i in (1, 2):
            gv[i].ask("zone", "add-member", "z", gv[i].name)
        gv.wait_settled("z", 3)
        # The grapevine has three voters again: one may go.
        gv[0].kill()
        gv.wait_leader("z", gv[0])
        grapevine.wait(lambda: gv[1].gvraft("zone", "create", "new", "--quota", "1GiB",
                                            "--member", gv[1].name).returncode == 0
                       or "new" in {z["slug"] for z in gv[1].status()["zones"]},
                       "the directory is written")
        gv[0].start()
        gv.wait_settled("z", 3)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")
        for i in (0, 1, 2):
            load.check(gv.client("z", i))
            after.check(gv.client("z", i))

    # Killed again and again while it recovers, at moments that differ: the command can be
    # given again, or it is done already.
    def test_killed_while_it_recovers(self):
        gv = self.all_vote(5)
        gv.make_zone("z", [2, 3, 4])
        load = self.loaded(gv, "z", 2)
        load.stop()
        gv.wait_settled("z", 3)
        for i in (3, 4):
            gv[i].kill()
        rng = random.Random(3)
        for _ in range(6):
            command = threading.Thread(target=gv[2].gvraft, args=(
                "zone", "recover", "z", "--accept-loss", "--confirm", "z"))
            command.start()
            command.join(rng.uniform(0.02, 0.35))
            gv[2].kill()
            command.join()
            gv[2].start()
        done = grapevine.wait(lambda: self.done_or_again(gv[2]), "it is recovered")
        self.assertTrue(done)
        load.check(gv.client("z", 1))
        # A crash between the log's new entry and the node's own note of it.
        gv[2].stop()
        self.edit(gv[2], "zones.json", lambda zones: zones[0].update(
            raft_id=str(int(zones[0]["raft_id"]) & ~0xffff | 1)))
        gv[2].start()
        gv.wait_settled("z", 1)
        load.check(gv.client("z", 2))
        for i in (3, 4):
            gv[i].start()
            grapevine.wait(lambda: self.kept(gv[i], "z"), "%s keeps it" % gv[i].name)

    def done_or_again(self, node):
        if node.zone("z")["leader"] == node.name:
            return True
        done = node.gvraft("zone", "recover", "z", "--accept-loss", "--confirm", "z")
        return done.returncode == 0

    def edit(self, node, name, change):
        content = grapevine.state_json(node, name)
        change(content)
        grapevine.write_state(node, name, content)

    # The same for the grapevine: killed while it recovers, and in the state in which a
    # crash leaves a node between two of the steps.
    def test_killed_while_the_grapevine_recovers(self):
        gv = self.all_vote(3)
        gv.make_zone("own", [0])
        for i in (1, 2):
            gv[i].kill()
        rng = random.Random(4)
        for _ in range(4):
            command = threading.Thread(target=gv[0].gvraft, args=(
                "recover", "--accept-loss", "--confirm", gv[0].name))
            command.start()
            command.join(rng.uniform(0.05, 0.6))
            gv[0].kill()
            gv[0].start()
            command.join()
        grapevine.wait(lambda: self.writes(gv[0]), "the directory is written")
        # The log was made ready, but node.json does not know of it.
        gv[0].stop()
        self.edit(gv[0], "node.json", lambda node: node.update(
            directory_epoch="0", recovers=True))
        gv[0].start()
        grapevine.wait(lambda: self.writes(gv[0]), "the directory is written")
        epoch = self.state(gv[0])["epoch"]
        self.assertEqual(self.state(gv[0])["directory_epoch"], epoch)
        # Who follows, stopped right after it decided to.
        self.edit(gv[1], "node.json", lambda node: node.update(epoch=epoch))
        for i in (1, 2):
            gv[i].start()
        for i in (1, 2):
            grapevine.wait(lambda: self.state(gv[i])["directory_epoch"] == epoch,
                           "%s follows" % gv[i].name)
            grapevine.wait(lambda: len(gv[i].status()["nodes"]) == 3, "it knows all")
            self.wait_vote(gv[i])
        gv[0].kill()
        grapevine.wait(lambda: gv[1].gvraft("invite").returncode == 0,
                       "two of three write the directory")
        gv[0].start()
        gv.wait_settled("own", 1)
        # A node that joins now is in this epoch too, and its number is nobody's of before.
        new = gv.add_node()
        nodes = {n["name"]: int(n["number"]) for n in new.status()["nodes"]}
        self.assertEqual(len(nodes), 4)
        self.assertGreater(nodes[new.name], 1024)
        self.assertEqual(self.state(new)["epoch"], epoch)

    def state(self, node):
        return grapevine.state_json(node, "node.json")

    def writes(self, node):
        """A row of the directory can be written; before that, where it is needed, the
        recovery is given again."""
        done = node.gvraft("recover", "--accept-loss", "--confirm", node.name)
        assert done.returncode == 0 or "a majority" in done.stderr, done.stderr
        return node.gvraft("invite").returncode == 0

    # Recovered on two sides that do not know of each other: they stay two grapevines.
    def test_recovered_twice(self):
        gv = self.all_vote(2)
        for one, other in ((0, 1), (1, 0)):
            gv[other].kill()
            done = gv[one].gvraft("recover", "--accept-loss", "--confirm", gv[one].name)
            self.assertEqual(done.returncode, 0, done.stderr)
            gv[one].kill()
            gv[other].start()
        for node in gv.nodes:
            if not node.running():
                node.start()
        for node in gv.nodes:
            grapevine.wait(lambda: "two grapevines now" in node.log_text(), "it is told")
            self.assertEqual(node.gvraft("invite").returncode, 0)
            self.assertIn("two grapevines now", node.gvraft("status").stderr)
            self.assertEqual([n["up"] for n in node.status()["nodes"] if not n["self"]],
                             [False])
