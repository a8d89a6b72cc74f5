#!/usr/bin/env python3
"""What the kernel's NFS client does with a grapevine; run in the guest by run-suite.

    cases.py PLAN

PLAN is JSON: {"nodes": [[host, port], ...], "zone", "partial", "fixed", "closed",
"printed", "quick", "crowd", "heap"}. Every node is a member of the zone; the last one is no
member of the zone "partial"; this guest may only read "fixed", and may not mount "closed".
"printed" is gvraft's command to mount the zone at /mnt/printed. The zone's folders "crowd"
and "heap" have as many files as the plan says, stay-00000 and so on. $SHARE holds tree.tar.
One line per case, and no more than a case's output when it fails; then the closing line.
"""

import errno
import hashlib
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

from cases_posix import PosixCases, errno_of

CASE_SECONDS_MAX = 150
MIB = 1 << 20


def sh(command, **kw):
    done = subprocess.run(["sh", "-ec", command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    assert done.returncode == 0, "%s: status %d\n%s" % (
        command, done.returncode, done.stdout[-1500:])
    return done.stdout


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Churn:
    """A thread that makes, renames and removes names in a folder until told to stop."""

    def __init__(self, folder):
        self.folder = folder
        self.rounds = 0
        self.error = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def round(self, i):
        come, move = self.folder + "/come-%d-%d", self.folder + "/move-%d-%d"
        for n in range(10):
            write(come % (i, n), b"")
        for n in range(0, 10, 2):
            os.rename(come % (i, n), move % (i, n))
            if i > 0:
                os.rename(move % (i, n), come % (i - 1, n + 1))
        if i > 1:
            os.unlink(come % (i - 2, 1))

    def run(self):
        try:
            while not self.stopping.is_set():
                self.round(self.rounds)
                self.rounds += 1
        except OSError as e:  # The case tells it.
            self.error = e

    def stop(self):
        self.stopping.set()
        self.thread.join()
        assert self.error is None, self.error


class Cases(PosixCases):
    """/a and /b are the zone through two nodes; each case has a folder of its own there."""

    def __init__(self, plan):
        self.plan = plan
        self.a = self.b = ""

    def mount(self, node, export, where, options=""):
        host, port = self.plan["nodes"][node]
        os.makedirs(where, exist_ok=True)
        sh("mount -t nfs -o vers=3,tcp,nolock,port=%d,mountport=%d%s %s:%s %s" % (
            port, port, options, host, export, where))

    def remount(self, where, node):
        os.chdir("/")
        sh("umount " + where)
        self.mount(node, "/" + self.plan["zone"], where)

    def mounts(self):
        """Both nodes, and the root above the zones: crossing into one changes the fsid."""
        zone = self.plan["zone"]
        self.mount(0, "/" + zone, "/mnt/a")
        self.mount(1, "/" + zone, "/mnt/b")
        self.mount(0, "/", "/mnt/zones")
        assert sorted(os.listdir("/mnt/zones")) == sorted(
            [zone, self.plan["partial"], self.plan["fixed"]])
        os.listdir("/mnt/zones/" + zone)
        assert os.stat("/mnt/zones").st_dev != os.stat("/mnt/zones/" + zone).st_dev
        sh("umount /mnt/zones/%s; umount /mnt/zones" % zone)
        assert errno_of(lambda: os.stat("/mnt/a/none")) == errno.ENOENT
        space = os.statvfs("/mnt/a")
        assert 0 < space.f_bavail <= space.f_blocks

    def printed_command(self):
        """What gvraft mount --print says is a command that works, with these effects."""
        os.makedirs("/mnt/printed")
        sh(self.plan["printed"])
        with open("/proc/mounts", encoding="ascii") as f:
            options = next(line.split()[3].split(",") for line in f
                           if line.split()[1] == "/mnt/printed")
        for option in ("vers=3", "hard", "proto=tcp", "mountproto=tcp", "local_lock=all",
                       "rsize=1048576", "wsize=1048576", "timeo=600", "retrans=2"):
            assert option in options, (option, options)
        os.listdir("/mnt/printed")
        sh("umount /mnt/printed")

    def exports(self):
        """A zone that may only be read, and one that may not be mounted."""
        fixed, closed = self.plan["fixed"], self.plan["closed"]
        self.mount(0, "/" + fixed, "/mnt/fixed")
        for call in (lambda: os.mkdir("/mnt/fixed/d"), lambda: write("/mnt/fixed/f", b"x"),
                     lambda: os.chmod("/mnt/fixed", 0o700)):
            got = errno_of(call)
            assert got in (errno.EROFS, errno.EACCES), "errno %d" % got
        assert os.listdir("/mnt/fixed") == []
        assert not os.access("/mnt/fixed", os.W_OK)
        sh("umount /mnt/fixed")
        try:
            self.mount(0, "/" + closed, "/mnt/closed")
            raise AssertionError("it was mounted")
        except AssertionError as e:
            assert "access denied" in str(e), e
        self.mount(0, "/", "/mnt/zones")
        assert closed not in os.listdir("/mnt/zones")
        got = errno_of(lambda: os.listdir("/mnt/zones/" + closed))
        assert got == errno.EACCES, "errno %d" % got
        sh("umount /mnt/zones")

    def names_and_errors(self):
        os.chdir(self.a)
        write("a", b"a")
        os.link("a", "b")
        assert os.stat("b").st_nlink == 2 and os.path.samefile("a", "b")
        os.symlink("x" * 1000, "link")
        assert os.readlink("link") == "x" * 1000
        os.mkfifo("fifo")
        os.mkdir("d")
        write("d/file", b"")
        for call, want in (
                (lambda: os.mkdir("d"), errno.EEXIST),
                (lambda: os.rmdir("none"), errno.ENOENT),
                (lambda: os.rmdir("d"), errno.ENOTEMPTY),
                (lambda: os.rename("a", "d/none/x"), errno.ENOENT),
                (lambda: os.open("d", os.O_WRONLY), errno.EISDIR),
                (lambda: os.open("a/x", os.O_RDONLY), errno.ENOTDIR),
                (lambda: os.open("n" * 256, os.O_CREAT | os.O_WRONLY), errno.ENAMETOOLONG),
                (lambda: os.open("a", os.O_CREAT | os.O_EXCL), errno.EEXIST),
                (lambda: os.rename("d", "d/below"), errno.EINVAL)):
            got = errno_of(call)
            assert got == want, "errno %d instead of %d" % (got, want)
        name = "\u00e4\u20ac\U0001f600 \t" + "n" * 200
        write(name, b"")
        assert name in os.listdir(self.b)

    def attributes(self):
        path = self.a + "/attr"
        write(path, b"")
        os.chmod(path, 0o4711)
        assert os.stat(path).st_mode & 0o7777 == 0o4711
        os.chown(path, 1234, 5678)
        os.utime(path, ns=(10**18 + 1, 10**18 + 2))
        other = os.stat(self.b + "/attr")
        assert (other.st_uid, other.st_gid) == (1234, 5678)
        assert (other.st_atime_ns, other.st_mtime_ns) == (10**18 + 1, 10**18 + 2)

    def big_file(self):
        """Written, read after a remount and through the other node; patched, and again."""
        size = (16 if self.plan["quick"] else 64) * MIB
        path = self.a + "/big"
        with open(path, "wb") as f:
            for _ in range(size // MIB):
                f.write(os.urandom(MIB))
            os.fsync(f.fileno())
        want = digest(path)
        self.remount("/mnt/a", 0)
        assert digest(path) == want
        assert digest(self.b + "/big") == want
        with open(path, "r+b") as f:
            f.seek(12345)
            f.write(b"patched")
            f.truncate(size // 2 + 1)
        self.remount("/mnt/b", 1)
        data = read(self.b + "/big")
        assert len(data) == size // 2 + 1 and data[12345:12352] == b"patched"

    def holes_and_mmap(self):
        path = self.a + "/map"
        with open(path, "w+b") as f:
            f.truncate(MIB)
            m = mmap.mmap(f.fileno(), MIB)
            m[500000:500005] = b"hello"
            m.flush()
            m.close()
        data = read(self.b + "/map")
        assert data[500000:500005] == b"hello" and data.count(0) == MIB - 5

    def rename_and_removed_while_open(self):
        os.chdir(self.a)
        write("new", b"new")
        write("old", b"old")
        os.rename("new", "old")
        assert read(self.b + "/old") == b"new" and not os.path.exists(self.b + "/new")
        with open("open", "w+b") as f:
            f.write(b"still here")
            f.flush()
            os.unlink("open")
            assert "open" not in os.listdir(".")
            f.seek(0)
            assert f.read() == b"still here"
        # Removed through the other node, where nobody knows that it is open.
        write("elsewhere", b"still here too")
        with open("elsewhere", "rb") as f:
            os.unlink(self.b + "/elsewhere")
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert f.read() == b"still here too"

    def untar_and_compare(self):
        """A source tree, unpacked through one node, compared byte by byte, with modes,
        owners and times, through the other."""
        sh("tar -C %s -xf $SHARE/tree.tar" % self.a)
        sh("tar -C %s --compare -f $SHARE/tree.tar" % self.b)
        n = int(sh("find %s -type f | wc -l" % self.b))
        assert n >= (300 if self.plan["quick"] else 2000), n
        sh("rm -r %s/*" % self.b)
        # This node's kernel may know the names for as long as it caches a folder.
        self.remount("/mnt/a", 0)
        assert os.listdir(self.a) == []

    def git_clone_and_fsck(self):
        sh("mkdir /tmp/src && cd /tmp/src && git init -q . && "
           "tar -xf $SHARE/small.tar && git add -A && "
           "git -c user.name=n -c user.email=e commit -qm one")
        os.chdir(self.a)
        sh("git -c core.fsync=all clone -q /tmp/src repo && cd repo && "
           "git fsck --strict && git gc -q && git fsck")
        sh("git config --global --add safe.directory '*'")
        assert sh("cd %s/repo && git fsck --strict 2>&1 && git status --porcelain" %
                  self.b).strip() == "", "not clean through the other node"
        sh("diff -r --no-dereference --exclude=.git /tmp/src %s/repo" % self.b)

    def sqlite(self):
        for mode in "delete", "truncate":
            statements = ["pragma journal_mode=%s;" % mode,
                          "create table t(i integer primary key, s text);"]
            for _ in range(10 if self.plan["quick"] else 30):
                statements.append("begin;" + "insert into t(s) values(hex(randomblob(50)));"
                                  * 20 + "commit;")
            statements.append("pragma integrity_check; select count(*) from t;")
            with open("/tmp/statements", "w", encoding="ascii") as f:
                f.write("\n".join(statements))
            sh("sqlite3 %s/%s.db </tmp/statements" % (self.a, mode))
            n = 200 if self.plan["quick"] else 600
            got = sh("sqlite3 %s/%s.db 'pragma integrity_check; select count(*) from t'" % (
                self.b, mode)).split()
            assert got == ["ok", str(n)], got

    def many_names(self):
        n = 300 if self.plan["quick"] else 1500
        os.mkdir(self.a + "/many")
        for i in range(n):
            write("%s/many/%05d" % (self.a, i), b"%d" % i)
        names = sorted(os.listdir(self.b + "/many"))
        assert names == ["%05d" % i for i in range(n)], len(names)
        for i in range(0, n, 2):
            os.rename("%s/many/%05d" % (self.b, i), "%s/many/renamed-%05d" % (self.b, i))
        self.remount("/mnt/a", 0)
        names = sorted(os.listdir(self.a + "/many"))
        assert len(names) == n and names[n // 2] == "renamed-00000", len(names)
        assert read(self.a + "/many/renamed-00100") == b"100"

    def check_crowd(self, names):
        """Every name that was there all the time once, no other one twice."""
        want = {"stay-%05d" % i for i in range(self.plan["crowd"])}
        assert len(names) == len(set(names)), "a name twice"
        assert want <= set(names), "%d names are missing" % len(want - set(names))
        extra = {name for name in set(names) - want
                 if not name.startswith(("come-", "move-"))}
        assert not extra, sorted(extra)[:5]

    def listed_while_it_changes(self):
        """Listings through one node while names come and go through another."""
        changes = Churn("/mnt/b/crowd")
        try:
            for i in range(2 if self.plan["quick"] else 4):
                began = changes.rounds
                # The kernel's own view of the folder is not to be used again.
                self.remount("/mnt/a", 0)
                if i % 2 == 0:
                    with os.scandir("/mnt/a/crowd") as entries:
                        names = []
                        for entry in entries:
                            names.append(entry.name)
                            if len(names) % 4000 == 0:
                                time.sleep(0.3)  # So that the folder changes meanwhile.
                else:
                    names = sh("ls -f /mnt/a/crowd").split()
                    names = [name for name in names if name not in (".", "..")]
                self.check_crowd(names)
                assert changes.rounds > began or changes.error, "nothing changed"
        finally:
            changes.stop()

    def list_find_and_remove(self):
        """The usual tools on large folders; then one goes, through the other node."""
        self.remount("/mnt/a", 0)
        n = len(os.listdir("/mnt/a/crowd"))
        assert n >= self.plan["crowd"]
        assert int(sh("find /mnt/a/crowd -type f | wc -l")) == n
        assert int(sh("ls -l /mnt/a/crowd | wc -l")) == n + 1
        assert int(sh("find /mnt/a/crowd -printf '%i\\n' | sort -u | wc -l")) == n + 1
        assert len(os.listdir("/mnt/a/heap")) == self.plan["heap"]
        sh("rm -r /mnt/b/heap")
        self.remount("/mnt/a", 0)
        assert "heap" not in os.listdir("/mnt/a") and not os.path.exists("/mnt/b/heap")

    def silly_names(self):
        """What is removed while it is open here gets a name of the client's own, which
        the other node shows too, and which goes with the last close."""
        os.chdir(self.a)
        data = os.urandom(MIB + 1)
        write("open", data)
        write("other", b"other")
        with open("open", "r+b") as f:
            os.unlink("open")
            names = os.listdir(self.b)
            silly = [name for name in names if name.startswith(".nfs")]
            assert len(silly) == 1 and sorted(names) == sorted(silly + ["other"]), names
            assert digest(os.path.join(self.b, silly[0])) == hashlib.sha256(data).hexdigest()
            assert f.read() == data
            f.write(b"more")
            f.flush()
            os.fsync(f.fileno())
            # A folder with such a name in it is not empty.
            os.mkdir("d")
            write("d/open", b"x")
            with open("d/open", "rb"):
                os.unlink("d/open")
                assert errno_of(lambda: os.rmdir("d")) in (errno.ENOTEMPTY, errno.EBUSY)
            os.rmdir("d")
        os.chdir("/")
        self.remount("/mnt/b", 1)
        assert os.listdir(self.b) == ["other"]

    def removed_elsewhere_while_open(self):
        """Removed, or replaced, through the other node, where nobody knows that it is
        open: read and written through the open file, and not from this side's memory."""
        size = (2 if self.plan["quick"] else 8) * MIB
        for how in "remove", "replace":
            path, elsewhere = self.a + "/" + how, self.b + "/" + how
            data = os.urandom(size)
            write(path, data)
            with open(path, "r+b") as f:
                if how == "remove":
                    os.unlink(elsewhere)
                else:
                    write(elsewhere + ".new", b"new")
                    os.rename(elsewhere + ".new", elsewhere)
                sh("sync; echo 3 >/proc/sys/vm/drop_caches")
                assert f.read() == data
                f.write(b"more")
                f.flush()
                os.fsync(f.fileno())
                sh("echo 3 >/proc/sys/vm/drop_caches")
                f.seek(size)
                assert f.read() == b"more"
        self.remount("/mnt/a", 0)
        assert os.listdir(self.a) == ["replace"] and read(self.a + "/replace") == b"new"

    def node_without_data(self):
        """A zone of which the node has no copy works through it as through a member."""
        zone = "/" + self.plan["partial"]
        self.mount(len(self.plan["nodes"]) - 1, zone, "/mnt/far")
        self.mount(0, zone, "/mnt/near")
        data = os.urandom(3 * MIB + 17)
        write("/mnt/far/file", data)
        assert read("/mnt/near/file") == data
        write("/mnt/near/back", data[:MIB])
        assert read("/mnt/far/back") == data[:MIB]
        sh("umount /mnt/far /mnt/near")

    def run(self, case):
        self.a = "/mnt/a/" + case.__name__
        self.b = "/mnt/b/" + case.__name__
        os.chdir("/")
        if os.path.ismount("/mnt/a"):
            os.mkdir(self.a)
        case()
        os.chdir("/")
        if case.__name__ != "mounts":
            shutil.rmtree(self.a)


def late(*_):
    raise TimeoutError("not within %d s" % CASE_SECONDS_MAX)


def main():
    with open(sys.argv[1], encoding="ascii") as f:
        cases = Cases(json.load(f))
    passed = failed = 0
    signal.signal(signal.SIGALRM, late)
    for case in (cases.mounts, cases.printed_command, cases.exports,
                 cases.names_and_errors, cases.attributes, cases.big_file,
                 cases.holes_and_mmap, cases.rename_and_removed_while_open,
                 cases.untar_and_compare, cases.git_clone_and_fsck, cases.sqlite,
                 cases.many_names, cases.silly_names, cases.removed_elsewhere_while_open,
                 cases.listed_while_it_changes, cases.list_find_and_remove,
                 cases.node_without_data, *cases.posix_cases()):
        began = time.monotonic()
        signal.alarm(CASE_SECONDS_MAX)
        try:
            cases.run(case)
            passed += 1
            print("ok    %s (%.1f s)" % (case.__name__, time.monotonic() - began), flush=True)
        except Exception as e:  # Whatever it is: the other cases have their own folders.
            failed += 1
            print("FAIL  %s (%.1f s): %s: %s" % (
                case.__name__, time.monotonic() - began, type(e).__name__, e), flush=True)
            if case == cases.mounts:
                break
        signal.alarm(0)
    print("%d passed, %d failed" % (passed, failed), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
