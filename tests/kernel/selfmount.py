#!/usr/bin/env python3
"""A machine with little memory mounts a zone of its own node and writes far more than it
has memory; run in the guest by run-suite.

    selfmount.py PLAN

PLAN is JSON: {"quick", "without"}. The guest's disk holds bin/ and lib/ with the daemon,
and state/ and pool/ that belong to USER. The daemon runs as the packaged service does: as
a user whose one right is CAP_SYS_RESOURCE; with "without" set it has none, to see what
that is good for. Who writes is held to half of the memory there is.

What goes wrong here stops: so a watchdog ends the guest when next to nothing reaches the
disk any more. Prints as cases.py does.
"""

import json
import mmap
import os
import subprocess
import sys
import threading
import time

MIB = 1 << 20
USER = 1000  # As in run-suite.
DISK = "/mnt/disk"
ZONE = "/mnt/zone"
GROUP = "/mnt/cgroup/writer"
LOG = "/tmp/log"
SOCKET = "/tmp/daemon/socket"
CONFIG = """[node]
name = solo
state = %s/state
socket = %s
[export]
squash = none
[pool tank]
path = %s/pool
""" % (DISK, SOCKET, DISK)
# The slowest disk that still counts as one, by two orders of magnitude.
STUCK_SECONDS = 30
STUCK_BYTES = 8 * MIB
CAP_SYS_RESOURCE = 24


