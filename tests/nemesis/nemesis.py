"""Real daemons in a network of their own, what is done to them, and when.

A schedule is drawn from a seed before anything runs: (when, what, for how long, a number
from which the rest is drawn). Who leads is known only when it happens, so a schedule names
roles, and a replay has the same faults at the same times, not the same run.
"""

import heapq
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integ"))

import grapevine
import net

NFS_PORT, PEER_PORT = 2049, 2646
CONTROL_SECONDS_MAX = 1.0
SLUG = "tier-1"


class Node(grapevine.Node):
    """A daemon in namespace @i of @network."""

    def __init__(self, network, base, i, leases):
        super().__init__(base, grapevine.NAMES[i], "127.0.0.1")
        self.i = i
        self.network = network
        self.host = self.listen = net.address(i)
        self.nfs_port, self.peer_port = NFS_PORT, PEER_PORT
        self.leases = leases
        self.down = False  # Killed by us, and not to be up.
        self.said = None  # (term, leader), the last that it said.
        self.paused = 0
        self.write_config()

    def config_text(self):
        return super().config_text() + "[zones]\nleases = %s\n" % (
            "yes" if getattr(self, "leases", True) else "no")

    def start(self, preexec=None):
        super().start(self.network.preexec(self.i, preexec or grapevine.die_with_parent))

    def spawn(self):
        """Start it and wait for nothing."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [grapevine.program("daemon", "grapevined"), "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=self.network.preexec(self.i, grapevine.die_with_parent))

    def quick_status(self):
        """What it says of the zone at once, or None."""
        if self.down or self.paused:
            return None
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(CONTROL_SECONDS_MAX)
                s.connect(self.socket)
                s.sendall(b'{"version":1,"command":"status","args":{}}\n')
                with s.makefile("r", encoding="utf-8") as f:
                    answer = json.loads(f.readline())
            return {z["slug"]: z for z in answer["result"]["zones"]}[SLUG]
        except (OSError, LookupError, ValueError):
            return None


class Grapevine(grapevine.Grapevine):
    def __init__(self, base, n, leases, pool_mib):
        super().__init__(base)
        self.network = net.Net(n)
        self.leases = leases
        self.pool_mib = pool_mib  # Of a file system of its own; 0: the folder's.

    def add_node(self, pools=("tank",)):
        node = Node(self.network, self.base, len(self.nodes), self.leases)
        self.nodes.append(node)
        if self.pool_mib:
            net.sh("mount", "-t", "tmpfs", "-o", "size=%dm" % self.pool_mib, "tmpfs",
                   node.pools["tank"])
        node.start()
        if node.i == 0:
            node.ask("init")
        else:
            node.ask("join", "-", stdin=self.nodes[0].ask("invite")["token"] + "\n")
        return node

    def end(self):
        super().end()
        for node in self.nodes:
            if self.pool_mib and os.path.ismount(node.pools["tank"]):
                net.sh("umount", node.pools["tank"])

    def watch(self):
        """Keep asking who leads: a node may take a second to say it, and faults are not to
        wait for that."""
        for node in self.nodes:
            threading.Thread(target=self.watch_node, args=(node,), daemon=True).start()

    @staticmethod
    def watch_node(node):
        while True:
            status = node.quick_status()
            node.said = (int(status["term"]), status["leader"]) if status else None
            time.sleep(0.2)

    def quick_leader(self):
        """Who leads, as far as those say who can be asked."""
        said = [s for s in (node.said for node in self.nodes) if s and s[1]]
        return self.node(max(said)[1]) if said else None


# What is done. Each begins a fault and returns what ends it, or None if nothing was done.

def victims(gv, draw, members):
    """Whom it hits: a random one, the leader, another one, a majority, all."""
    how = draw.choices(("random", "leader", "follower", "majority", "all"),
                       (5, 4, 3, 1, 1))[0]
    nodes = gv.nodes[:]
    draw.shuffle(nodes)
    if how == "all":
        return how, nodes
    if how == "majority":
        return how, [n for n in nodes if n.i < members][:members // 2 + 1]
    leader = gv.quick_leader() if how in ("leader", "follower") else None
    if how == "leader" and leader:
        return how, [leader]
    return how, [next(n for n in nodes if n is not leader or how == "random")]


def kill(run, draw):
    how, nodes = victims(run.gv, draw, run.members)
    nodes = [n for n in nodes if not n.down]
    for node in nodes:
        node.down = True
        node.kill()
        node.paused = 0
    run.count("killed", len(nodes))

    def end():
        for node in nodes:
            node.spawn()
            node.down = False
    return "%s: %s" % (how, names(nodes)), end


def stop(run, draw):
    how, nodes = victims(run.gv, draw, run.members)
    held = [(n, n.process) for n in nodes if not n.down]
    for node, process in held:
        node.paused += 1
        process.send_signal(signal.SIGSTOP)
    run.count("stopped", len(held))

    def end():
        for node, process in held:
            if node.process is process and process.poll() is None:
                node.paused -= 1
                if not node.paused:
                    process.send_signal(signal.SIGCONT)
    return "%s: %s" % (how, names(n for n, _ in held)), end


def cutting(run, pairs, what):
    for pair in pairs:
        run.gv.network.cut(*pair)
    run.count("cut", 1)

    def end():
        for pair in pairs:
            run.gv.network.mend(*pair)
    return what, end


def part(run, draw):
    """Two sides that do not hear each other: the leader alone, or anyhow."""
    nodes = run.gv.nodes[:]
    draw.shuffle(nodes)
    leader = run.gv.quick_leader()
    side = [leader] if leader and draw.random() < 0.6 else nodes[:draw.randrange(1, len(nodes))]
    pairs = [(a.i, b.i) for a in nodes for b in nodes if (a in side) != (b in side)]
    return cutting(run, pairs, names(side))


def oneway(run, draw):
    """The leader, or one, hears nobody; nobody hears it; one does not hear one."""
    nodes = run.gv.nodes[:]
    draw.shuffle(nodes)
    one = (run.gv.quick_leader() if draw.random() < 0.7 else None) or nodes[0]
    rest = [n for n in nodes if n is not one]
    how = draw.choice(("deaf", "dumb", "deaf to one", "dumb to one"))
    if how.endswith("one"):
        rest = rest[:1]
    pairs = [(n.i, one.i) if how.startswith("deaf") else (one.i, n.i) for n in rest]
    return cutting(run, pairs, "%s %s" % (one.name, how))


def mute(run, draw):
    """Calls come in, and no reply gets out to the clients."""
    node = draw.choice(run.gv.nodes)
    return cutting(run, [(node.i, "clients")], node.name)


def slow(run, draw):
    nodes = draw.sample(run.gv.nodes, draw.randrange(1, len(run.gv.nodes)))
    for node in nodes:
        run.gv.network.slow(node.i)
    run.count("slowed", len(nodes))

    def end():
        for node in nodes:
            run.gv.network.quicken(node.i)
    return names(nodes), end


def full(run, draw):
    """Somebody else takes all room, or nearly all, in the pools of some nodes."""
    nodes = draw.sample(run.gv.nodes, draw.randrange(1, len(run.gv.nodes) + 1))
    left = draw.choice((0, 1 << 20, 32 << 20))
    ballasts = [(os.path.join(node.pools["tank"], "ballast"), node) for node in nodes]
    for path, node in ballasts:
        take_room(path, left)
    run.count("filled", len(nodes))

    def end():
        for path, _ in ballasts:
            if os.path.exists(path):
                os.unlink(path)
    return "%s, %d MiB left" % (names(nodes), left >> 20), end


def take_room(path, left):
    """Piece by piece, since the daemon takes of it, too."""
    with open(path, "ab") as f:
        while True:
            stat = os.statvfs(os.path.dirname(path))
            room = stat.f_bavail * stat.f_frsize - left
            if room < 4096:
                return
            try:
                os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size,
                                   min(room, 16 << 20))
            except OSError:
                return


def transfer(run, draw):
    """Ask for another leader, whoever it is, and do not wait."""
    asked = [n for n in run.gv.nodes if not n.down and not n.paused]
    if not asked:
        return None
    target = run.gv.nodes[draw.randrange(run.members)]
    run.background([grapevine.program("cli", "gvraft"), "--socket",
                    draw.choice(asked).socket, "transfer-leader", SLUG, target.name])
    run.count("transfers asked for", 1)
    return "to %s" % target.name, lambda: None


def members(run, draw):
    """One more member than at first, or one less again, whoever it is."""
    leader = run.gv.quick_leader()
    status = leader.quick_status() if leader else None
    if not status or run.children:  # One operator at a time.
        return None
    there = [member["node"] for member in status["members"]]
    others = [node.name for node in run.gv.nodes if node.name not in there]
    verb, choices = ("remove-member", there) if len(there) > run.members else (
        "add-member", others)
    if not choices:
        return None
    name = draw.choice(choices)
    run.background([grapevine.program("cli", "gvraft"), "--socket", leader.socket, "zone",
                    verb, SLUG, name])
    run.count("changes of members asked for", 1)
    return "%s %s" % (verb, name), lambda: None


def names(nodes):
    return " ".join(n.name for n in nodes) or "nobody"


# How long, and how long until the next one of any kind.
FAULTS = {
    "kill": (kill, (0.0, 3.0), (1.0, 4.0)),
    "stop": (stop, (0.1, 15.0), (1.0, 6.0)),
    "part": (part, (0.5, 8.0), (1.0, 6.0)),
    "oneway": (oneway, (0.5, 8.0), (1.0, 6.0)),
    "mute": (mute, (0.5, 4.0), (1.0, 4.0)),
    "slow": (slow, (1.0, 5.0), (1.0, 4.0)),
    "members": (members, (0.0, 0.0), (2.0, 6.0)),
    "full": (full, (0.5, 6.0), (1.0, 6.0)),
    "transfer": (transfer, (0.0, 0.0), (0.2, 1.0)),
}


USUAL = "kill,stop,part,oneway,mute,slow,transfer"


def schedule(seed, seconds, kinds):
    """[(at, kind, seconds, number)], in order. Long faults are rarer than short ones."""
    draw = random.Random("nemesis %d" % seed)
    found = []
    at = 1.0
    while kinds and at < seconds:
        kind = draw.choice(kinds)
        _, (short, long), (soon, late) = FAULTS[kind]
        lasts = short + (long - short) * draw.random() ** 2
        found.append((round(at, 2), kind, round(lasts, 2), draw.randrange(1 << 30)))
        at += draw.uniform(soon, late)
    return found


class Nemesis:
    """Carries out a schedule: step() when there is time, heal() in the end."""

    def __init__(self, gv, members, plan, say):
        self.gv = gv
        self.members = members
        self.plan = plan[:]
        self.say = say
        self.begin = time.monotonic()
        self.ends = []  # (when, order, end)
        self.order = 0
        self.counts = {}
        self.children = []
        self.died = []

    def count(self, what, n):
        self.counts[what] = self.counts.get(what, 0) + n

    def background(self, command):
        self.children.append(subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=grapevine.die_with_parent))

    def step(self):
        """Everything that is due."""
        now = time.monotonic() - self.begin
        self.children = [c for c in self.children if c.poll() is None]
        self.watch()
        while self.ends and self.ends[0][0] <= now:
            heapq.heappop(self.ends)[2]()
        if self.plan and self.plan[0][0] <= now:
            at, kind, seconds, number = self.plan.pop(0)
            done = FAULTS[kind][0](self, random.Random(number))
            if done:
                what, end = done
                self.say("%8.2f s (%.9f): %s for %.2f s: %s" % (
                    at, time.monotonic(), kind, seconds, what))
                self.order += 1
                begun = time.monotonic() - self.begin  # To find whom may have taken a while.
                heapq.heappush(self.ends, (begun + seconds, self.order, end))
                self.count(kind, 1)

    def watch(self):
        """Nobody ends by himself."""
        for node in self.gv.nodes:
            if not node.down and not node.running() and node not in self.died:
                self.died.append(node)
                self.say("%s ended by itself, status %s" % (
                    node.name, node.process.returncode))

    def heal(self):
        while self.ends:
            heapq.heappop(self.ends)[2]()
        self.watch()
        for child in self.children:
            child.kill()
            child.wait()
        self.children = []
