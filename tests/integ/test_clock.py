"""Clocks of the day that are wrong, in real daemons: a library that is preloaded makes one
daemon's wrong by as much as the test says, from that moment on."""

import json
import os
import time

import grapevine

SHIM = os.path.join("tests", "integ", "wrongclock.so")
HOUR_S = 3600


class Clock(grapevine.GrapevineTest):
    def some(self, n):
        gv = grapevine.Grapevine(self.tmp)
        self.grapevines.append(gv)
        gv.environment = lambda node: {
            "LD_PRELOAD": os.path.join(grapevine.build_dir(), SHIM),
            "WRONGCLOCK_FILE": self.file_of(node),
            "ASAN_OPTIONS": "verify_asan_link_order=0",
        }
        for _ in range(n):
            gv.add_node()
        gv.make_zone("zone", list(range(n)))
        return gv

    def file_of(self, node):
        return os.path.join(node.dir, "clock")

    def wrong(self, node, seconds):
        path = self.file_of(node)
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write("%d\n" % seconds)
        os.rename(path + ".new", path)

    def told(self, node):
        done = node.gvraft("--json", "events")
        return [e["words"] for e in map(json.loads, done.stdout.splitlines())
                if e["kind"] == "clock"]

    def lead(self, gv, node):
        if gv.leader("zone").name != node.name:
            gv[0].ask("transfer-leader", "zone", node.name)
            grapevine.wait(lambda: gv.leader("zone").name == node.name, "it leads")

    def make(self, gv, name):
        """Make a file through the first node; how far its time is from now, in seconds."""
        client = gv.client("zone", 0)
        fh = client.create(client.root, name)
        client.write(fh, 0, b"now")
        off = (client.getattr(fh)["mtime"] >> 32) - time.time()
        client.close()
        return off

    def is_right(self, gv, name):
        self.assertLess(abs(self.make(gv, name)), 60)

    # A leader's clock jumps an hour ahead: it goes on leading, files get the right time,
    # and it is told what is wrong, there and by status and doctor. Started anew with that
    # clock, and leading, it is no different. Set right, that is told, too.
    def test_leader_an_hour_ahead(self):
        gv = self.some(3)
        bad = gv[1]
        self.lead(gv, bad)
        self.is_right(gv, "before")
        self.wrong(bad, HOUR_S)
        self.is_right(gv, "after")
        grapevine.wait(lambda: self.told(bad), "it is told")
        self.assertIn("this node's clock of the day is 3", self.told(bad)[0])
        self.assertIn("ahead", self.told(bad)[0])
        self.assertEqual(gv.leader("zone").name, bad.name)
        self.assertIn("clock off", gv[0].gvraft("zone", "show", "zone").stdout)
        doctor = gv[0].gvraft("doctor").stdout
        self.assertIn("clock-far-off", doctor)
        self.assertIn(bad.name, doctor)
        bad.kill()
        bad.start()
        gv.wait_settled("zone", 3)
        self.lead(gv, bad)
        self.is_right(gv, "again")
        self.assertEqual(gv[0].stop(), 0)
        gv[0].start()
        self.is_right(gv, "of two")
        gv.wait_settled("zone", 3)
        n = len(self.told(bad))
        self.wrong(bad, 0)
        grapevine.wait(lambda: "right again" in self.told(bad)[-1], "that is told")
        self.assertLessEqual(len(self.told(bad)), n + 1)

    # A leader tells of another's clock.
    def test_follower_behind(self):
        gv = self.some(3)
        self.lead(gv, gv[0])
        self.wrong(gv[2], -HOUR_S)
        grapevine.wait(lambda: self.told(gv[0]), "the leader tells")
        self.assertIn(gv[2].name, self.told(gv[0])[0])
        self.assertIn("behind", self.told(gv[0])[0])
        grapevine.wait(lambda: self.told(gv[2]), "so does who is behind")
        self.assertEqual(self.told(gv[1]), [])
        self.is_right(gv, "file")

    # After a power cut two of three come up in 1970. Nobody waits for a time service, and
    # the third one's clock is enough for the right time.
    def test_two_never_set(self):
        gv = self.some(3)
        self.is_right(gv, "before")
        for node in gv.nodes:
            node.kill()
        for node in (gv[0], gv[1]):
            self.wrong(node, -int(time.time()) + 100)
        for node in gv.nodes:
            node.start()
        gv.wait_settled("zone", 3)
        self.lead(gv, gv[0])
        self.is_right(gv, "after")

    # Of two members the one that is ahead leads: nobody can tell which is wrong, and zone
    # time goes by the earlier.
    def test_two_members(self):
        gv = self.some(2)
        self.lead(gv, gv[0])
        self.wrong(gv[0], HOUR_S)
        self.is_right(gv, "file")
        grapevine.wait(lambda: self.told(gv[0]), "it is told")
        self.assertIn("one of them is wrong", self.told(gv[0])[0])
