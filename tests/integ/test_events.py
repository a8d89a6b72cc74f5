"""gvraft events: what happened on a node is told, outlives it, and can be followed."""

import json
import os
import socket
import subprocess
import threading

import grapevine
from grapevine import program, wait


def kinds(node, *args):
    done = node.gvraft("--json", "events", *args)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["kind"] for line in done.stdout.splitlines()]


def events(node, kind):
    done = node.gvraft("--json", "events")
    return [e for e in map(json.loads, done.stdout.splitlines()) if e["kind"] == kind]


class Follower:
    """gvraft --json events --follow in the background."""

    def __init__(self, node):
        self.seen = []
        self.process = subprocess.Popen(
            [program("cli", "gvraft"), "--socket", node.socket, "--json", "events",
             "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        for line in self.process.stdout:
            self.seen.append(json.loads(line))

    def end(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


class Events(grapevine.GrapevineTest):
    # Peers, leaders and members come and go; who follows hears of it as it happens; a
    # killed daemon's events are there after it, and that it was killed is one of them.
    def test_told_followed_and_kept(self):
        gv = self.grapevine(2)
        follower = Follower(gv[0])
        self.addCleanup(follower.end)
        gv.make_zone("tier-2", [0])
        gv[0].ask("zone", "add-member", "tier-2", gv[1].name)
        gv.wait_settled("tier-2", 2)
        wait(lambda: any(e["kind"] == "member-promoted" and e["zone"] == "tier-2"
                         and gv[1].name in e["words"] for e in follower.seen), "it is told")
        self.assertEqual({e["node"] for e in follower.seen}, {gv[0].name})
        told = kinds(gv[0], "--zone", "tier-2")
        for kind in ("leader", "member-added", "member-promoted", "online"):
            self.assertIn(kind, told)
        self.assertNotIn("start", told)
        gv[1].kill()
        wait(lambda: "peer-down" in [e["kind"] for e in follower.seen], "the loss is told")
        wait(lambda: "offline" in kinds(gv[0], "--zone", "tier-2"), "no majority is told")
        text = gv[0].gvraft("events", "--zone", "tier-2").stdout
        self.assertIn("majority", text)
        gv[1].start()
        wait(lambda: kinds(gv[0], "--zone", "tier-2")[-1] in ("online", "leader"),
             "it is online again")
        self.assertIn("recovery", kinds(gv[1]))
        self.assertEqual(gv[1].stop(), 0)
        gv[1].start()
        told = kinds(gv[1])
        self.assertEqual((told.count("start"), told.count("stop"), told.count("recovery")),
                         (3, 1, 1))
        self.assertEqual(kinds(gv[1], "--since", "2100-01-01"), [])
        before = kinds(gv[1], "--since", "2000-01-01")
        self.assertEqual(kinds(gv[1], "--since", "7d")[:len(before)], before)
        self.assertEqual(gv[1].gvraft("events", "--since", "yesterday").returncode, 2)

    # Who follows goes on over a stop and a crash: each event once, in order, none missing but
    # what the crash kept from the file. It ends by a signal only.
    def test_followed_over_restarts(self):
        node = self.node()
        node.start()
        follower = Follower(node)
        self.addCleanup(follower.end)
        wait(lambda: "start" in [e["kind"] for e in follower.seen], "it follows")
        node.stop()
        node.start()
        wait(lambda: [e["kind"] for e in follower.seen].count("start") == 2, "it goes on")
        node.kill()
        node.start()
        wait(lambda: "recovery" in [e["kind"] for e in follower.seen], "it goes on again")
        self.assertIsNone(follower.process.poll())
        done = node.gvraft("--json", "events")
        all_events = [json.loads(line) for line in done.stdout.splitlines()]
        wait(lambda: follower.seen[-1] == all_events[-1], "it has them all")
        self.assertEqual([e for e in follower.seen if e in all_events], all_events)

    # One that begins without a daemon fails.
    def test_nothing_to_follow(self):
        node = self.node()
        self.assertEqual(node.gvraft("events", "--follow").returncode, 1)

    # A start that is refused is told by the next one that is not.
    def test_refused_start(self):
        node = self.node()
        node.start()
        node.stop()
        os.rename(node.pools["tank"], node.pools["tank"] + ".away")
        self.assertEqual(node.run_to_end()[0], 1)
        os.rename(node.pools["tank"] + ".away", node.pools["tank"])
        node.start()
        self.assertIn("tank", events(node, "start-refused")[0]["words"])

    # Strangers are told, at a bounded rate; a follower that does not read costs nothing
    # but its lines, and as many followers as one likes do not close the socket to others.
    def test_strangers_and_slow_followers(self):
        gv = self.grapevine(1)
        node = gv[0]
        slow = []
        for _ in range(24):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.connect(node.socket)
            s.sendall(b'{"version":1,"command":"events","args":{"follow":true}}\n')
            slow.append(s)
        for _ in range(200):
            with socket.socket() as s:
                s.connect((node.host, node.peer_port))
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                s.recv(100)
        wait(lambda: "stranger" in kinds(node), "strangers are told")
        self.assertLess(kinds(node).count("stranger"), 60)
        first = slow[0].makefile("r", encoding="utf-8")
        self.assertTrue(json.loads(first.readline())["ok"])
        self.assertIn("event", json.loads(first.readline()))
        last = slow[-1].makefile("rb").read().split(b"\n")
        self.assertEqual(len(last), 2)  # The reply, and the end.
        self.assertEqual(node.stop(), 0)

    # Arguments of a wrong kind are refused.
    def test_wrong_arguments(self):
        node = self.node()
        node.start()
        for args in ({"since_ns": "soon"}, {"since_ns": -1}, {"zone": 7}, {"zone": "z" * 99}):
            self.assertFalse(node.control("events", args)["ok"], args)
        self.assertEqual(kinds(node)[0], "start")
