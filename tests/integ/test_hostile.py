"""Strangers, removed nodes and nodes that have gone bad: what they say is not believed
further than docs/architecture.md says ("What a node is trusted with")."""

import json
import os
import random
import shutil
import struct
import subprocess

import grapevine
import peerwire


KIB = 1 << 10
OUT_STALE = 16


class BadRows(grapevine.GrapevineTest):
    """A node of the grapevine may write any row; none stops the others."""

    def with_bad_node(self):
        """Three nodes, the first of which is killed and spoken for by the test."""
        gv = self.grapevine(3)
        # The two others can go on without the first once all three vote: the last change
        # was begun, and what is written after it is there.
        grapevine.wait(lambda: "from=3 to=3" in gv[0].log_text(), "all vote")
        gv[0].ask("invite")
        gv[0].kill()
        bad = peerwire.BadNode(gv[0], {2: gv[1], 3: gv[2]})
        self.addCleanup(bad.close)
        return gv, bad

    # However much there is, all rows are read: those of the nodes come late in the order.
    def test_directory_of_megabytes(self):
        gv, bad = self.with_bad_node()
        for i in range(20):
            bad.write_rows({"aa/%d.%d" % (i, k): '"%s"' % ("x" * 60 * KIB)
                            for k in range(4)})
        node = self.node("orval")
        node.start()
        node.ask("join", gv[1].ask("invite")["token"])
        self.assertEqual(sorted(n["name"] for n in node.status()["nodes"]),
                         sorted(n.name for n in gv.nodes + [node]))

    def zone_row(self, zone_id, members, pool="tank", first=None):
        return json.dumps({
            "id": zone_id, "display": "x", "quota": str(1 << 30), "next_life": "2",
            "genesis": {"quota": str(1 << 30), "root_uid": 0, "root_gid": 0,
                        "root_mode": 0o755, "created_ns": "1",
                        "first": [str(m << 16 | 1) for m in first or sorted(set(members))]},
            "members": [{"node": str(m), "raft_id": str(m << 16 | 1), "pool": pool,
                         "leaving": False} for m in members]})

    def logged(self, node, text):
        with open(node.log, encoding="utf-8", errors="replace") as f:
            return text in f.read()

    # A zone's name is no path: what lies outside of the pools stays. A row that names a
    # member twice, the directory itself, or a pool elsewhere is no zone.
    def test_zone_rows(self):
        gv, bad = self.with_bad_node()
        precious = os.path.join(gv[1].dir, "precious")
        os.makedirs(precious)
        grapevine_id = bad.grapevine_id.hex()
        for i, slug in enumerate(("../../../precious", "../../precious", "tier/..")):
            zone_id = "%02x" % (i + 1) * 16
            bad.write_rows({"zone/" + slug: self.zone_row(zone_id, (2,))})
            bad.write_rows({"zone/" + slug: None, "gone/" + zone_id: "{}"})
        bad.write_rows({"zone/twice": self.zone_row("aa" * 16, (2, 2)),
                        "zone/first": self.zone_row("dd" * 16, (2,), first=(2, 2)),
                        "zone/out": self.zone_row("bb" * 16, (2,), "../../../precious"),
                        "zone/self": self.zone_row(grapevine_id, (2,)),
                        "gone/" + grapevine_id: "{}",
                        "zone/last": self.zone_row("cc" * 16, (2, 3))})
        gv.wait_settled("last")
        self.assertTrue(os.path.isdir(precious))
        self.assertEqual(os.listdir(precious), [])
        for node in gv.nodes[1:]:
            self.assertTrue(self.logged(node, 'key=\"zone/twice\"'))
            self.assertTrue(self.logged(node, 'key=\"zone/first\"'))
            node.kill()
            node.start()
        gv.wait_settled("last")
        client = gv.client("last", 1)
        client.create(client.root, "works")

    # A folder in a pool that has a zone's name and other content is somebody's: the zone
    # cannot be there, and its end leaves the folder as it is.
    def test_folder_in_the_way(self):
        gv = self.grapevine(1)
        folder = os.path.join(gv[0].pools["tank"], "photos")
        os.mkdir(folder)
        with open(os.path.join(folder, "cat"), "w", encoding="utf-8") as f:
            f.write("a cat")
        waiting = subprocess.Popen(
            [grapevine.program("cli", "gvraft"), "--socket", gv[0].socket, "zone", "create",
             "photos", "--quota", "1GiB", "--member", gv[0].name],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)
        grapevine.wait(lambda: self.logged(gv[0], "Directory not empty"), "it is refused")
        gv[0].ask("zone", "delete", "photos", "--yes")
        grapevine.wait(lambda: self.logged(gv[0], "remove the rest by hand"), "it is told")
        self.assertEqual(os.listdir(folder), ["cat"])
        shutil.rmtree(folder)
        gv.make_zone("photos", [0])
        gv[0].ask("zone", "delete", "photos", "--yes")
        grapevine.wait(lambda: os.listdir(gv[0].pools["tank"]) == [".grapevine-pool"],
                       "the dataset is removed")

    # A node's row that no table can hold costs no other node its place, also after all
    # have only what their files say.
    def test_node_rows(self):
        gv, bad = self.with_bad_node()
        key = next(n["fingerprint"] for n in grapevine.state_json(gv[1], "nodes.json")
                   if n["name"] == gv[1].name)
        row = {"number": "9", "fingerprint": key, "host": "127.0.0.9", "port": 2646}
        bad.write_rows({
            "node/twin": json.dumps(row),
            "node/named": json.dumps(dict(row, number="10", fingerprint="10" * 32,
                                          host="nas.local")),
            "node/second": json.dumps(dict(row, number="2", fingerprint="11" * 32))})
        for node in gv.nodes[1:]:
            grapevine.wait(lambda n=node: self.logged(n, "node=named"), "it is told")
        for node in gv.nodes[1:]:
            node.kill()
        for node in gv.nodes[1:]:
            node.start()
        gv[1].ask("node", "remove", "named")
        grapevine.wait(lambda: {n["name"]: n["up"] for n in gv[2].status()["nodes"]}[
            gv[1].name], "they reach each other")


    # A member that pulls has one view at a time, however often it asks for one: the places
    # of the others stay free. It cannot go on with one that is closed.
    def test_views_of_a_puller(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        zone_id = bytes.fromhex(gv[1].zone("tier-1")["id"])
        gv[0].kill()
        bad = peerwire.BadNode(gv[0], {2: gv[1]})
        self.addCleanup(bad.close)

        def pull(kind, number, cursor=None):
            head = zone_id + struct.pack("<QQBBQ", 1 << 16 | 1, 2 << 16 | 1, 1, kind, number)
            head += b"" if cursor is None else struct.pack("<Q", cursor)
            bad.send((2, peerwire.BULK), peerwire.FRAME_PULL, head)
            answer, _ = bad.wait_frame(
                peerwire.FRAME_PULL_ANSWER,
                lambda h, b: struct.unpack_from("<Q", h, 34)[0] == number)
            return struct.unpack_from("<I", answer, 42)[0], answer[46:54]

        opened = [pull(1, number) for number in range(1, 7)]
        self.assertEqual([outcome for outcome, _ in opened], [0] * 6)
        cursors = [struct.unpack("<Q", c)[0] for _, c in opened]
        self.assertEqual(pull(2, 7, cursors[0])[0], OUT_STALE)
        self.assertEqual(pull(2, 8, cursors[-1])[0], 0)

    # One node's questions leave room for those of people.
    def test_flood_of_questions(self):
        gv, bad = self.with_bad_node()
        for i in range(1000):
            bad.send((2, peerwire.CONTROL), peerwire.FRAME_ASK, struct.pack("<Q", i),
                     b'{"command":"local","args":{}}')
        self.assertEqual(gv[1].gvraft("status").returncode, 0)
        bad.wait_frame(peerwire.FRAME_ASK_ANSWER,
                       lambda h, b: struct.unpack("<Q", h)[0] == 999)

    # A node that is no member of a zone may say what it likes to its members: a WRITE that
    # has a length and no payload, and frames of any type and content. They go on.
    def test_frames_of_any_content(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [1, 2])
        gv.wait_settled("tier-1")
        grapevine.wait(lambda: "from=3 to=3" in gv[0].log_text(), "all vote")
        gv[0].kill()
        bad = peerwire.BadNode(gv[0], {2: gv[1], 3: gv[2]})
        self.addCleanup(bad.close)
        zone_id = bytes.fromhex(gv[1].zone("tier-1")["id"])
        pids = [node.process.pid for node in gv.nodes[1:]]
        op = struct.pack("<BBIIB", 1, 66, 0, 0, 0)  # WRITE, as root.
        op += struct.pack("<QQQII", 1, 1, 0, 65536, 0)
        for number in (2, 3):
            bad.seq += 1
            entry = struct.pack("<BQQQQQ16s", 1, 0, 1, bad.boot, bad.seq, bad.seq, bytes(16))
            bad.send((number, peerwire.LOG), peerwire.FRAME_OP,
                     zone_id + struct.pack("<QB", bad.seq, 0) + entry + op)
            bad.wait_frame(peerwire.FRAME_ANSWER,
                           lambda h, b: struct.unpack_from("<Q", h)[0] == bad.seq)
        rng = random.Random(1)
        for _ in range(3000):
            number = rng.choice((2, 3))
            where = rng.choice((zone_id, bad.grapevine_id)) + struct.pack(
                "<QQ", rng.choice((1, number)) << 16 | 1, number << 16 | 1)
            head = where + bytes(rng.choice((0, 1, 2, 3, rng.randrange(256)))
                                 for _ in range(rng.randrange(120)))
            # Not marks (15): its own group believes it that it acknowledged more.
            of_type = rng.choice((1, 1, 1, 3, 4, 5, 6, 7, 8))
            if of_type == 1 and len(head) > 32 and head[32] in (1, 2, 15):
                continue
            bad.send((number, rng.choice((peerwire.CONTROL, peerwire.LOG, peerwire.BULK))),
                     of_type, head, rng.randbytes(rng.choice((0, 8, 4096))))
        client = gv.client("tier-1", 1)
        client.create(client.root, "works")
        self.assertEqual([node.process.pid for node in gv.nodes[1:]], pids)
        for node in gv.nodes[1:]:
            self.assertTrue(node.running())

    # Who owns a new zone, and its mode: what is given and wrong is no default.
    def test_wrong_owner(self):
        gv = self.grapevine(1)
        good = {"slug": "a", "quota": "1GiB", "members": [gv[0].name]}
        for wrong in ({"uid": "root"}, {"uid": -1}, {"uid": 1.5}, {"uid": 1 << 32},
                      {"gid": None}, {"gid": []}, {"mode": 755}, {"mode": "00000755"},
                      {"mode": "rwx"}, {"mode": "10000"}, {"mode": ""}, {"mode": "-1"}):
            answer = gv[0].control("zone-create", dict(good, **wrong))
            self.assertFalse(answer["ok"], wrong)
            self.assertIn("mode or owner", answer["error"])
        self.assertEqual(gv[0].status()["zones"], [])


class Disks(grapevine.GrapevineTest):
    """A disk that somebody else wrote to."""

    # Links lead nowhere, and what is no file is not waited for: that zone does not start, and
    # the node's other one does.
    def test_links_and_fifos(self):
        gv = self.grapevine(1)
        gv.make_zone("tier-1", [0])
        gv.make_zone("tier-2", [0])
        gv.wait_settled("tier-2")
        gv[0].stop()
        pool = gv[0].pools["tank"]
        precious = os.path.join(gv[0].dir, "precious")
        os.makedirs(os.path.join(precious, "0a"))
        kept = os.path.join(precious, "0a", "file")
        with open(kept, "w", encoding="utf-8") as f:
            f.write("precious")
        link = os.path.join(pool, "tier-1", "pull.1")
        marker = os.path.join(pool, "tier-1", "marker")
        os.symlink(precious, link)
        gv[0].start()
        client = gv.client("tier-2", 0)
        client.create(client.root, "works")
        grapevine.wait(lambda: "symbolic links" in gv[0].zone("tier-1")["reason"], "it is told")
        gv[0].stop()
        os.unlink(link)
        os.rename(marker, marker + ".away")
        os.mkfifo(marker)
        gv[0].start()
        client = gv.client("tier-2", 0)
        client.create(client.root, "works, too")
        grapevine.wait(lambda: "marker" in gv[0].zone("tier-1")["reason"], "it is told")
        gv[0].stop()
        os.rename(marker + ".away", marker)
        gv[0].start()
        gv.wait_settled("tier-1")
        self.assertTrue(os.path.exists(kept))


class Joining(grapevine.GrapevineTest):
    def add_by(self, gv, name):
        """One more node; it and the invitation that it came by."""
        node = grapevine.Node(self.tmp, name, "127.0.0.%d" % (len(gv.nodes) + 1))
        gv.nodes.append(node)
        node.start()
        token = gv[0].ask("invite")["token"]
        node.ask("join", "-", stdin=token + "\n")
        grapevine.wait(lambda: all(n["up"] for n in gv[0].status()["nodes"]), "all are up")
        return node, token

    def names(self, node):
        return sorted(n["name"] for n in node.status()["nodes"])

    def refused(self, answer, text):
        self.assertFalse(answer["ok"], answer)
        self.assertIn(text, answer["error"])

    def restart(self, nodes):
        """All at once, so that they have only what their files say."""
        for node in nodes:
            node.kill()
        for node in nodes:
            node.start()
        for node in nodes:
            grapevine.wait(lambda n=node: all(m["up"] for m in n.status()["nodes"]),
                           "%s reaches all" % node.name)

    # A node that was removed does not come back by the invitation it once came by, under
    # its name or another, and a node that is there does not become two.
    def test_used_invitation(self):
        gv = self.grapevine(2)
        node, token = self.add_by(gv, "cara-pils")
        pem = peerwire.pem_of(node)
        again = peerwire.join(gv[0], pem, peerwire.join_text(token, node.name, 2646))
        self.assertEqual((again["ok"], again["result"]["number"]), (True, "3"))
        twin = peerwire.join(gv[0], pem, peerwire.join_text(token, "twin", 2646))
        self.refused(twin, "used already")
        node.kill()
        gv[0].ask("node", "remove", node.name)
        grapevine.wait(lambda: len(self.names(gv[0])) == 2, "it is removed")
        for name in (node.name, "twin"):
            answer = peerwire.join(gv[0], pem, peerwire.join_text(token, name, 2646))
            self.assertFalse(answer["ok"], answer)
            self.assertIn("gvraft invite", answer["error"])
        self.assertEqual(self.names(gv[0]), sorted(n.name for n in gv.nodes[:2]))
        self.restart(gv.nodes[:2])

    # The key that counts is the one that TLS proves, however the request spells another.
    def test_forged_key(self):
        gv = self.grapevine(1)
        node, token = self.add_by(gv, "cara-pils")
        stranger = self.node("orval")
        stranger.start()
        pem = peerwire.pem_of(stranger)
        key = next(n["fingerprint"] for n in grapevine.state_json(gv[0], "nodes.json")
                   if n["name"] == node.name)
        for more in ("", '"fingerprint":"%s",' % key, '"fingerprint":"%s",' % key * 2):
            for name in (node.name, "evil"):
                answer = peerwire.join(gv[0], pem, peerwire.join_text(
                    token, name, 2646, more=more))
                self.assertFalse(answer["ok"], (more, answer))
        self.assertEqual(len(self.names(gv[0])), 2)

    # A node whose node.json is gone, but not its key, is another node under one key: it is
    # told what to do, and does no harm.
    def test_same_key_again(self):
        gv = self.grapevine(2)
        node, _ = self.add_by(gv, "cara-pils")
        node.kill()
        shutil.copy(peerwire.pem_of(node), self.tmp)
        shutil.rmtree(os.path.join(node.dir, "state"))
        os.mkdir(os.path.join(node.dir, "state"))
        shutil.copy(os.path.join(self.tmp, "node.pem"), peerwire.pem_of(node))
        old, node.name = node.name, "orval"
        node.write_config()
        node.start()
        done = node.gvraft("join", gv[0].ask("invite")["token"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("node remove %s" % old, done.stderr)
        self.assertTrue(node.status().get("uninitialised"))
        gv[0].ask("node", "remove", old)
        grapevine.wait(lambda: old not in self.names(gv[0]), "it is removed")
        node.ask("join", gv[0].ask("invite")["token"])
        self.restart(gv.nodes)

    # An address that leads nowhere is refused by the inviter, with a line for whoever
    # joins.
    def test_bad_address(self):
        gv = self.grapevine(1)
        stranger = self.node("orval")
        stranger.start()
        token = gv[0].ask("invite")["token"]
        for host in ("nas.local", "0.0.0.0", "::", "224.0.0.1", ""):
            answer = peerwire.join(gv[0], peerwire.pem_of(stranger), peerwire.join_text(
                token, "orval", 2646, host=host))
            self.refused(answer, "[listen] peer")
        stranger.ask("join", token)

    # Strangers cannot shut the door: junk is answered and closed at once, whoever holds
    # connections open holds no place, and one who has an invitation comes in meanwhile.
    def test_door_stays_open(self):
        gv = self.grapevine(1)
        stranger = self.node("orval")
        stranger.start()
        pem = peerwire.pem_of(stranger)
        token = gv[0].ask("invite")["token"]
        wrong = token[:-2] + ("00" if token[-2:] != "00" else "01")
        held = []
        self.addCleanup(lambda: [c.close() for c in held])
        for body in ("junk", "", "{}", "[" * 500, peerwire.join_text(wrong, "evil", 2646)) * 6:
            connection = peerwire.Connection(gv[0], pem)
            connection.send(peerwire.frame(peerwire.JOIN, body=body.encode()))
            held.append(connection)
        stranger.ask("join", token)
        for connection in held:
            kind, _, _, body = connection.receive()
            self.assertEqual(kind, peerwire.JOIN_ANSWER)
            self.assertFalse(json.loads(body)["ok"])
            self.assertTrue(connection.closed())

    # A node that listens everywhere tells the others one address, and they find it there
    # after they were all away.
    def test_wildcard_listener(self):
        gv = self.grapevine(1)
        node = grapevine.Node(self.tmp, "orval", "127.0.0.2")
        gv.nodes.append(node)
        listens = "peer = %s:%d\n" % (node.host, node.peer_port)
        everywhere = "peer = 0.0.0.0:%d\n" % node.peer_port
        node.write_config(node.config_text().replace(listens, everywhere))
        status, error = node.run_to_end()
        self.assertEqual(status, 2)
        self.assertIn("advertise", error)
        node.write_config(node.config_text().replace(
            listens, everywhere + "advertise = %s:%d\n" % (node.host, node.peer_port)))
        node.start()
        node.ask("join", gv[0].ask("invite")["token"])
        self.restart(gv.nodes)
        self.assertEqual([n["host"] for n in gv[0].status()["nodes"]],
                         ["127.0.0.1", "127.0.0.2"])
