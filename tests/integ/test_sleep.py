"""A machine that is about to sleep gives leadership and read leases away first, so that
nobody waits for it. Its manager is login1.c, on a bus of the test's own."""

import os
import subprocess
import threading
import unittest

import grapevine
import nfs3
from grapevine import build_dir, wait

BUS_CONFIG = """<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""


LOGIN1 = os.path.join(build_dir(), "tests", "integ", "login1")


class Manager:
    """A bus, and a logind on it."""

    def __init__(self, base):
        self.socket = os.path.join(base, "bus")
        self.address = "unix:path=" + self.socket
        self.config = os.path.join(base, "bus.conf")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(BUS_CONFIG % self.socket)
        self.environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        self.lines = []
        self.start_bus()
        self.login1 = subprocess.Popen(
            [LOGIN1], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=self.environment, preexec_fn=grapevine.die_with_parent)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        wait(lambda: "ready" in self.lines, "there is a logind")

    def start_bus(self):
        self.bus = subprocess.Popen(
            ["dbus-daemon", "--nofork", "--nopidfile", "--nosyslog",
             "--config-file=" + self.config], stderr=subprocess.DEVNULL,
            preexec_fn=grapevine.die_with_parent)
        wait(lambda: os.path.exists(self.socket), "there is a bus")

    def read(self):
        for line in self.login1.stdout:
            self.lines.append(line.rstrip("\n"))

    def count(self, word):
        return sum(line.split()[0] == word for line in self.lines)

    def wait_count(self, word, n):
        wait(lambda: self.count(word) == n, "%s %d times" % (word, n))

    def say(self, command):
        self.login1.stdin.write(command + "\n")
        self.login1.stdin.flush()

    def forge(self, name):
        subprocess.run([LOGIN1, "forge", name], env=self.environment, check=True,
                       timeout=grapevine.WAIT_SECONDS_MAX)

    def end(self):
        for process in (self.login1, self.bus):
            process.kill()
            process.wait()
        self.thread.join()
        self.login1.stdin.close()
        self.login1.stdout.close()


class Writer:
    """One thread that makes files through a node, until it is told to stop."""

    def __init__(self, client):
        self.client = client
        self.done = 0
        self.error = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                fh = self.client.create(self.client.root, "w%d" % self.done)
                self.client.write(fh, 0, b"x" * 1000)
                self.done += 1
        except Exception as e:  # Whatever it is, the test tells it.
            self.error = repr(e)

    def go_on(self, n=20):
        goal = self.done + n
        wait(lambda: self.error or self.done >= goal, "the writer goes on")
        assert self.error is None, self.error

    def stop(self):
        self.stopping.set()
        self.thread.join(2 * nfs3.CALL_SECONDS_MAX)
        assert not self.thread.is_alive(), "the writer hangs"
        self.client.close()
        assert self.error is None, self.error


def log_of(node):
    with open(node.log, encoding="utf-8", errors="replace") as f:
        return f.read()


def sleep_word(node):
    return node.control("doctor", {})["result"]["self"]["sleep"]


def local(node, slug):
    """What the node itself knows of the zone; it asks nobody."""
    zone_id = node.control("zone-show", {"slug": slug})["result"]["id"]
    zones = node.control("local", {})["result"]["zones"]
    return next(zone for zone in zones if zone["id"] == zone_id)


@unittest.skipUnless(os.path.exists(LOGIN1), "built without libsystemd")
class Sleep(grapevine.GrapevineTest):
    def begin(self, sleeper, election_ms):
        """Three nodes and a zone that the first one leads; the machine of one has a logind.
        With a long election timeout that is soon: nobody is elected."""
        self.manager = Manager(self.tmp)
        self.addCleanup(self.manager.end)
        gv = self.grapevine(0)
        gv.environment = lambda node: {
            "DBUS_SYSTEM_BUS_ADDRESS": self.manager.address
        } if gv.nodes.index(node) == sleeper else {}
        config_text = grapevine.Node.config_text
        self.addCleanup(setattr, grapevine.Node, "config_text", config_text)
        grapevine.Node.config_text = lambda node: config_text(node).replace(
            "[export]", "[zones]\nelection_ms = %d\n[export]" % election_ms, 1)
        for _ in range(3):
            gv.add_node()
        self.manager.wait_count("lock", 1)
        self.assertRegex(self.manager.lines[-1], r"^lock sleep delay :")
        gv.make_zone("tier-3", [0])
        for node in gv.nodes[1:]:
            gv[0].ask("zone", "add-member", "tier-3", node.name)
        gv.wait_settled("tier-3", 3)
        return gv

    def lead(self, node):
        wait(lambda: node.gvraft("transfer-leader", "tier-3", node.name).returncode == 0,
             "leadership is handed over")
        wait(lambda: local(node, "tier-3")["is_leader"], "it leads")

    # The leader's machine sleeps the moment it may. By then another node leads, and writers
    # on the others go on. Awake, it takes the lock again, leads when it is asked to, and
    # nothing was lost.
    def test_leader_hands_over_before_its_machine_sleeps(self):
        gv = self.begin(0, election_ms=1500)
        self.lead(gv[1])  # They vote: they started long enough ago.
        self.lead(gv[0])
        term = int(local(gv[1], "tier-3")["term"])
        writer = Writer(gv.client("tier-3", 1))
        writer.go_on()
        self.manager.say("stop %d" % gv[0].process.pid)
        self.manager.say("sleep 1")
        self.manager.wait_count("released", 1)
        zones = [local(node, "tier-3") for node in gv.nodes[1:]]
        self.assertEqual([int(zone["term"]) for zone in zones], [term + 1] * 2)
        self.assertEqual([zone["is_leader"] for zone in zones].count(True), 1)
        writer.go_on()
        self.assertEqual(int(local(gv[1], "tier-3")["term"]), term + 1)
        self.assertEqual(gv[1].gvraft("invite").returncode, 0)  # The directory's group, too.
        gv[0].resume()
        self.manager.say("sleep 0")
        self.manager.wait_count("lock", 2)
        writer.go_on()
        writer.stop()
        wait(lambda: sleep_word(gv[0]) == "ready", "it is ready for the next time")
        self.lead(gv[0])
        gv.wait_settled("tier-3", 3)
        self.assertTrue(gv.same_digests("tier-3"))
        self.assertNotIn("not everything is handed over", log_of(gv[0]))

    # A member that is read from holds a lease, for which the leader's writers would wait.
    # It is given back before the machine sleeps.
    def test_read_lease_is_given_back(self):
        gv = self.begin(1, election_ms=10000)
        reader = gv.client("tier-3", 1)
        self.addCleanup(reader.close)

        def held():
            reader.getattr(reader.root)
            return int(local(gv[1], "tier-3")["read_lease_ms"]) > 0
        wait(held, "the reader's node holds a lease")
        raft_id = local(gv[1], "tier-3")["raft_id"]

        def granted_ms():
            return next(int(m["lease_ms"]) for m in local(gv[0], "tier-3")["members"]
                        if m["raft_id"] == raft_id)
        self.assertGreater(granted_ms(), 0)
        self.manager.say("stop %d" % gv[1].process.pid)
        self.manager.say("sleep 1")
        self.manager.wait_count("released", 1)
        self.assertEqual(granted_ms(), 0)
        client = gv.client("tier-3", 2)
        self.addCleanup(client.close)
        client.create(client.root, "file")
        gv[1].resume()
        self.manager.say("sleep 0")
        self.manager.wait_count("lock", 2)
        wait(held, "it holds a lease again")

    # What a person sees meanwhile: status, doctor and events say it, and leadership cannot
    # be given to the node.
    def test_told_to_people(self):
        gv = self.begin(0, election_ms=500)
        self.manager.say("shutdown 1")
        self.manager.say("sleep 1")
        self.manager.wait_count("released", 1)
        self.assertEqual(sleep_word(gv[0]), "left")
        self.assertIn("sleep-begins", gv[0].gvraft("doctor").stdout)
        self.assertIn("going to sleep", gv[0].gvraft("status").stdout)
        wait(lambda: [n["name"] for n in gv[1].status()["nodes"] if n["sleeps"]]
             == [gv[0].name], "other nodes see it")
        leader = wait(lambda: gv.leader("tier-3"), "a leader")
        self.assertIsNot(leader, gv[0])
        wait(lambda: "nobody took it in time" in gv[1].gvraft(
            "transfer-leader", "tier-3", gv[0].name).stderr, "it is not taken")
        self.manager.say("shutdown 0")
        self.manager.say("sleep 0")
        self.manager.wait_count("lock", 2)
        wait(lambda: sleep_word(gv[0]) == "ready", "it is ready for the next time")
        self.lead(gv[0])
        events = gv[0].gvraft("events").stdout
        self.assertIn("about to shut down", events)
        self.assertIn("is awake", events)
        self.assertNotIn("sleep-begins", gv[0].gvraft("doctor").stdout)

    # Anybody may send signals over the bus: only logind's count. Without a bus, or once it is
    # gone, a node says so once and is as it always was.
    def test_forged_signal_and_no_bus(self):
        gv = self.begin(0, election_ms=500)
        self.manager.forge(self.manager.lines[-1].split()[-1])
        wait(lambda: "somebody else speaks for logind" in log_of(gv[0]), "it is found out")
        self.assertEqual(sleep_word(gv[0]), "ready")
        self.assertEqual(self.manager.count("released"), 0)
        self.assertEqual(sleep_word(gv[1]), "absent")
        self.assertEqual(log_of(gv[1]).count("no system bus"), 1)
        self.manager.say("sleep 1")
        self.manager.wait_count("released", 1)
        self.manager.bus.kill()
        wait(lambda: sleep_word(gv[0]) == "absent", "the bus is gone")
        self.lead(gv[0])  # Nobody will tell it that it is awake.
        self.assertEqual(gv[0].stop(), 0)
        gv[0].write_config(gv[0].config_text().replace("[node]", "[node]\nsleep = ignore"))
        gv[0].start()
        self.assertEqual(sleep_word(gv[0]), "unused")
