"""Bad input by people: one clear line that says what to do, exit status 1 or 2, and nothing
half-made left behind."""

import os
import random
import socket
import struct
import time
import unittest

import grapevine
import nfs3


class BadCommand(grapevine.GrapevineTest):
    def refused(self, node, *words, text, stdin=""):
        done = node.gvraft(*words, stdin=stdin)
        self.assertIn(done.returncode, (1, 2), (words, done))
        last = done.stderr.strip().split("\n")[-1]
        self.assertIn(text, last)
        self.assertEqual(done.stdout, "")

    def snapshot(self, gv):
        """What must not change: zones, nodes, and what lies in the pools."""
        status = gv[0].status()
        return ([(z["slug"], z["quota_bytes"], [m["node"] for m in z["members"]])
                 for z in status["zones"]],
                [n["name"] for n in status["nodes"]],
                [sorted(os.listdir(path)) for node in gv.nodes
                 for path in node.pools.values()])

    # One grapevine for the whole list: it has to stay as it is.
    def test_commands(self):
        gv = self.grapevine(2)
        gv.make_zone("tier-1", [0])
        before = self.snapshot(gv)
        a, b = gv.nodes
        create = ("zone", "create", "new", "--member", a.name)
        for words, text in [
                (("zone", "show", "tier-9"), "tier-9"),
                (("zone", "delete", "tier-9", "--yes"), "tier-9"),
                (("zone", "set-quota", "tier-9", "1G"), "tier-9"),
                (("zone", "add-member", "tier-9", b.name), "tier-9"),
                (("zone", "add-member", "tier-1", "orval"), "orval"),
                (("zone", "add-member", "tier-1", b.name + ":gold"), "gold"),
                (("zone", "add-member", "tier-1", a.name), a.name),
                (("zone", "remove-member", "tier-1", b.name), b.name),
                (("zone", "remove-member", "tier-1", "orval"), "orval"),
                (("zone", "remove-member", "tier-1", a.name), a.name),
                (("zone", "set-quota", "tier-1", "much"), "much"),
                (("transfer-leader", "tier-9"), "tier-9"),
                (("transfer-leader", "tier-1", "orval"), "orval"),
                (("transfer-leader", "tier-1", b.name), b.name),
                (("node", "remove", "orval"), "orval"),
                (("node", "remove", a.name), "itself"),
                (("zone", "create", "tier-1", "--quota", "1G", "--member", a.name), "tier-1"),
                (("zone", "create", "new", "--quota", "1G", "--member", "orval"), "orval"),
                (("zone", "create", "new", "--quota", "1G", "--member", a.name + ":gold"),
                 "gold"),
                (("zone", "create", "new", "--quota", "1G", "--member", a.name,
                  "--member", a.name), a.name),
                (("zone", "create", "Not A Name", "--quota", "1G", "--member", a.name), "name"),
                (("zone", "create", "../up", "--quota", "1G", "--member", a.name), "name"),
                (create + ("--quota", "512 QB"), "512 QB"),
                (create + ("--quota", "-1"), "-1"),
                (create + ("--quota", "0"), "0"),
                (create + ("--quota", "99999999999 EB"), "99999999999 EB"),
                (create + ("--quota", "1.5 GB"), "1.5 GB"),
                (create + ("--quota", ""), "quota"),
                (("init",), "already")]:
            with self.subTest(words=words):
                self.refused(a, *words, text=text)
        self.assertEqual(self.snapshot(gv), before)

    # A token is good once, for a while, and only whole.
    def test_tokens(self):
        gv = self.grapevine(2)
        orval = self.node("orval")
        orval.start()
        token = gv[0].ask("invite")["token"]
        short = gv[0].ask("invite", "--expires", "1s")["token"]
        # Expiry is in whole seconds of a clock: this one waits for the clock.
        time.sleep(2.5)
        for bad, text in ((short, "expired"), ("nonsense", "invite"), (token[:-2], "invite"),
                          (token[:-1] + ("0" if token[-1] != "0" else "1"), "")):
            with self.subTest(token=bad):
                self.refused(orval, "join", bad, text=text)
                self.assertTrue(orval.status().get("uninitialised"))
        self.assertEqual(len(gv[0].status()["nodes"]), 2)
        orval.ask("join", token)
        self.refused(orval, "join", token, text="already")
        other = self.node("rochefort")
        other.start()
        self.refused(other, "join", token, text="used")
        self.assertTrue(other.status().get("uninitialised"))
        twin = grapevine.Node(os.path.join(self.tmp, "twin"), "orval", "127.0.0.1")
        self.addCleanup(twin.kill)
        twin.start()
        self.refused(twin, "join", gv[0].ask("invite")["token"], text="orval")
        grapevine.wait(lambda: len(gv[0].status()["nodes"]) == 3, "three nodes")

    # Before a node belongs to a grapevine, commands say how it gets there.
    def test_before_init(self):
        node = self.node()
        node.start()
        for words in (("zone", "list"), ("invite",), ("node", "list"),
                      ("zone", "create", "a", "--quota", "1G", "--member", node.name)):
            self.refused(node, *words, text="gvraft init")

    # A node with less room than the quota is told of before anything is done, and does
    # not hinder it: quotas are promises, and pools grow.
    def test_quota_above_room(self):
        gv = self.grapevine(1)
        done = gv[0].gvraft("zone", "create", "big", "--quota", "1 EB", "--member",
                            gv[0].name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("warning", done.stderr)
        self.assertIn(gv[0].name, done.stderr)


class BadConfig(grapevine.GrapevineTest):
    def refused(self, node, *texts):
        status, error = node.run_to_end()
        self.assertIn(status, (1, 2), error)
        # Others may be there, but one says it all.
        self.assertTrue([line for line in error.split("\n")
                         if all(text in line for text in texts)], error)

    # A typo names file and line.
    def test_configuration(self):
        node = self.node()
        good = node.config_text()
        for bad, texts in [
                (good + "[node]\ncolour = red\n", (":13:", "colour")),
                (good.replace("[export]", "[exprot]"), ("exprot",)),
                (good.replace("squash = none", "squash = nobody"), (":9:", "squash")),
                (good.replace("squash = none", "clients = 10.0.0.0/33"),
                 (":9:", "'10.0.0.0/33'")),
                (good.replace("squash = none", "clients = 10.0.0.0/8 (ro)"),
                 (":9:", "'(ro)'")),
                (good + "[export tier-1]\nsqash = all\n", (":13:", "'sqash'")),
                (good.replace(str(node.nfs_port), "66666"), (":6:", "nfs")),
                (good.replace("[listen]", "lock_memory = maybe\n[listen]"),
                 (":5:", "lock_memory")),
                (good.replace("[listen]", "reserve_bytes = 2GiB\n[listen]"),
                 (":5:", "reserve_bytes")),
                (good.replace("name = chimay", "name = Chimay!"), (":2:", "name")),
                (good.replace("path = /", "path = "), ("path",)),
                (good + "no equals sign\n", (":12:",)),
                (good.replace("[pool tank]", "[pool tank]\ncolour = red"), ("colour",))]:
            with self.subTest(bad=bad):
                node.write_config(bad)
                self.refused(node, node.config, *texts)
                self.assertEqual(os.listdir(os.path.join(node.dir, "state")), [])

    def test_no_configuration(self):
        node = self.node()
        os.unlink(node.config)
        self.refused(node, node.config, "No such file")

    # A pool that is not there is not made: it may be a disk that is not mounted.
    def test_pool_missing(self):
        node = self.node()
        os.rmdir(node.pools["tank"])
        self.refused(node, "tank", node.pools["tank"])
        self.assertFalse(os.path.exists(node.pools["tank"]))

    @unittest.skipIf(os.getuid() == 0, "root may write everywhere")
    def test_pool_read_only(self):
        node = self.node()
        os.chmod(node.pools["tank"], 0o555)
        self.refused(node, "tank", node.pools["tank"])

    # Two nodes on one pool would overwrite each other.
    def test_pool_of_another_node(self):
        gv = self.grapevine(1)
        gv.make_zone("tier-1", [0])
        gv[0].stop()
        other = self.node("orval")
        other.pools["tank"] = gv[0].pools["tank"]
        other.write_config()
        self.refused(other, "tank", gv[0].pools["tank"])
        gv[0].start()
        gv.wait_settled("tier-1")

    # A port taken, NFS or peer, names the address.
    def test_port_taken(self):
        for port in ("nfs_port", "peer_port"):
            with self.subTest(port=port), socket.socket() as s:
                node = self.node("orval-%s" % port.split("_", maxsplit=1)[0])
                s.bind((node.host, getattr(node, port)))
                s.listen()
                self.bound(node, getattr(node, port))

    # Before init only NFS is certain to listen; the peer port is asked for by init.
    def bound(self, node, port):
        try:
            node.start()
        except AssertionError:
            self.assertIn(node.process.returncode, (1, 2))
            self.assertIn(str(port), node.log_text())
            return
        done = node.gvraft("init")
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(port), done.stderr)
        self.assertTrue(node.status().get("uninitialised"))
        node.kill()

    # The same node twice: the second one leaves the first alone.
    def test_started_twice(self):
        gv = self.grapevine(1)
        gv.make_zone("tier-1", [0])
        status, error = gv[0].run_to_end()
        self.assertIn(status, (1, 2), error)
        self.assertTrue(gv.settled("tier-1"))


