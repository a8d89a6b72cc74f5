"""Clients that ask too much: memory stays bounded, others are served (docs/architecture.md,
"What is bounded"). bench/pressure measures the same."""

import socket
import struct
import threading

import grapevine
import nfs3


class Pressure(grapevine.GrapevineTest):
    def writer(self, client, errors):
        """More than a zone keeps in memory for its followers, all of it in a hurry."""
        try:
            fh = client.create(client.root, "f%d" % id(client))
            data = b"x" * (1 << 17)
            client.nfs_many("WRITE", 7, (client.write_args(fh, i << 17, data, nfs3.UNSTABLE)
                                         for i in range(480)))
        except Exception as e:  # Whatever it is, the test tells it.
            errors.append(repr(e))

    # A follower that is stopped while clients write all they can, and one that takes no
    # reply: the leader keeps a position for the one and lets the other wait, instead of
    # keeping what they lack; a client with one call at a time goes on; and the follower
    # catches up.
    def test_stopped_follower_and_deaf_client(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2], quota="4GiB")
        leader = gv.wait_leader("tier-1")
        server = gv.nodes.index(leader)
        stopped = gv.nodes[(server + 1) % 3]
        client = gv.client("tier-1", server)
        fh = client.create(client.root, "one")
        client.write(fh, 0, b"x" * (1 << 20))
        before = leader.rss_kib()
        deaf = socket.create_connection((leader.host, leader.nfs_port))
        self.addCleanup(deaf.close)
        for xid in range(60):
            read = client.message(xid, 6, nfs3.pack_opaque(fh) + struct.pack(">QI", 0, 1 << 20))
            deaf.sendall(nfs3.pack_u32(0x80000000 | len(read)) + read)
        stopped.pause()
        errors = []
        writers = [threading.Thread(target=self.writer, daemon=True, args=(
            gv.client("tier-1", server), errors)) for _ in range(4)]
        for writer in writers:
            writer.start()
        calls = 0
        while any(writer.is_alive() for writer in writers):
            client.write(fh, 0, b"y" * 4096)
            client.getattr(fh)
            calls += 1
        grown = leader.rss_kib() - before
        stopped.resume()
        self.assertEqual(errors, [])
        self.assertEqual(client.retransmissions, 0)
        self.assertGreater(calls, 1)
        # 240 MiB were written. What may be kept: 24 MiB of entries, 32 of proposals, 32 to
        # each node, 16 of the writers' connections, 8 for the deaf one. Sanitizers keep more.
        self.assertLess(grown, 200 << 10)
        gv.wait_settled("tier-1")
        self.assertTrue(gv.same_digests("tier-1"))
