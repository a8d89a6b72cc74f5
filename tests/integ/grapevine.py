"""What the integration tests share: a grapevine of real daemons in a folder of its own,
gvraft, the tools of libnfs, and load whose outcome can be checked.

Time decides nothing here: everything waits for a condition, bounded so generously that
only a broken daemon gets there.
"""

import ctypes
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import zlib

import nfs3

WAIT_SECONDS_MAX = 120
PORTS = 2200  # For each of the tests that run at a time.
NAMES = ("chimay-bleue", "hertog-jan", "cara-pils", "orval", "rochefort")
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
CAP_SYS_RESOURCE = 24
LIBC = ctypes.CDLL(None)
# Daemons of tests mind no sleep of the machine that they run on.
NO_BUS = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
GIVEN = set()  # Ports of this process's nodes, in use or not.


def build_dir():
    return os.environ.get("GV_BUILD", "")


def program(*path):
    return os.path.join(build_dir(), "src", *path)


def wait(condition, what, seconds=WAIT_SECONDS_MAX):
    """Until condition() is true; its value. An exception counts as false."""
    end = time.monotonic() + seconds
    while True:
        reason = "it is false"
        try:
            value = condition()
            if value:
                return value
        except (AssertionError, LookupError, OSError, ValueError, subprocess.SubprocessError) as e:
            reason = repr(e)
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s (%s)" % (seconds, what, reason))
        time.sleep(0.05)


def free_port(host):
    """Outside of what the kernel gives to outgoing connections, so that it stays free
    while a daemon is down."""
    first = 10000 + PORTS * int(os.environ.get("GV_INTEG_SLOT", "0"))
    while True:
        port = random.randrange(first, first + PORTS)
        if port in GIVEN:
            continue
        with socket.socket() as s:
            try:
                s.bind((host, port))
                GIVEN.add(port)
                return port
            except OSError:
                continue


def state_json(node, name):
    """What a file of the node's state folder says; behind it is a line with its checksum."""
    with open(os.path.join(node.dir, "state", name), encoding="utf-8") as f:
        return json.loads(f.read().split("\ncheck ")[0])


def write_state(node, name, content):
    """As a person would write it: without a checksum, which is taken as it is."""
    with open(os.path.join(node.dir, "state", name), "w", encoding="utf-8") as f:
        json.dump(content, f)


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent_without_right():
    """Whoever is not root has no such right anyway."""
    die_with_parent()
    LIBC.prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))


class Node:
    """One daemon, its folder and its configuration."""

    def __init__(self, base, name, host, pools=("tank",), make=True):
        self.name = name
        self.host = host
        self.listen = host  # For NFS; and, for peers, always host.
        self.export = "squash = none\n"
        self.user = None  # Whose process it is; None: the test's.
        self.dir = os.path.join(base, name)
        self.nfs_port = free_port(host)
        self.peer_port = free_port(host)
        self.socket = os.path.join(self.dir, "sock")
        self.log = os.path.join(self.dir, "log")
        self.config = os.path.join(self.dir, "grapevine.conf")
        self.pools = {pool: os.path.join(self.dir, "pools", pool) for pool in pools}
        self.process = None
        self.environment = {}  # Beside the test's own.
        if make:
            os.makedirs(os.path.join(self.dir, "state"))
            for path in self.pools.values():
                os.makedirs(path)
        self.write_config()

    def config_text(self):
        text = ("[node]\nname = %s\nstate = %s/state\nsocket = %s\n"
                "[listen]\nnfs = %s:%d\npeer = %s:%d\n"
                "[export]\n%s" % (
                    self.name, self.dir, self.socket, self.listen, self.nfs_port,
                    self.host, self.peer_port, self.export))
        for pool, path in self.pools.items():
            text += "[pool %s]\npath = %s\n" % (pool, path)
        return text

    def write_config(self, text=None):
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(text or self.config_text())

    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self, preexec=die_with_parent):
        assert not self.running()
        # A killed daemon leaves its socket behind: not the new one's answer.
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [program("daemon", "grapevined"), "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self.user,
                env={**os.environ, **NO_BUS, **self.environment}, preexec_fn=preexec)
        wait(self.answers_or_ended, "%s answers" % self.name)
        assert self.running(), "%s did not start:\n%s" % (self.name, self.log_tail(5))

    def answers_or_ended(self):
        return not self.running() or self.gvraft("status").returncode == 0

    def run_to_end(self):
        """Start a daemon that is expected to refuse: its status and what it said."""
        done = subprocess.run(
            [program("daemon", "grapevined"), "--config", self.config],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, timeout=WAIT_SECONDS_MAX)
        return done.returncode, done.stderr

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.running():
            self.process.kill()
        if self.process:
            self.process.wait()

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(WAIT_SECONDS_MAX)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def gvraft(self, *args, stdin=""):
        return subprocess.run(
            [program("cli", "gvraft"), "--socket", self.socket, *args], input=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=2 * WAIT_SECONDS_MAX)

    def ask(self, *args, stdin=""):
        """gvraft --json, which must succeed: its result."""
        done = self.gvraft("--json", *args, stdin=stdin)
        assert done.returncode == 0, "gvraft %s on %s: %s" % (
            " ".join(args), self.name, done.stderr)
        return json.loads(done.stdout)

    def control(self, command, args):
        """A request that gvraft would not make: the answer."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(WAIT_SECONDS_MAX)
            s.connect(self.socket)
            s.sendall(json.dumps(
                {"version": 1, "command": command, "args": args}).encode() + b"\n")
            with s.makefile("r", encoding="utf-8") as f:
                return json.loads(f.readline())

    def status(self):
        return self.ask("status")

    def zone(self, slug):
        return {z["slug"]: z for z in self.status()["zones"]}[slug]

    def rss_kib(self):
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def url(self, path):
        return "nfs://%s%s?version=3&nfsport=%d&mountport=%d" % (
            self.host, path, self.nfs_port, self.nfs_port)

    def log_tail(self, lines=30):
        return "".join(self.log_text().splitlines(True)[-lines:])

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""


def nfs_tool(*command):
    """Run nfs-cp, nfs-ls or nfs-cat; its standard output."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=WAIT_SECONDS_MAX)
    assert done.returncode == 0, "%s: %s" % (" ".join(command), done.stderr.decode())
    return done.stdout