class Garbage(grapevine.GrapevineTest):
    def closes(self, where, data):
        """Send @data, end the sending, and read until the other side closes."""
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        with socket.socket(family) as s:
            s.settimeout(grapevine.WAIT_SECONDS_MAX)
            s.connect(where)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError as e:
                if isinstance(e, TimeoutError):
                    raise

    # Bytes that mean nothing, on every port: the connection closes, nothing else happens.
    def test_garbage(self):
        gv = self.grapevine(2)
        gv.make_zone("tier-1", [0, 1])
        rng = random.Random(3)
        call = b"\0\0\0\1\0\0\0\0\0\0\0\2\0\1\x86\xa3\0\0\0\3"
        pieces = [b"", b"\0", b"\n", b"{}\n", b"null\n", b"[[[[\n", b"GET / HTTP/1.0\r\n\r\n",
                  b"\xff" * 100, b"\x80\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff",
                  b"\x80\0\0\x28" + call, b"\x80\0\0\x14" + call,
                  b"\0\0\0\0" * 5000, b"\x80\0\0\0" * 5000,
                  b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
                  b'{"version":1,"command":"zone-create","args":{}}\n',
                  b'{"version":1,"command":["status"]}\n', b"{" * 60000 + b"\n",
                  b"x" * (1 << 20)] + [rng.randbytes(rng.randrange(1, 5000))
                                       for _ in range(40)]
        node = gv[0]
        before = node.process.pid
        for where in ((node.host, node.nfs_port), (node.host, node.peer_port), node.socket):
            for piece in pieces:
                self.closes(where, piece)
        self.assertTrue(node.running())
        self.assertEqual(node.process.pid, before)
        self.assertLess(node.rss_kib(), 300 << 10)
        gv.wait_settled("tier-1")
        client = gv.client("tier-1", 0)
        client.create(client.root, "still-works")

    # Strangers take every place for NFS, and then hold as much memory as they can with
    # calls that do not end: a client comes in all the same, the daemon's memory stays
    # within bounds, and its log, too.
    def test_strangers(self):
        gv = self.grapevine(1)
        gv.make_zone("tier-1", [0])
        node = gv[0]
        known = gv.client("tier-1", 0)
        strangers = []
        self.addCleanup(lambda: [s.close() for s in strangers])
        for _ in range(1100):
            strangers.append(socket.create_connection((node.host, node.nfs_port)))
        client = gv.client("tier-1", 0)
        client.create(client.root, "came-in")
        known.create(known.root, "stayed")
        self.assertEqual(known.retransmissions, 0)
        before = node.rss_kib()
        part = nfs3.pack_u32(0x80000000 | (1 << 20)) + b"y" * ((1 << 20) - 1)
        for s in strangers[-800:]:
            try:
                s.sendall(part)
            except ConnectionError:
                pass  # It had to go for others.
            client.getattr(client.root)
        self.assertLess(node.rss_kib() - before, 500 << 10)  # Sanitizers keep much.
        self.assertLess(len(node.log_tail(10000).splitlines()), 200)
        client.create(client.root, "still-works")

    # Clients that ask for much and read little of it: others are answered at once.
    def test_slow_readers(self):
        gv = self.grapevine(1)
        gv.make_zone("tier-1", [0])
        node = gv[0]
        client = gv.client("tier-1", 0)
        fh = client.create(client.root, "f")
        client.write(fh, 0, b"x" * (1 << 20))
        reads = b""
        for xid in range(60):
            read = client.message(xid, 6, nfs3.pack_opaque(fh) + struct.pack(
                ">QI", 0, 1 << 20))
            reads += nfs3.pack_u32(0x80000000 | len(read)) + read
        slow = []
        self.addCleanup(lambda: [s.close() for s in slow])
        for _ in range(40):
            s = socket.socket()
            slow.append(s)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect((node.host, node.nfs_port))
            s.sendall(reads)
            client.getattr(client.root)
        grapevine.wait(lambda: "does not take its replies" in node.log_tail(100),
                       "slow readers are cut")
        self.assertLess(client.seconds_max, nfs3.SILENCE_SECONDS_MAX)
        self.assertEqual(client.retransmissions, 0)

    # A connection that says nothing holds nothing up, however many there are.
    def test_silent_connections(self):
        gv = self.grapevine(2)
        gv.make_zone("tier-1", [0, 1])
        node = gv[0]
        open_ones = []
        self.addCleanup(lambda: [s.close() for s in open_ones])
        for where in ((node.host, node.nfs_port), (node.host, node.peer_port)):
            for _ in range(40):
                s = socket.create_connection(where)
                s.sendall(b"\x80\0")
                open_ones.append(s)
        gv.settled("tier-1")
        client = gv.client("tier-1", 0)
        client.create(client.root, "still-works")
