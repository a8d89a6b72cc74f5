"""Daemons that die, stop, hand over and come back while clients work. No client may see an
error, nothing acknowledged may be missing, nothing may happen twice."""

import grapevine
import nfs3


class Failure(grapevine.GrapevineTest):
    def three(self, slug="tier-1"):
        gv = self.grapevine(3)
        gv.make_zone(slug, [0, 1, 2])
        return gv

    def others(self, gv, node):
        return [i for i, n in enumerate(gv.nodes) if n is not node]

    def loads(self, gv, slug, indices):
        return [grapevine.Load(gv.client(slug, i), "load-%d" % i, seed=i) for i in indices]

    def finish(self, gv, slug, loads, indices=(0, 1, 2)):
        """Stop the loads; every node shows what was acknowledged."""
        for load in loads:
            load.stop()
        gv.wait_settled(slug)
        grapevine.wait(lambda: gv.same_digests(slug), "the copies are the same")
        for i in indices:
            client = gv.client(slug, i)
            for load in loads:
                load.check(client)
            client.close()
        print("    longest call %.2f s, retransmissions %d, asked to come later %d" % (
            max(load.client.seconds_max for load in loads),
            sum(load.client.retransmissions for load in loads),
            sum(load.client.later for load in loads)))

    # kill -9 of the leader while clients of the two others write: they wait, and go on.
    def test_leader_killed(self):
        gv = self.three()
        leader = gv.leader("tier-1")
        loads = self.loads(gv, "tier-1", self.others(gv, leader))
        for load in loads:
            load.wait_steps(30)
        leader.kill()
        gv.wait_leader("tier-1", but=leader)
        for load in loads:
            load.wait_steps(30)
        leader.start()
        for load in loads:
            load.wait_steps(30)
        self.finish(gv, "tier-1", loads)

    # A client whose node dies asks another one, with the same xid: a step that was done
    # but not answered is answered, not done again. Many times, to meet that moment.
    def test_client_moves(self):
        gv = self.three()
        load = grapevine.Load(gv.client("tier-1", 0, 1, 2), "load")
        for _ in range(5):
            load.wait_steps(15)
            at = next(n for n in gv.nodes if (n.host, n.nfs_port) == load.client.server)
            at.kill()
            load.wait_steps(5)
            at.start()
            gv.wait_settled("tier-1")
        self.finish(gv, "tier-1", [load])

    # A call that waits at a node for members that are down, whose client has gone: it may
    # have gone to another node, with this call and on from there. It is not done later.
    def test_client_gone(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [1, 2])
        client = gv.client("tier-1", 0)
        for node in gv.nodes[1:]:
            node.kill()
        connection = nfs3.Connection(gv[0].host, gv[0].nfs_port, client.source)
        connection.send(client.message(4711, 8, client.create_args(client.root, "late")))
        self.answers_null(connection)  # So the one before it has been read.
        connection.close()
        for _ in range(2):  # Whoever is served now came after the end of that one.
            connection = nfs3.Connection(gv[0].host, gv[0].nfs_port, client.source)
            self.answers_null(connection)
            connection.close()
        for node in gv.nodes[1:]:
            node.start()
        client.create(client.root, "next")
        gv.wait_settled("tier-1")
        self.assertEqual(gv.client("tier-1", 1).names(client.root), ["next"])

    def answers_null(self, connection):
        connection.send(nfs3.pack_u32(7, 0, 2, nfs3.NFS_PROGRAM, 3, 0, 0, 0, 0, 0))
        self.assertEqual(nfs3.Reader(connection.receive()).u32(), 7)

    # Power fails everywhere at once: what was acknowledged is there afterwards, and the
    # handles that clients hold go on working.
    def test_all_killed(self):
        gv = self.three()
        loads = self.loads(gv, "tier-1", (0, 1, 2))
        for load in loads:
            load.wait_steps(50)
        for node in gv.nodes:
            node.kill()
        for node in gv.nodes:
            node.start()
        for load in loads:
            load.wait_steps(20)
        self.finish(gv, "tier-1", loads)

    # The same for a zone on one node only.
    def test_only_member_killed(self):
        gv = self.grapevine(2)
        gv.make_zone("fast", [0])
        load = grapevine.Load(gv.client("fast", 1), "load")
        for _ in range(3):
            load.wait_steps(20)
            gv[0].kill()
            gv[0].start()
        load.wait_steps(20)
        self.finish(gv, "fast", [load], (0, 1))

    # A follower that is killed and comes back catches up by itself.
    def test_follower_killed(self):
        gv = self.three()
        leader = gv.leader("tier-1")
        a, b = self.others(gv, leader)
        loads = self.loads(gv, "tier-1", (gv.nodes.index(leader), b))
        for load in loads:
            load.wait_steps(20)
        gv[a].kill()
        for load in loads:
            load.wait_steps(50)
        gv[a].start()
        self.finish(gv, "tier-1", loads)

    # Leadership moves as often as it is asked to, to whom it is asked to.
    def test_transfer_under_load(self):
        gv = self.three()
        loads = self.loads(gv, "tier-1", (0, 1, 2))
        for i in (0, 1, 2, 1, 0):
            for load in loads:
                load.wait_steps(10)
            gv[0].ask("transfer-leader", "tier-1", gv[i].name)
            grapevine.wait(lambda i=i: gv.leader("tier-1") is gv[i], "the leader is known")
        self.finish(gv, "tier-1", loads)

    # SIGTERM ends a leader with status 0, after it has handed over: its clients move.
    def test_sigterm_hands_over(self):
        gv = self.three()
        leader = gv.leader("tier-1")
        others = self.others(gv, leader)
        loads = self.loads(gv, "tier-1", others)
        for load in loads:
            load.wait_steps(20)
        term = int(leader.zone("tier-1")["term"])
        self.assertEqual(leader.stop(), 0, leader.log_tail())
        new = gv.wait_leader("tier-1", but=leader)
        self.assertGreater(int(new.zone("tier-1")["term"]), term)
        for load in loads:
            load.wait_steps(20)
        leader.start()
        self.finish(gv, "tier-1", loads)

    # A member is added (it gets the data first) and another removed, the leader too.
    def test_members_change_under_load(self):
        gv = self.grapevine(4)
        gv.make_zone("tier-1", [0, 1, 2])
        loads = self.loads(gv, "tier-1", (0, 3))
        for load in loads:
            load.wait_steps(30)
        gv[1].ask("zone", "add-member", "tier-1", gv[3].name)
        gv.wait_settled("tier-1", 4)
        leader = gv.leader("tier-1")
        gv[0].ask("zone", "remove-member", "tier-1", leader.name)
        gv.wait_settled("tier-1", 3)
        self.assertIsNot(gv.leader("tier-1"), leader)
        for load in loads:
            load.wait_steps(30)
        gv[0].ask("zone", "add-member", "tier-1", leader.name)
        gv.wait_settled("tier-1", 4)
        self.finish(gv, "tier-1", loads, (0, 1, 2, 3))

    # A member that joins late gets what is there; those that were there may then go.
    def test_data_moves_to_new_members(self):
        gv = self.grapevine(3)
        gv.make_zone("fast", [0])
        load = grapevine.Load(gv.client("fast", 0), "load")
        load.wait_steps(100)
        load.stop()
        gv[0].ask("zone", "add-member", "fast", gv[1].name)
        gv.wait_settled("fast", 2)
        gv[0].ask("zone", "remove-member", "fast", gv[0].name)
        gv.wait_settled("fast", 1)
        load.check(gv.client("fast", 2))

    # A follower that stands still under load costs nobody memory, and catches up by
    # itself when it goes on.
    def test_follower_stopped(self):
        gv = self.three()
        leader = gv.leader("tier-1")
        stopped, other = (gv[i] for i in self.others(gv, leader))
        client = gv.client("tier-1", gv.nodes.index(leader))
        fh = client.create(client.root, "big")
        data = bytes(range(256)) * 4096
        stopped.pause()
        for i in range(96):
            client.write(fh, i % 32 * len(data), data, nfs3.UNSTABLE)
        for node in gv.nodes:
            self.assertLess(node.rss_kib(), 300 << 10, node.name)
        stopped.resume()
        gv.wait_settled("tier-1")
        for node in gv.nodes:
            self.assertLess(node.rss_kib(), 300 << 10, node.name)
        reader = gv.client("tier-1", gv.nodes.index(stopped))
        self.assertEqual(reader.read(fh, 31 * len(data), 65536)[0], data[:65536])
        self.assertTrue(other.running())