class Grapevine:
    """Nodes that know each other; none at first."""

    def __init__(self, base):
        self.nodes = []
        self.base = base
        self.environment = lambda node: {}

    def add_node(self, pools=("tank",)):
        name = NAMES[len(self.nodes)]
        node = Node(self.base, name, "127.0.0.%d" % (len(self.nodes) + 1), pools)
        self.nodes.append(node)
        node.environment = self.environment(node)
        node.start()
        if len(self.nodes) == 1:
            node.ask("init")
        else:
            token = self.nodes[0].ask("invite")["token"]
            node.ask("join", "-", stdin=token + "\n")
        return node

    def __getitem__(self, i):
        return self.nodes[i]

    def node(self, name):
        return next(node for node in self.nodes if node.name == name)

    def make_zone(self, slug, members, quota="1GiB"):
        args = []
        for i in members:
            args += ["--member", self.nodes[i].name]
        names = {self.nodes[i].name for i in members}
        wait(lambda: all(node["up"] for node in self.nodes[0].status()["nodes"]
                         if node["name"] in names), "the members are reached: they are asked")
        self.nodes[0].ask("zone", "create", slug, "--quota", quota, *args)
        self.wait_settled(slug)

    def leader(self, slug):
        """The node that every running node says is the leader, when all say so."""
        found = {node.zone(slug)["leader"] for node in self.nodes if node.running()}
        assert len(found) == 1 and "" not in found, found
        return self.node(found.pop())

    def wait_leader(self, slug, but=None):
        def other():
            leader = self.leader(slug)
            return leader if leader is not but and leader.running() else None
        return wait(other, "a leader of %s" % slug)

    def settled(self, slug, n_members=None, index=None):
        """One leader, and every member a voter, online, with everything up to @index applied;
        None: with everything."""
        leader = self.leader(slug)
        zone = leader.zone(slug)
        assert n_members in (None, len(zone["members"])), zone
        for member in zone["members"]:
            assert member["up"] and member["role"] == "voter", member
            assert member["state"] == "online", member
            assert int(member["applied_index"]) >= (index or int(zone["commit_index"])), zone
        return True

    def wait_settled(self, slug, n_members=None):
        """With what is committed now: under load no member ever has everything."""
        index = wait(lambda: int(self.leader(slug).zone(slug)["commit_index"]),
                     "%s has a leader" % slug)
        wait(lambda: self.settled(slug, n_members, index), "%s is settled" % slug)

    def digests(self, slug):
        """Of every running member, once all are at one index: there is no load."""
        zone = self.leader(slug).zone(slug)
        members = [self.node(member["node"]) for member in zone["members"]]
        digests = [node.control("zone-digest", {"slug": slug})["result"] for node in members
                   if node.running()]
        assert len({digest["index"] for digest in digests}) == 1, digests
        return digests

    def same_digests(self, slug):
        """Every running member has the same state at the same index."""
        digests = wait(lambda: self.digests(slug), "all are at one index")
        return len({digest["digest"] for digest in digests}) == 1

    def servers(self, *indices):
        return [(self.nodes[i].host, self.nodes[i].nfs_port) for i in indices]

    def client(self, slug, *indices):
        return nfs3.Client(self.servers(*indices), slug)

    def end(self):
        for node in self.nodes:
            node.kill()