def sh(command):
    done = subprocess.run(["sh", "-ec", command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, "%s: status %d\n%s" % (
        command, done.returncode, done.stdout[-1500:])
    return done.stdout


def lines(path):
    with open(path, encoding="ascii", errors="replace") as f:
        return f.read().splitlines()


def fields(path):
    """The lines of a file of /proc such as "Name:  12 kB"."""
    split = (line.split(":", 1) for line in lines(path) if ":" in line)
    return {name: value.split()[0] if value.strip() else "" for name, value in split}


def block(i, n=MIB):
    return (b"%16d" % i) * (n // 16) + b"end of file"[:n % 16]


def small(i):
    return block(i, i * 977 % 20000)


def in_group(args):
    """Run this file once more, as a process that may have so much memory and no more."""
    def join():
        with open(GROUP + "/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(os.getpid()))

    done = subprocess.run([sys.executable, __file__] + args, preexec_fn=join,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, "%s: status %d\n%s" % (args, done.returncode,
                                                        done.stdout[-1500:])


def part(kind, n):
    """What is run in the group."""
    if kind == "write":
        with open(ZONE + "/written", "wb", buffering=0) as f:
            for i in range(n):
                f.write(block(i))
    elif kind == "map":
        with open(ZONE + "/mapped", "w+b") as f:
            f.truncate(n * MIB)
            with mmap.mmap(f.fileno(), n * MIB) as m:
                for i in range(n):
                    m[i * MIB:(i + 1) * MIB] = block(i)
    elif kind == "files":
        os.mkdir(ZONE + "/files")
        for i in range(n):
            with open("%s/files/%d" % (ZONE, i), "wb") as f:
                f.write(small(i))


def check_blocks(path, n):
    with open(path, "rb") as f:
        for i in range(n):
            assert f.read(MIB) == block(i), "%s: MiB %d differs" % (path, i)
        assert f.read(1) == b""


class Watchdog(threading.Thread):
    """Says what the daemon's threads do, and ends the guest, when nothing goes on."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.armed = False

    def report(self):
        memory = fields("/proc/meminfo")
        out = ["FAIL  stuck: less than %d MiB to the disk in %d s; dirty %s kB, under "
               "writeback %s kB" % (STUCK_BYTES // MIB, STUCK_SECONDS, memory["Dirty"],
                                    memory["Writeback"])]
        for task in os.listdir("/proc/%d/task" % self.pid):
            base = "/proc/%d/task/%s" % (self.pid, task)
            out.append("  daemon's thread %s: %s in %s" % (
                task, fields(base + "/status")["State"], lines(base + "/wchan")))
        return "\n".join(out + lines(LOG)[-5:])

    @staticmethod
    def power_off():
        """As it is: the sync of an orderly end would hang, too."""
        time.sleep(1)  # For the last of the output.
        with open("/proc/sysrq-trigger", "w", encoding="ascii") as f:
            f.write("o")

    def run(self):
        last = since = 0
        while True:
            time.sleep(1)
            now = time.monotonic()
            done = int(lines("/sys/block/ubdb/stat")[0].split()[6]) * 512
            if not self.armed or done >= last + STUCK_BYTES:
                last, since = done, now
            elif now > since + STUCK_SECONDS:
                print(self.report() + "\n0 passed, 1 failed", flush=True)
                self.power_off()


class Daemon:
    def __init__(self, without):
        self.env = dict(os.environ, LD_LIBRARY_PATH=DISK + "/lib")
        caps = "-all" if without else "-all,+sys_resource"
        os.mkdir(os.path.dirname(SOCKET))
        os.chown(os.path.dirname(SOCKET), USER, USER)
        with open("/tmp/config", "w", encoding="ascii") as f:
            f.write(CONFIG)
        with open(LOG, "wb") as log:
            self.process = subprocess.Popen(
                ["choom", "--adjust=-500", "--", "setpriv", "--reuid=%d" % USER, "--regid=%d" % USER, "--clear-groups",
                 "--no-new-privs", "--inh-caps=" + caps, "--ambient-caps=" + caps,
                 "--bounding-set=" + caps, DISK + "/bin/grapevined", "--config",
                 "/tmp/config"], env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)

    def ask(self, *words):
        """Until it answers so: it may still be starting."""
        end = time.monotonic() + 60
        while True:
            done = subprocess.run((DISK + "/bin/gvraft", "--socket", SOCKET) + words,
                                  env=self.env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True)
            if done.returncode == 0:
                return
            assert self.process.poll() is None and time.monotonic() < end, (
                words, done.stdout, lines(LOG)[-5:])
            time.sleep(0.2)

    def resident(self):
        """kB: of memory, locked; and pages read in again from a disk until now."""
        rollup = fields("/proc/%d/smaps_rollup" % self.process.pid)
        stat = lines("/proc/%d/stat" % self.process.pid)[0].rsplit(")", 1)[1].split()
        return int(rollup["Rss"]), int(rollup["Locked"]), int(stat[9])

    def check_rights(self):
        """It used its right and has none left; nothing of it can be taken away."""
        status = fields("/proc/%d/status" % self.process.pid)
        assert not any(word in line for line in lines(LOG)
                       for word in ("flusher", "not locked", "drop")), lines(LOG)
        for cap_set in "CapEff", "CapPrm", "CapInh", "CapAmb":
            assert int(status[cap_set], 16) >> CAP_SYS_RESOURCE & 1 == 0, status
        rss, locked, _ = self.resident()
        assert locked > rss * 9 // 10, (rss, locked)


def prepare():
    for path in DISK, ZONE, os.path.dirname(GROUP):
        os.makedirs(path, exist_ok=True)
    sh("mount -t ext4 /dev/ubdb " + DISK)
    sh("mount -t cgroup2 none /mnt/cgroup && echo +memory >/mnt/cgroup/cgroup.subtree_control")
    os.mkdir(GROUP)
    total = int(fields("/proc/meminfo")["MemTotal"]) << 10
    with open(GROUP + "/memory.max", "w", encoding="ascii") as f:
        f.write(str(total // 2))
    return total


def selfmount(plan):
    total = prepare()
    daemon = Daemon(plan["without"])
    watchdog = Watchdog(daemon.process.pid)
    watchdog.start()
    daemon.ask("init")
    daemon.ask("zone", "create", "own", "--quota", "2GiB", "--member", "solo:tank")
    if not plan["without"]:
        daemon.check_rights()
    sh("mount -t nfs -o vers=3,tcp,nolock,port=2049,mountport=2049 127.0.0.1:/own " + ZONE)
    n_written = (3 if plan["quick"] else 5) * total // 2 // MIB
    n_mapped = total // 4 // MIB
    n_files = 100
    _, _, majors = daemon.resident()
    watchdog.armed = True
    began = time.monotonic()
    for kind, n in (("write", n_written), ("map", n_mapped), ("files", n_files)):
        in_group(["--part", kind, str(n)])
    sh("sync")
    wrote = time.monotonic() - began
    watchdog.armed = False
    rss, locked, majors_after = daemon.resident()
    sh("echo 3 >/proc/sys/vm/drop_caches")
    check_blocks(ZONE + "/written", n_written)
    check_blocks(ZONE + "/mapped", n_mapped)
    for i in range(n_files):
        with open("%s/files/%d" % (ZONE, i), "rb") as f:
            assert f.read() == small(i), "file %d differs" % i
    assert plan["without"] or majors_after == majors, "pages of the daemon were taken away"
    sh("umount " + ZONE)
    daemon.process.terminate()
    assert daemon.process.wait() == 0, lines(LOG)[-5:]
    return "%d MiB with %d MiB of memory in %.0f s; daemon %d MiB, %d locked" % (
        n_written + n_mapped, total // MIB, wrote, rss >> 10, locked >> 10)


def main():
    if sys.argv[1] == "--part":
        part(sys.argv[2], int(sys.argv[3]))
        return 0
    with open(sys.argv[1], encoding="ascii") as f:
        plan = json.load(f)
    began = time.monotonic()
    try:
        said = selfmount(plan)
    except Exception as e:  # Whatever it is.
        print("FAIL  selfmount (%.1f s): %s: %s\n0 passed, 1 failed" % (
            time.monotonic() - began, type(e).__name__, e), flush=True)
        return 1
    print("ok    selfmount (%.1f s): %s\n1 passed, 0 failed" % (
        time.monotonic() - began, said), flush=True)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # Not held up by a thread or a file that hangs.
