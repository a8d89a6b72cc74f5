"""Members that come late, go, or cannot go: every copy is the same, and a zone that can be
written goes on being written."""

import os
import threading

import grapevine
import nfs3

PIECE = b"d" * 65536


class Members(grapevine.GrapevineTest):
    def voters(self, gv, slug):
        zone = gv.leader(slug).zone(slug)
        return sorted(m["node"] for m in zone["members"] if m["role"] == "voter")

    # A member that is added after the quota was raised applies the log from its first
    # entry: what was refused then is refused in its copy, too.
    def test_joiner_after_quota(self):
        gv = self.grapevine(3)
        gv.make_zone("z", [0, 1], quota="1MiB")
        client = gv.client("z", 0)
        fh = client.create(client.root, "f")
        refused = 0
        for i in range(24):
            try:
                client.write(fh, i * len(PIECE), PIECE)
            except nfs3.NfsError:
                refused += 1
        self.assertGreater(refused, 0)
        gv[0].ask("zone", "set-quota", "z", "1GiB")
        gv[0].ask("zone", "add-member", "z", gv[2].name)
        gv.wait_settled("z", 3)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")
        self.assertEqual(gv.client("z", 2).getattr(fh)["size"], client.getattr(fh)["size"])

    # A first member that could not make its copy until others had come and gone begins
    # with the same first entry as everybody: it does not take itself for the only one.
    def test_late_first_member(self):
        gv = self.grapevine(5)
        late = gv[2]
        block = os.path.join(late.pools["tank"], "z")
        with open(block, "w", encoding="ascii"):
            pass
        members = []
        for i in (0, 1, 2):
            members += ["--member", gv[i].name]
        gv[0].ask("zone", "create", "z", "--quota", "1GiB", *members)
        load = grapevine.Load(gv.client("z", 4), "load")
        load.wait_steps(20)
        for i in (3, 4):
            gv[0].ask("zone", "add-member", "z", gv[i].name)
        for i in (0, 1):
            gv[3].ask("zone", "remove-member", "z", gv[i].name)
        late.stop()
        os.unlink(block)
        late.start()
        gv.wait_settled("z", 3)
        self.assertEqual(self.voters(gv, "z"), sorted(gv[i].name for i in (2, 3, 4)))
        load.wait_steps(20)
        load.stop()
        gv.wait_settled("z", 3)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")
        load.check(gv.client("z", 2))

    # With one of three dead, a living one stays until the dead one is back: a zone of two
    # of which one is dead could not be written any more.
    def test_living_member_stays_while_another_is_dead(self):
        gv = self.grapevine(5)
        gv.make_zone("z", [0, 1, 2])
        leader = gv.leader("z")
        living, dead = [node for node in gv.nodes[:3] if node is not leader]
        dead.kill()
        grapevine.wait(lambda: not self.up(leader, dead), "the dead one is missed")
        removing = threading.Thread(
            target=gv[3].ask, args=("zone", "remove-member", "z", living.name))
        removing.start()
        grapevine.wait(lambda: "cannot leave yet" in leader.log_text(), "it cannot leave")
        client = gv.client("z", gv.nodes.index(leader))
        client.create(client.root, "after")
        dead.start()
        removing.join()
        gv.wait_settled("z", 2)
        self.assertEqual(self.voters(gv, "z"), sorted([leader.name, dead.name]))

    # A member that was away while another left knows of four, of whom the one that left never
    # answers again; then a third dies. The two that are up are a majority of the three that
    # there are: the zone goes on, though one of them does not know it when it starts.
    def test_away_while_another_left(self):
        gv = self.grapevine(4)
        gv.make_zone("z", [0, 1, 2, 3])
        leader = gv.leader("z")
        away, leaving, dead = [node for node in gv.nodes if node is not leader]
        away.kill()
        leader.ask("zone", "remove-member", "z", leaving.name)
        grapevine.wait(
            lambda: self.voters(gv, "z") == sorted(n.name for n in (leader, away, dead)),
            "it has left")
        dead.kill()
        grapevine.wait(lambda: leader.zone("z")["leader"] == "", "nobody leads")
        away.start()
        gv.wait_leader("z")
        client = gv.client("z", gv.nodes.index(away))
        client.create(client.root, "after")
        dead.start()
        gv.wait_settled("z", 3)
        grapevine.wait(lambda: gv.same_digests("z"), "the copies are the same")

    # A node is made a member of two zones while it is removed from the grapevine, each
    # through another node: either it stays, or no zone has it. A member that is no node
    # could not be removed by anybody.
    def test_added_while_it_is_removed(self):
        gv = self.grapevine(4)
        gv.make_zone("z", [0])
        gone = gv[3]
        done = {}

        def give(at, *words):
            done[words[1]] = at.gvraft(*words)
        threads = [threading.Thread(target=give, args=args) for args in (
            (gv[0], "zone", "create", "y", "--quota", "1GiB", "--member", gv[0].name,
             "--member", gone.name),
            (gv[1], "zone", "add-member", "z", gone.name),
            (gv[2], "node", "remove", gone.name))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = " ".join(result.stderr for result in done.values())
        stays = done["remove"].returncode != 0
        self.assertEqual([done["create"].returncode == 0, done["add-member"].returncode == 0],
                         [stays, stays], told)
        status = gv[0].status()
        self.assertEqual(gone.name in {node["name"] for node in status["nodes"]}, stays, told)
        members = {member["node"] for zone in status["zones"] for member in zone["members"]}
        self.assertEqual(members, {gv[0].name, gone.name} if stays else {gv[0].name}, told)

    # What was acknowledged through one node is true for commands that another one is given
    # afterwards, also if that has yet to hear of it: a name is free again, a zone is there.
    def test_named_elsewhere_at_once(self):
        gv = self.grapevine(3)
        gv.make_zone("z", [0])
        behind = gv[2]

        def give_behind(*words):
            """To the node that stands still; it goes on with what it knew, and this."""
            done = []
            command = threading.Thread(target=lambda: done.append(behind.gvraft(*words)))
            command.start()
            grapevine.wait(lambda: self.is_connected(behind), "the command is there")
            behind.resume()
            command.join()
            self.assertEqual(done[0].returncode, 0, done[0].stderr)
        make = ("--quota", "1GiB", "--member", gv[0].name)
        behind.pause()
        gv[0].ask("zone", "delete", "z", "--yes")
        give_behind("zone", "create", "z", *make)
        behind.pause()
        gv[0].ask("zone", "create", "y", *make)
        give_behind("zone", "delete", "y", "--yes")

    def is_connected(self, node):
        """Somebody has connected to the control socket of a node that takes nobody."""
        with open("/proc/net/unix", encoding="ascii") as f:
            return sum(line.split()[-1] == node.socket for line in f) > 1

    def up(self, at, node):
        members = {m["node"]: m for m in at.zone("z")["members"]}
        return members[node.name]["up"]

    # A machine gets another address. The first node dials all others: it says so itself. One
    # that is dialled is found at its new address once a node that dials it is told, also
    # where without it there is no majority to write the address down.
    def test_new_address(self):
        gv = self.grapevine(2)
        gv.make_zone("z", [0, 1])
        first, second = gv.nodes
        self.assertIn("127.0.0.1, which is every", first.gvraft("invite").stderr)

        def address(at, node):
            return {n["name"]: n["host"] for n in at.status()["nodes"]}[node.name]

        def move(node, host):
            node.stop()
            node.host = host
            node.write_config()
            node.start()

        move(first, "127.0.0.11")
        grapevine.wait(lambda: address(second, first) == first.host, "it told the others")
        gv.wait_settled("z", 2)
        move(second, "127.0.0.12")
        for wrong in ("127.0.0.12", "localhost:2646", "0.0.0.0:2646", "127.0.0.12:0"):
            done = first.gvraft("node", "set-address", second.name, wrong)
            self.assertEqual(done.returncode, 1)
            self.assertIn("is no address of one machine", done.stderr)
        where = "%s:%d" % (second.host, second.peer_port)
        done = second.gvraft("node", "set-address", second.name, where)
        self.assertIn("change it there", done.stderr)
        self.assertEqual(address(first, second), "127.0.0.2")
        first.ask("node", "set-address", second.name, where)
        gv.wait_settled("z", 2)
        first.stop()
        first.start()
        gv.wait_settled("z", 2)
        self.assertEqual({address(at, second) for at in gv.nodes}, {second.host})