class Load:
    """A thread that makes, writes, renames and removes files in a folder of its own, one
    acknowledged step after the other, and knows what must be there afterwards.

    Guarded creates, renames and removes fail when they are applied twice; a step that was
    acknowledged and is lost, or shows without having been asked for, shows in check().
    """

    def __init__(self, client, name, seed=1):
        self.client = client
        self.name = name
        self.random = random.Random(seed)
        self.files = {}  # name -> (size, crc32) of what was acknowledged
        self.steps = 0
        self.errors = []
        self.stopping = threading.Event()
        self.folder = client.mkdir(client.root, name)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def step(self, i):
        name = "f%d" % i
        fh = self.client.create(self.folder, name)
        data = self.random.randbytes(self.random.choice((100, 4096, 20000, 65536)))
        self.client.write(fh, 0, data)
        self.files[name] = (len(data), zlib.crc32(data))
        if i % 3 == 0:
            self.client.rename(self.folder, name, "r%d" % i)
            self.files["r%d" % i] = self.files.pop(name)
            name = "r%d" % i
        if i % 5 == 0:
            self.client.remove(self.folder, name)
            del self.files[name]

    def run(self):
        i = 0
        while not self.stopping.is_set():
            try:
                self.step(i)
            except Exception as e:  # Whatever it is, the test tells it.
                self.errors.append("%s: step %d: %r" % (self.name, i, e))
                return
            i += 1
            self.steps = i

    def wait_steps(self, n):
        """@n more steps than now."""
        goal = self.steps + n
        wait(lambda: self.steps >= goal or self.errors, "load %s goes on" % self.name)
        assert not self.errors, self.errors

    def stop(self):
        self.stopping.set()
        self.thread.join(2 * nfs3.CALL_SECONDS_MAX)
        assert not self.thread.is_alive(), "load %s hangs" % self.name
        self.client.close()
        assert not self.errors, self.errors

    def check(self, client):
        """What @client sees is what was acknowledged, no more and no less."""
        folder = client.lookup(client.root, self.name)
        names = client.names(folder)
        assert len(names) == len(set(names)), "%s: a name twice" % self.name
        missing = set(self.files) - set(names)
        extra = set(names) - set(self.files)
        assert not missing and not extra, "%s: missing %s, unexpected %s" % (
            self.name, sorted(missing)[:5], sorted(extra)[:5])
        for name, (size, crc) in self.files.items():
            data = client.read_all(client.lookup(folder, name))
            assert (len(data), zlib.crc32(data)) == (size, crc), "%s/%s differs" % (
                self.name, name)


class GrapevineTest(unittest.TestCase):
    """A test's folder, its grapevine, and the daemons' last words when it fails."""

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="gv-integ-")
        self.addCleanup(shutil.rmtree, self.tmp, ignore_errors=True)
        self.grapevines = []
        self.addCleanup(self.end_all)

    def end_all(self):
        outcome = getattr(self._outcome, "result", None)
        bad = [t for t, _ in (outcome.failures + outcome.errors)] if outcome else []
        for grapevine in self.grapevines:
            grapevine.end()
            if self in bad or os.environ.get("GV_INTEG_LOGS"):
                for node in grapevine.nodes:
                    print("-- the end of %s's log\n%s" % (node.name, node.log_tail()))

    def grapevine(self, n):
        grapevine = Grapevine(self.tmp)
        self.grapevines.append(grapevine)
        for _ in range(n):
            grapevine.add_node()
        return grapevine

    def node(self, name="chimay-bleue", pools=("tank",)):
        """A daemon's folder, nothing started."""
        node = Node(self.tmp, name, "127.0.0.1", pools)
        self.addCleanup(node.kill)
        return node
