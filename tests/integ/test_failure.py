"""Daemons that die, stop, hand over and come back while clients work. No client may see an
error, nothing acknowledged may be missing, nothing may happen twice."""

import time

import grapevine
import nfs3

STALL_SECONDS_MAX = 10  # nfs/front_uv.c: STALL_MS_DEFAULT


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

    # A node stands still for longer than it takes its clients to give it up. They send W1
    # again through another node, and then W2. When it goes on, W1 waits in its sockets, on
    # a connection from before and on one made meanwhile: it does not undo W2.
    def test_stood_still(self):
        gv = self.three()
        node = gv[self.others(gv, gv.leader("tier-1"))[0]]
        other = gv.nodes.index(gv.leader("tier-1"))
        client = gv.client("tier-1", other)
        fh = client.create(client.root, "f")
        old = nfs3.Connection(node.host, node.nfs_port, client.source)
        self.answers_null(old)
        node.pause()
        begin = time.clock_gettime(time.CLOCK_BOOTTIME)
        w1 = client.message(4711, 7, client.write_args(fh, 0, b"W1W1"))
        made = nfs3.Connection(node.host, node.nfs_port, client.source)
        for connection in (old, made):
            connection.send(w1)
        self.assertEqual(client.exchange(w1, 4711).u32(), 1)
        client.write(fh, 0, b"W2W2")
        client.create(client.root, "on")  # A reply that is kept ends with the next call's.
        while time.clock_gettime(time.CLOCK_BOOTTIME) < begin + STALL_SECONDS_MAX + 1:
            time.sleep(0.1)
        node.resume()
        for connection in (old, made):
            with self.assertRaises(ConnectionError):
                connection.receive()
        gv.wait_settled("tier-1")
        for i in range(3):
            again = gv.client("tier-1", i)
            again.create(again.root, "after-%d" % i)  # Behind all that was sent before.
            self.assertEqual(again.read_all(fh), b"W2W2")
            self.assertIn("stood still", node.log_text())

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
