"""Members change under load: grow, shrink, replace, move, interrupted in between. Nothing
acknowledged is lost or shows twice, and every copy ends the same."""

import random
import threading

import grapevine

# Far above what a change of leader takes, far below what a client gives up after.
PAUSE_SECONDS_MAX = 30


class Growth(grapevine.GrapevineTest):
    def members(self, at, slug):
        return {m["node"]: m["role"] for m in at.zone(slug)["members"]}

    def wait_members(self, gv, at, slug, nodes):
        """@at and the zone's leader agree: just @nodes, each a voter."""
        wanted = {node.name: "voter" for node in nodes}
        grapevine.wait(lambda: self.members(at, slug) == wanted,
                       "the members of %s are %s" % (slug, sorted(wanted)))
        grapevine.wait(lambda: gv.leader(slug) in nodes, "one of them leads")

    def loads(self, gv, slug, *nodes):
        return [grapevine.Load(gv.client(slug, *places), "load%d" % i, seed=i)
                for i, places in enumerate(nodes)]

    def steps(self, loads, n=5):
        for load in loads:
            load.wait_steps(n)

    def finish(self, gv, slug, loads, at, n_members):
        pause = max(load.client.seconds_max for load in loads)
        print("      %s: longest call %.2f s, %d steps" % (
            self.id().split(".")[-1], pause, sum(load.steps for load in loads)))
        for load in loads:
            load.stop()
        gv.wait_settled(slug, n_members)
        grapevine.wait(lambda: gv.same_digests(slug), "the copies are the same")
        for load in loads:
            load.check(gv.client(slug, at))
        self.assertLess(pause, PAUSE_SECONDS_MAX)

    # 1 -> 2 -> 3 -> 5 and back to 1; who is removed is the leader, each time.
    def test_grow_and_shrink(self):
        gv = self.grapevine(5)
        gv.make_zone("z", [0])
        at = gv[4]
        loads = self.loads(gv, "z", (4,), (0,))
        for n in (1, 2, 3, 4):
            self.steps(loads)
            at.ask("zone", "add-member", "z", gv[n].name)
            self.wait_members(gv, at, "z", gv.nodes[:n + 1])
        self.steps(loads)
        left = list(gv.nodes)
        while len(left) > 1:
            leader = gv.wait_leader("z")
            at.ask("zone", "remove-member", "z", leader.name)
            left.remove(leader)
            self.wait_members(gv, at, "z", left)
            self.steps(loads)
        self.finish(gv, "z", loads, 4, 1)

    # A zone of one moves: its clients wait no longer than for a change of leader.
    def test_move(self):
        gv = self.grapevine(3)
        gv.make_zone("z", [0])
        loads = self.loads(gv, "z", (2,), (0,))
        self.steps(loads)
        gv[2].ask("zone", "replace-member", "z", gv[0].name, gv[1].name)
        self.wait_members(gv, gv[2], "z", [gv[1]])
        self.steps(loads)
        self.finish(gv, "z", loads, 2, 1)

    # A dead member is replaced by another node, while the others go on. When the dead one
    # is back, it removes what it had.
    def test_replace_dead(self):
        gv = self.grapevine(4)
        gv.make_zone("z", [0, 1, 2])
        loads = self.loads(gv, "z", (3,))
        self.steps(loads)
        gv[1].kill()
        gv[3].ask("zone", "replace-member", "z", gv[1].name, gv[3].name)
        self.wait_members(gv, gv[3], "z", [gv[0], gv[2], gv[3]])
        self.steps(loads)
        down = gv[3].gvraft("zone", "add-member", "z", gv[1].name)
        self.assertEqual(down.returncode, 1)
        self.assertIn("must be running to become a member", down.stderr)
        gv[1].start()
        grapevine.wait(lambda: "dataset removed" in gv[1].log_tail(200), "its data goes")
        self.steps(loads)
        self.finish(gv, "z", loads, 1, 3)

    # Two changes at once, given on two nodes, while leadership is handed over and the quota
    # changed: each happens, or says that it did not.
    def test_two_at_once(self):
        gv = self.grapevine(4)
        gv.make_zone("z", [0, 1])
        loads = self.loads(gv, "z", (3,))
        self.steps(loads)
        done = {}

        def change(node, *args):
            done[args] = node.gvraft("zone", *args)
        add = ("add-member", "z", gv[2].name)
        remove = ("remove-member", "z", gv[0].name)
        quota = ("set-quota", "z", "2GiB")
        threads = [threading.Thread(target=change, args=(gv[1], *add)),
                   threading.Thread(target=change, args=(gv[3], *remove)),
                   threading.Thread(target=change, args=(gv[2], *quota)),
                   threading.Thread(target=gv[3].gvraft, args=("transfer-leader", "z"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for args, result in done.items():
            while result.returncode != 0:  # The leader's own changes count, too.
                self.assertIn("changed by somebody else meanwhile", result.stderr)
                result = gv[3].gvraft("zone", *args)
        self.wait_members(gv, gv[3], "z", [gv[1], gv[2]])
        self.assertEqual(int(gv[1].zone("z")["quota_bytes"]), 2 << 30)
        self.steps(loads)
        self.finish(gv, "z", loads, 3, 2)

    # Whoever is killed in the middle of a change: it is completed after a restart, or it
    # was not begun and is given again.
    def test_interrupted(self):
        gv = self.grapevine(4)
        gv.make_zone("z", [0])
        loads = self.loads(gv, "z", (3, 2, 1, 0))
        rng = random.Random(7)
        at = gv[3]
        wanted = [0]
        for what, *who in (("add", 1), ("add", 2), ("remove", 0), ("replace", 1, 0),
                           ("add", 1), ("remove", 0), ("replace", 2, 0)):
            self.steps(loads, 2)
            words = ["zone", what + "-member", "z"] + [gv[n].name for n in who]
            command = threading.Thread(target=at.gvraft, args=words)
            victim = gv[rng.randrange(3)]
            command.start()
            command.join(rng.uniform(0.05, 1.5))
            victim.kill()
            victim.start()
            command.join()
            if what != "add":
                wanted.remove(who[0])
            if what != "remove":
                wanted.append(who[-1])
            nodes = [gv[i] for i in wanted]
            grapevine.wait(lambda: self.begun(at, nodes, words), "it was begun")
            self.wait_members(gv, at, "z", nodes)
        self.steps(loads)
        self.finish(gv, "z", loads, 3, len(wanted))

    def begun(self, at, nodes, words):
        """The rows are as the command wants them; else it is given again."""
        found = {name for name, role in self.members(at, "z").items() if role != "leaving"}
        if found == {node.name for node in nodes}:
            return True
        at.gvraft(*words)
        return False
