"""Reads under leases: what was acknowledged on one node is seen on every other at once,
whatever happens to the daemons meanwhile."""

import random
import struct
import threading

import grapevine
import nfs3


class Watch:
    """One thread appends numbers to a file, each 8 bytes at its own place, so that a
    repeated WRITE does no harm; one thread for each node reads there what was acknowledged
    last when it asked: by READ, by GETATTR and by LOOKUP in turn."""

    def __init__(self, gv, slug, writer):
        self.gv = gv
        self.slug = slug
        self.acked = -1
        self.reads = [0] * len(gv.nodes)
        self.stale = []
        self.errors = []
        self.stopping = threading.Event()
        # Its own node first: the others take over when that one dies.
        client = self.writer = gv.client(slug, *((writer + i) % len(gv.nodes) for i in range(len(gv.nodes))))
        self.fh = client.create(client.root, "numbers")
        self.threads = [threading.Thread(target=self.guard, daemon=True,
                                         args=(self.write, client))]
        for i in range(len(gv.nodes)):
            self.threads.append(threading.Thread(
                target=self.guard, daemon=True, args=(self.read, gv.client(slug, i), i)))
        for thread in self.threads:
            thread.start()

    def guard(self, run, client, *args):
        try:
            while not self.stopping.is_set() and not self.stale and not self.errors:
                run(client, *args)
        except Exception as e:  # Whatever it is, the test tells it.
            self.errors.append(repr(e))
        client.close()

    def write(self, client):
        n = self.acked + 1
        client.write(self.fh, 8 * n, struct.pack(">Q", n))
        self.acked = n

    def size_of(self, client, how):
        if how == 1:
            return client.getattr(self.fh)["size"]
        reply = client.nfs("LOOKUP", 3, nfs3.pack_opaque(client.root)
                           + nfs3.pack_opaque(b"numbers"))
        reply.opaque()
        return reply.post_op_attr()["size"]

    def read(self, client, i):
        floor = self.acked
        how = self.reads[i] % 3
        if floor < 0:
            return
        if how == 0:
            data, _ = client.read(self.fh, 8 * floor, 8)
            fresh = data == struct.pack(">Q", floor)
        else:
            fresh = self.size_of(client, how) >= 8 * (floor + 1)
        if not fresh:
            self.stale.append("%s does not show %d (%s)" % (
                self.gv[i].name, floor, ("READ", "GETATTR", "LOOKUP")[how]))
        self.reads[i] += 1

    def go_on(self, reads=300, writes=100, nodes=None):
        """So many more of each, on each of the nodes."""
        nodes = range(len(self.gv.nodes)) if nodes is None else nodes
        goal = [n + reads for n in self.reads]
        acked = self.acked + writes
        grapevine.wait(lambda: self.stale or self.errors or (
            self.acked >= acked and all(self.reads[i] >= goal[i] for i in nodes)),
            "reads and writes go on")
        self.check()

    def check(self):
        assert not self.stale, self.stale
        assert not self.errors, self.errors

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(2 * nfs3.CALL_SECONDS_MAX)
            assert not thread.is_alive(), "a client hangs"
        self.check()
        print("    %d writes, reads %s" % (self.acked + 1, self.reads))


class Reads(grapevine.GrapevineTest):
    def watch(self, writer_leads=True):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        leader = gv.nodes.index(gv.leader("tier-1"))
        watch = Watch(gv, "tier-1", leader if writer_leads else (leader + 1) % 3)
        watch.go_on()
        return gv, watch

    def leases(self, gv):
        zone = gv.leader("tier-1").zone("tier-1")
        assert int(zone["leader_lease_ms"]) > 0, zone
        held = [m for m in zone["members"] if int(m["read_lease_ms"]) > 0]
        assert len(held) == len(gv.nodes) - 1, zone
        return True

    # Nothing goes wrong: leases are held, thousands of reads, none stale.
    def test_reads_see_what_was_acknowledged(self):
        gv, watch = self.watch()
        grapevine.wait(lambda: self.leases(gv), "leases are held")
        watch.go_on(reads=3000, writes=1000)
        watch.stop()

    # The same for a writer whose node forwards.
    def test_writer_on_a_follower(self):
        _, watch = self.watch(writer_leads=False)
        watch.go_on(reads=2000, writes=500)
        watch.stop()

    # Leadership goes round while all read and write.
    def test_reads_under_transfers(self):
        gv, watch = self.watch()
        for i in range(8):
            target = gv[i % 3].name
            gv[0].ask("transfer-leader", "tier-1", target)
            watch.go_on()
        watch.stop()

    # A holder that stands still makes writers wait for the rest of its lease; when it goes
    # on, it must know that the lease is over, also for what waited in its sockets.
    def test_holder_stopped(self):
        gv, watch = self.watch()
        for _ in range(4):
            leader = gv.wait_leader("tier-1")
            stopped = next(i for i, n in enumerate(gv.nodes) if n is not leader)
            rest = [i for i in range(3) if i != stopped]
            gv[stopped].pause()
            watch.go_on(nodes=rest)
            gv[stopped].resume()
            watch.go_on()
        watch.stop()

    # A leader that stands still is replaced; when it goes on, it takes itself for the
    # leader still, and reads wait in its sockets.
    def test_leader_stopped(self):
        gv, watch = self.watch(writer_leads=False)
        for _ in range(3):
            leader = gv.wait_leader("tier-1")
            stopped = gv.nodes.index(leader)
            leader.pause()
            try:
                # The writer's node may be the one: then nothing is to be waited for.
                if watch.writer.server != gv.servers(stopped)[0]:
                    watch.go_on(nodes=[i for i in range(3) if i != stopped])
            finally:
                leader.resume()
            watch.go_on()
        watch.stop()

    # kill -9 of a holder and of the leader, in turn.
    def test_killed(self):
        gv, watch = self.watch()
        for i in range(4):
            leader = gv.wait_leader("tier-1")
            victim = leader if i % 2 else next(n for n in gv.nodes if n is not leader)
            rest = [i for i, n in enumerate(gv.nodes) if n is not victim]
            victim.kill()
            watch.go_on(nodes=rest)
            victim.start()
            watch.go_on()
        watch.stop()

    # A node that is no member reads a large file from whoever answers, with every member
    # in turn standing still, then killed: right bytes, no error.
    def test_reads_from_outside(self):
        gv = self.grapevine(4)
        gv.make_zone("tier-1", [0, 1, 2])
        size, call = 16 << 20, 1 << 20
        data = random.Random(1).randbytes(size)
        client = gv.client("tier-1", 0)
        fh = client.create(client.root, "large")
        for at in range(0, size, call):
            client.write(fh, at, data[at:at + call])
        outside = gv.client("tier-1", 3)

        def read_all():
            calls = {at: nfs3.pack_opaque(fh) + struct.pack(">QI", at, call)
                     for at in range(0, size, call)}
            found = outside.nfs_many("READ", 6, calls.values(), depth=8, replies=True)
            for at, args in calls.items():
                reply = found[args]
                reply.post_op_attr()
                n, eof = reply.u32(), reply.u32()
                self.assertEqual((n, bool(eof)), (call, at + call == size))
                self.assertTrue(reply.opaque() == data[at:at + call], "at %d" % at)

        read_all()
        for node in gv.nodes[:3]:
            node.pause()
            try:
                read_all()
            finally:
                node.resume()
            gv.wait_settled("tier-1")
        for node in gv.nodes[:3]:
            node.kill()
            read_all()
            node.start()
            gv.wait_settled("tier-1")
