"""The servers that bench/run measures beside a grapevine, each from its Debian packages, all
below a folder of their own and in bench/run's namespaces.

What is on disk when a call returns: docs/performance.md.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

START_SECONDS_MAX = 60
PUT_BYTES = 4096
GLUSTER_ADDRESS = "10.77.0.1"  # Ours, in the namespace: it takes no loopback address.
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

GANESHA_CONFIG = """
NFS_CORE_PARAM {
    NFS_Port = %(nfs)d; MNT_Port = %(mount)d; NLM_Port = %(nlm)d; Rquota_Port = %(rquota)d;
    Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
    mount_path_pseudo = true;
}
NFSV4 { Graceless = true; RecoveryBackend = fs; RecoveryRoot = %(dir)s; }
EXPORT {
    Export_Id = 1; Path = %(path)s; Pseudo = /export; Access_Type = RW;
    Squash = No_Root_Squash; SecType = sys; Protocols = 3; Transports = TCP;
    FSAL { %(fsal)s }
}
LOG { Default_Log_Level = WARN; }
"""


class Failed(Exception):
    """With a line that says what."""


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_port(host, port, process):
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Failed("%s ended with status %s" % (process.args[0], process.returncode))
        with socket.socket() as s:
            if s.connect_ex((host, port)) == 0:
                return
        time.sleep(0.1)
    raise Failed("%s does not answer at port %d" % (process.args[0], port))


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=START_SECONDS_MAX)
    if done.returncode != 0:
        raise Failed("%s: %s" % (" ".join(command), done.stdout.strip()[-500:]))
    return done.stdout


class Peer:
    """Processes that end with us."""

    programs = ()

    def __init__(self, base):
        self.dir = os.path.join(base, self.name)
        os.makedirs(self.dir)
        self.processes = []

    @classmethod
    def missing(cls, inside):
        """Why it cannot run here; empty if it can."""
        if not inside:
            return "it needs root"
        for program in cls.programs:
            if not shutil.which(program):
                return "there is no %s (deploy/install-deps --bench --peers)" % program
        return ""

    def spawn(self, *command):
        with open(os.path.join(self.dir, "output"), "ab") as output:
            self.processes.append(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                preexec_fn=die_with_parent))
        return self.processes[-1]

    def pids(self):
        return [process.pid for process in self.processes]

    def end(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


class Rpcbind(Peer):
    """nfs-ganesha does not start without."""

    name = "rpcbind"

    def start(self):
        wait_port("127.0.0.1", 111, self.spawn("rpcbind", "-f", "-w"))


class Ganesha(Peer):
    """nfs-ganesha over a local folder."""

    name = "ganesha"
    programs = ("ganesha.nfsd", "rpcbind")
    port = 20049

    def start(self):
        export = os.path.join(self.dir, "export")
        os.makedirs(export)
        os.chmod(export, 0o777)
        self.serve(export, "Name = VFS;")

    def serve(self, path, fsal):
        config = os.path.join(self.dir, "ganesha.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write(GANESHA_CONFIG % {
                "dir": self.dir, "path": path, "fsal": fsal, "nfs": self.port,
                "mount": self.port + 1, "nlm": self.port + 2, "rquota": self.port + 3})
        wait_port("127.0.0.1", self.port, self.spawn(
            "ganesha.nfsd", "-F", "-L", os.path.join(self.dir, "log"), "-f", config, "-p",
            os.path.join(self.dir, "pid")))

    def address(self):
        return "127.0.0.1", self.port, self.port + 1, "/export"


class Gluster(Ganesha):
    """A GlusterFS volume of three replicas, and nfs-ganesha in front of it."""

    name = "gluster"
    programs = ("glusterd", "gluster") + Ganesha.programs
    port = 20149

    @classmethod
    def missing(cls, inside):
        library = "/usr/lib/%s-linux-gnu/ganesha/libfsalgluster.so" % os.uname().machine
        if not os.path.exists(library):
            return "there is no nfs-ganesha-gluster (deploy/install-deps --bench --peers)"
        return super().missing(inside)

    def start(self):
        # Its daemons know these folders only; the mounts are the namespace's.
        run("ip", "address", "replace", GLUSTER_ADDRESS + "/32", "dev", "lo")
        for place in "/var/lib/glusterd", "/var/log/glusterfs":
            ours = os.path.join(self.dir, os.path.basename(place))
            os.makedirs(ours)
            run("mount", "--bind", ours, place)
        os.makedirs("/run/gluster", exist_ok=True)
        wait_port("127.0.0.1", 24007, self.spawn("glusterd", "-N", "-p", "/run/glusterd.pid"))
        bricks = []
        for i in range(3):
            bricks.append("%s:%s/brick-%d" % (GLUSTER_ADDRESS, self.dir, i))
            os.makedirs(bricks[-1].split(":")[1])
        run("gluster", "--mode=script", "volume", "create", "bench", "replica", "3", *bricks,
            "force")
        run("gluster", "--mode=script", "volume", "start", "bench")
        self.serve("/", "Name = GLUSTER; Hostname = %s; Volume = bench;" % GLUSTER_ADDRESS)

    def bricks(self):
        """Processes that glusterd made: by the pid files in its folder."""
        pids = []
        for folder, _, files in os.walk("/run/gluster"):
            for name in files:
                if name.endswith(".pid"):
                    with open(os.path.join(folder, name), encoding="ascii") as f:
                        pids += [int(text) for text in f.read().split()[:1]]
        return [pid for pid in pids if os.path.exists("/proc/%d" % pid)]

    def pids(self):
        return super().pids() + self.bricks()

    def end(self):
        bricks = self.bricks()
        super().end()
        for pid in bricks:
            os.kill(pid, signal.SIGKILL)


class Etcd(Peer):
    """Three etcd nodes: what a put costs that is on disk on a majority. The load comes from
    h2load, which sends the same gRPC call again and again."""

    name = "etcd"
    programs = ("etcd", "etcdctl", "h2load")
    port = 20249
    steps = {"put-4096-1": 1, "put-4096-64": 64}

    def start(self):
        peers = ",".join("n%d=http://127.0.0.1:%d" % (i, self.port + 10 + i)
                         for i in range(3))
        for i in range(3):
            client = "http://127.0.0.1:%d" % (self.port + i)
            peer = "http://127.0.0.1:%d" % (self.port + 10 + i)
            self.spawn("etcd", "--name", "n%d" % i, "--data-dir",
                       os.path.join(self.dir, "n%d" % i), "--listen-client-urls", client,
                       "--advertise-client-urls", client, "--listen-peer-urls", peer,
                       "--initial-advertise-peer-urls", peer, "--initial-cluster", peers,
                       "--initial-cluster-state", "new", "--logger", "zap", "--log-level",
                       "warn", "--quota-backend-bytes", str(8 << 30))
        for i in range(3):
            wait_port("127.0.0.1", self.port + i, self.processes[i])
        # A PutRequest (etcd's rpc.proto: key 1, value 2) in gRPC's frame.
        message = b"\x0a\x01k\x12" + self.varint(PUT_BYTES) + b"x" * PUT_BYTES
        with open(os.path.join(self.dir, "put"), "wb") as f:
            f.write(b"\0" + struct.pack(">I", len(message)) + message)

    @staticmethod
    def varint(n):
        out = b""
        while n > 127:
            out += bytes([n & 127 | 128])
            n >>= 7
        return out + bytes([n])

    def etcdctl(self, *command):
        os.environ["ETCDCTL_API"] = "3"
        ends = ",".join("127.0.0.1:%d" % (self.port + i) for i in range(3))
        return json.loads(run("etcdctl", "--endpoints", ends, *command, "-w", "json"))

    def leader(self):
        for node in self.etcdctl("endpoint", "status"):
            if node["Status"]["leader"] == node["Status"]["header"]["member_id"]:
                return node["Endpoint"]
        raise Failed("etcd has no leader")

    def measure(self, seconds):
        """{step: figures}, each put counted by etcd's own revision."""
        figures = {}
        for step, n_clients in self.steps.items():
            before = self.etcdctl("get", "k")["header"]["revision"]
            began = time.monotonic()
            run("h2load", "-D", str(max(1, round(seconds))), "-c", str(n_clients), "-m", "1",
                "-t", "1", "-d", os.path.join(self.dir, "put"), "-H",
                "content-type: application/grpc", "-H", "te: trailers",
                "http://%s/etcdserverpb.KV/Put" % self.leader())
            took = time.monotonic() - began
            puts = self.etcdctl("get", "k")["header"]["revision"] - before
            figures[step] = {"value": puts / took, "unit": "/s", "ops": puts,
                             "seconds": took}
        return figures


class Floor(Peer):
    """No server: what copies alone cost on this disk (bench/floor.c)."""

    steps = ("seqwrite-sync", "seqwrite-direct", "randwrite-1")
    build = None  # Whoever measures sets it.

    @classmethod
    def missing(cls, inside):
        return ""

    def start(self):
        pass

    def measure(self, seconds, only):
        """{step: figures}; none where no step is called so."""
        return json.loads(run(os.path.join(self.build, "bench", "floor"), "--members",
                              self.members, "--seconds", str(seconds), "--only", only or "",
                              self.dir))["steps"]


class Floor1(Floor):
    name = "floor-1"
    members = "1"


class Floor3(Floor):
    name = "floor-3"
    members = "3"
