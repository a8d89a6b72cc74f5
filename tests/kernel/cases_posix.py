"""What POSIX promises, as the kernel's client sees it; run by cases.py.

Each case has a folder of its own, self.a through one node and self.b through another. What
the client's kernel decides by itself, because it has just seen it, is asked through the
node that has not.
"""

import errno
import os
import socket
import stat
import subprocess

GIB = 1 << 30
CLASSES = 16  # Groups that AUTH_SYS has room for, RFC 5531 appendix A.
USER, OTHER = 1000, 1001


def errno_of(call):
    try:
        call()
    except OSError as e:
        return e.errno
    return 0


def as_user(uid, groups, call):
    """The errno of the call by a process of user @uid; the first group is its own."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgroups(groups[1:])
            os.setgid(groups[0])
            os.setuid(uid)
            code = errno_of(call)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def expect(*rows):
    """Rows of (what, errno wanted, call)."""
    for what, want, call in rows:
        got = errno_of(call)
        assert got == want, "%s: %s instead of %s" % (
            what, errno.errorcode.get(got, got), errno.errorcode.get(want, want))


def make(path, data=b"", mode=0o644, owner=None):
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(fd, data)
    os.close(fd)
    if owner:
        os.chown(path, *owner)
    os.chmod(path, mode)  # After chown, which takes bits away.


def put(path, data, flags=0):
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)  # The server's answer may come only now.


def get(path, size=100):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def mode_of(path):
    return os.stat(path).st_mode & 0o7777


class PosixCases:
    """Mixed into Cases, which sets a, b, plan and mount()."""

    def rename(self):
        os.chdir(self.a)
        for name in "d", "empty", "full", "full/sub", "other":
            os.mkdir(name)
        for name in "f", "g", "full/x":
            make(name, name.encode())
        os.link("f", "same")
        b = self.b
        expect(
            ("file onto directory", errno.EISDIR, lambda: os.rename(b + "/f", b + "/empty")),
            ("directory onto file", errno.ENOTDIR, lambda: os.rename(b + "/d", b + "/f")),
            ("onto full", errno.ENOTEMPTY, lambda: os.rename(b + "/d", b + "/full")),
            ("onto its parent", errno.ENOTEMPTY,
             lambda: os.rename(b + "/full/sub", b + "/full")),
            ("into itself", errno.EINVAL, lambda: os.rename(b + "/d", b + "/d/x")),
            ("nothing", errno.ENOENT, lambda: os.rename(b + "/none", b + "/x")),
            ("to itself", 0, lambda: os.rename(b + "/f", b + "/f")),
            ("to its other name", 0, lambda: os.rename(b + "/f", b + "/same")),
            ("a directory to itself", 0, lambda: os.rename(b + "/d", b + "/d")),
            ("onto empty", 0, lambda: os.rename(b + "/d", b + "/empty")),
            ("onto file", 0, lambda: os.rename(b + "/g", b + "/f")),
            ("across", 0, lambda: os.rename(b + "/full", b + "/other/moved")))
        self.remount("/mnt/a", 0)
        os.chdir(self.a)
        assert sorted(os.listdir(".")) == ["empty", "f", "other", "same"], os.listdir(".")
        assert get("f") == b"g" and get("same") == b"f" and get("other/moved/x") == b"full/x"
        assert os.stat("same").st_nlink == 1
        assert (os.stat(".").st_nlink, os.stat("other").st_nlink) == (4, 3)

    def rename_into_descendant(self):
        """The kernel sees to it among the names that it knows; this client has not seen
        that the other one moved the target below the source."""
        a, b = self.a, self.b
        os.makedirs(a + "/top/low")
        os.mkdir(a + "/aside")
        os.mkdir(a + "/aside/target")
        fd = os.open(b + "/aside/target", os.O_RDONLY | os.O_DIRECTORY)
        os.listdir(b + "/top")
        os.rename(a + "/aside/target", a + "/top/low/target")
        got = errno_of(lambda: os.rename(b + "/top", "top", dst_dir_fd=fd))
        os.close(fd)
        assert got in (errno.EINVAL, errno.ENOENT), got
        assert os.listdir(a + "/top/low/target") == []

    def links_and_nodes(self):
        os.chdir(self.a)
        os.mkdir("d")
        make("f", b"data")
        os.link("f", "d/g")
        os.symlink("t" * 4095, "long")
        os.symlink("none", "dangling")
        os.link("dangling", "d/dangling", follow_symlinks=False)
        expect(("link of a directory", errno.EPERM, lambda: os.link("d", "e")),
               ("link onto a name", errno.EEXIST, lambda: os.link("f", "d/g")),
               ("symlink onto a name", errno.EEXIST, lambda: os.symlink("x", "f")),
               ("symlink too long", errno.ENAMETOOLONG, lambda: os.symlink("t" * 4096, "x")),
               ("through dangling", errno.ENOENT, lambda: os.stat("dangling")))
        devices = {"block": (stat.S_IFBLK, 259, 1048575), "char": (stat.S_IFCHR, 4095, 0),
                   "null": (stat.S_IFCHR, 1, 3)}
        for name, (kind, major, minor) in devices.items():
            os.mknod(name, kind | 0o640, os.makedev(major, minor))
        os.mkfifo("pipe", 0o600)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("socket")
            server.listen()
            client.connect("socket")
        os.chdir(self.b)
        for name, (kind, major, minor) in devices.items():
            st = os.lstat(name)
            assert stat.S_IFMT(st.st_mode) == kind and mode_of(name) == 0o640 & ~0o022
            assert (os.major(st.st_rdev), os.minor(st.st_rdev)) == (major, minor), name
        put("null", b"swallowed")
        assert stat.S_ISFIFO(os.lstat("pipe").st_mode)
        assert stat.S_ISSOCK(os.lstat("socket").st_mode)
        assert os.readlink("long") == "t" * 4095 and os.lstat("long").st_size == 4095
        assert os.lstat("d/dangling").st_nlink == 2 and os.stat("d/g").st_nlink == 2
        os.unlink("f")
        assert get("d/g") == b"data" and os.stat("d/g").st_nlink == 1
        assert as_user(USER, [USER], lambda: os.mknod("mine", stat.S_IFIFO)) == errno.EACCES
        os.chmod(".", 0o777)
        assert as_user(USER, [USER], lambda: os.mknod("mine", stat.S_IFIFO)) == 0
        assert as_user(USER, [USER], lambda: os.mknod(
            "disk", stat.S_IFBLK, os.makedev(8, 0))) == errno.EPERM

    def sticky_and_setgid(self):
        os.chdir(self.a)
        os.mkdir("tmp")
        os.chmod("tmp", 0o1777)
        for name in "tmp/his", "tmp/mine":
            make(name, owner=(USER if "mine" in name else OTHER, 100))
        os.mkdir("tmp/dir")
        os.chown("tmp/dir", OTHER, 100)
        for what, want, call in (
                ("unlink", errno.EPERM, lambda: os.unlink("tmp/his")),
                ("rmdir", errno.EPERM, lambda: os.rmdir("tmp/dir")),
                ("rename from", errno.EPERM, lambda: os.rename("tmp/his", "tmp/x")),
                ("rename onto", errno.EPERM, lambda: os.rename("tmp/mine", "tmp/his")),
                ("rename own", 0, lambda: os.rename("tmp/mine", "tmp/x")),
                ("unlink own", 0, lambda: os.unlink("tmp/x"))):
            got = as_user(USER, [100], call)
            assert got == want, "sticky: %s: errno %d" % (what, got)
        os.mkdir("shared")
        os.chown("shared", USER, 500)
        os.chmod("shared", 0o2777)

        def inside():
            make("shared/f", mode=0o640)
            os.mkdir("shared/d", 0o755)
            os.chmod("shared/f", 0o2750)  # Not in that group: no set-id for its members.
        assert as_user(USER, [100], inside) == 0
        assert (os.stat("shared/f").st_gid, mode_of("shared/f")) == (500, 0o750)
        assert (os.stat("shared/d").st_gid, mode_of("shared/d")) == (500, 0o2755)
        assert os.stat(self.b + "/shared/d").st_gid == 500

    def set_id_bits(self):
        os.chdir(self.a)
        os.chmod(".", 0o777)
        for name in "write", "cut", "chown", "lock":
            make(name, b"#!", 0o6777, (USER, 100))
        os.chmod("lock", 0o2767)
        assert as_user(OTHER, [100], lambda: put("write", b"x")) == 0
        assert as_user(OTHER, [100], lambda: os.truncate("cut", 0)) == 0
        assert as_user(OTHER, [100], lambda: put("lock", b"x")) == 0
        os.chown("chown", 7, 7)
        modes = [mode_of(self.b + "/" + name) for name in ("write", "cut", "chown", "lock")]
        assert modes == [0o777, 0o777, 0o777, 0o2767], [oct(m) for m in modes]
        make("kept", mode=0o6755)
        put("kept", b"by root")
        assert mode_of(self.b + "/kept") == 0o6755

    def permissions(self):
        os.chdir(self.a)
        groups = [2000 + i for i in range(CLASSES)]
        for i, group in enumerate(groups):
            make("g%d" % i, b"theirs", 0o040, (OTHER, group))
        for i in range(CLASSES):
            assert as_user(USER, [100] + groups, lambda: get("g%d" % i)) == 0, i
        rest = [100] + groups[:-1]
        assert as_user(USER, rest, lambda: get("g%d" % (CLASSES - 1))) == errno.EACCES
        make("owner", b"mine", 0o077, (USER, 100))
        assert as_user(USER, [100], lambda: get("owner")) == errno.EACCES
        os.mkdir("search")
        make("search/only", b"x")
        os.chmod("search", 0o711)
        assert as_user(USER, [100], lambda: get("search/only")) == 0
        assert as_user(USER, [100], lambda: os.listdir("search")) == errno.EACCES
        os.chmod("search", 0o744)
        assert as_user(USER, [100], lambda: os.listdir("search")) == 0
        assert as_user(USER, [100], lambda: os.stat("search/only")) == errno.EACCES
        make("chmod", b"", 0o666, (OTHER, 100))
        for what, want, call in (
                ("chmod", errno.EPERM, lambda: os.chmod("chmod", 0o600)),
                ("chown", errno.EPERM, lambda: os.chown("chmod", USER, -1)),
                ("utime", errno.EPERM, lambda: os.utime("chmod", (1, 1))),
                ("utime to now", 0, lambda: os.utime("chmod"))):
            got = as_user(USER, [100], call)
            assert got == want, "%s: errno %d" % (what, got)
        os.chmod("chmod", 0o644)
        assert as_user(USER, [100], lambda: os.utime("chmod")) == errno.EACCES
        make("gift", b"", 0o644, (USER, 100))
        assert as_user(USER, [100, 101], lambda: os.chown("gift", -1, 101)) == 0
        assert as_user(USER, [100, 101], lambda: os.chown("gift", -1, 102)) == errno.EPERM

    def open_files_and_programs(self):
        """Who has a file open goes on after chmod 0; who may only execute runs it."""
        os.chdir(self.a)
        os.chmod(".", 0o777)

        def keep_writing():
            fd = os.open("open", os.O_CREAT | os.O_RDWR, 0o600)
            os.fchmod(fd, 0)
            os.write(fd, b"still")
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, 10, 0) == b"still"
            os.close(fd)
        assert as_user(USER, [100], keep_writing) == 0
        assert as_user(USER, [100], lambda: get("open")) == errno.EACCES
        with open("/bin/true", "rb") as program:
            make("true", program.read(), 0o711)
        path = self.b + "/true"
        run = subprocess.run(["setpriv", "--reuid=1000", "--regid=100", "--clear-groups", path])
        assert run.returncode == 0, run
        assert as_user(USER, [100], lambda: get(path)) == errno.EACCES

        def read_only_create():
            os.close(os.open("ro", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444))
            assert mode_of("ro") == 0o444
        assert as_user(USER, [100], read_only_create) == 0

    def exclusive_create(self):
        """Both nodes are asked for the same names; each is given once."""
        won = [0, 0]
        for i in range(20 if self.plan["quick"] else 100):
            order = (self.a, self.b) if i % 2 else (self.b, self.a)
            got = [errno_of(lambda: make(folder + "/%d" % i, folder.encode()))
                   for folder in order]
            assert got == [0, errno.EEXIST], got
            won[i % 2] += 1
            assert get(self.a + "/%d" % i) == order[0].encode()
            assert mode_of(self.b + "/%d" % i) == 0o644
        assert len(os.listdir(self.a)) == sum(won)

    def times(self):
        os.chdir(self.a)
        make("f", b"1")
        os.mkdir("d")
        os.utime("f", ns=(10**18 + 123456789, 10**18 + 987654321))
        st = os.stat(self.b + "/f")
        assert (st.st_atime_ns, st.st_mtime_ns) == (10**18 + 123456789, 10**18 + 987654321)

        def moves(what, fields, call):
            """The call moves these times of these objects, and no ctime stays."""
            before = {name: os.stat(name) for name, _ in fields}
            call()
            for name, field in fields:
                was, now = (getattr(st, field) for st in (before[name], os.stat(name)))
                assert now > was, "%s: %s of %s: %d, %d" % (what, field, name, was, now)

        m, c = "st_mtime_ns", "st_ctime_ns"
        moves("write", (("f", m), ("f", c)), lambda: put("f", b"2"))
        moves("cut", (("f", m), ("f", c)), lambda: os.truncate("f", 0))
        moves("chmod", (("f", c),), lambda: os.chmod("f", 0o600))
        moves("chown", (("f", c),), lambda: os.chown("f", 1, 1))
        moves("utime", (("f", c),), lambda: os.utime("f", (1, 1)))
        moves("link", ((".", m), (".", c), ("f", c)), lambda: os.link("f", "g"))
        moves("unlink", ((".", m), (".", c), ("f", c)), lambda: os.unlink("g"))
        moves("create", (("d", m), ("d", c)), lambda: make("d/x"))
        moves("rename", ((".", m), (".", c), ("d", m), ("d", c)),
              lambda: os.rename("d/x", "x"))
        moves("mkdir", (("d", m), ("d", c)), lambda: os.mkdir("d/sub"))
        moves("rmdir", (("d", m), ("d", c)), lambda: os.rmdir("d/sub"))
        moves("symlink", (("d", m), ("d", c)), lambda: os.symlink("x", "d/link"))
        moves("mknod", (("d", m), ("d", c)), lambda: os.mkfifo("d/pipe"))

    def atime(self):
        """A read moves it, for the clients of that node; setting it works everywhere."""
        make(self.a + "/f", b"data")
        os.symlink("f", self.a + "/link")
        os.utime(self.a + "/f", ns=(10**18, 10**18))
        path = self.b + "/f"
        assert os.stat(path).st_atime_ns == 10**18
        assert get(path) == b"data"
        read_at = os.stat(path).st_atime_ns
        assert read_at > 10**18 and read_at >= os.stat(path).st_ctime_ns, read_at
        assert os.stat(path).st_mtime_ns == 10**18
        put(self.a + "/f", b"more")
        self.remount("/mnt/b", 1)
        assert os.stat(path).st_atime_ns == read_at
        assert os.stat(path).st_mtime_ns > read_at, "what is new looks read"
        os.utime(self.a + "/f", ns=(2 * 10**18, 2 * 10**18))
        self.remount("/mnt/b", 1)
        assert os.stat(path).st_atime_ns == 2 * 10**18
        before = os.stat(self.b).st_atime_ns
        os.listdir(self.b)
        self.remount("/mnt/b", 1)
        assert os.stat(self.b).st_atime_ns > before

    def big_offsets(self):
        os.chdir(self.a)
        places = (0, 4 * GIB - 2, 4 * GIB + 5, (1 << 40) + 12345, (1 << 43) - 6)
        fd = os.open("sparse", os.O_CREAT | os.O_RDWR, 0o644)
        for at in places:
            os.pwrite(fd, b"%6d" % (at % 100000), at)
        os.close(fd)
        path = self.b + "/sparse"
        assert os.stat(path).st_size == 1 << 43 and os.stat(path).st_blocks * 512 < 1 << 16
        fd = os.open(path, os.O_RDWR)
        for at in places[2:]:
            assert os.pread(fd, 6, at) == b"%6d" % (at % 100000), at
        # The second lies over the third's hole and across 4 GiB.
        assert os.pread(fd, 20, 4 * GIB - 2) == b"%6d" % ((4 * GIB - 2) % 100000) + b"\0" + (
            b"%6d" % ((4 * GIB + 5) % 100000)) + b"\0" * 7
        assert os.pread(fd, 4096, 1 << 39) == bytes(4096)
        os.ftruncate(fd, 4 * GIB + 1)
        os.ftruncate(fd, 6 * GIB)
        os.close(fd)
        fd = os.open("sparse", os.O_RDONLY)
        assert os.fstat(fd).st_size == 6 * GIB
        head = b"%6d" % ((4 * GIB - 2) % 100000)
        assert os.pread(fd, 8, 4 * GIB - 2) == head[:3] + bytes(5)
        os.close(fd)
        expect(("a directory's size", errno.EISDIR, lambda: os.truncate(".", 0)),
               ("too large", errno.EFBIG, lambda: os.truncate("sparse", (1 << 62) + 1)))

    def names(self):
        """Any byte but two, 255 of them, come back as they were given."""
        folder = self.a.encode()
        names = {bytes([i]) for i in range(1, 256) if i not in (0x2e, 0x2f)}
        every = bytes(i for i in range(1, 256) if i != 0x2f)
        names |= {every + b"x", b"." * 3, b" ", b"\xff" * 255, "\u00e9".encode() * 127}
        for name in names:
            make(folder + b"/" + name)
        assert set(os.listdir(self.b.encode())) == names
        long = self.b + "/" + "n" * 256
        expect(("open", errno.ENAMETOOLONG, lambda: make(long)),
               ("stat", errno.ENAMETOOLONG, lambda: os.stat(long)),
               ("mkdir", errno.ENAMETOOLONG, lambda: os.mkdir(long)),
               ("mkdir .", errno.EEXIST, lambda: os.mkdir(self.b + "/.")),
               ("mkdir ..", errno.EEXIST, lambda: os.mkdir(self.b + "/..")),
               ("rmdir .", errno.EINVAL, lambda: os.rmdir(self.b + "/.")),
               ("rmdir ..", errno.ENOTEMPTY, lambda: os.rmdir(self.b + "/..")))
        assert os.pathconf(self.b, "PC_NAME_MAX") == 255

    def space(self):
        """df shows the quota, and what is used of it."""
        before = os.statvfs(self.a)
        assert before.f_blocks * before.f_frsize == 2 * GIB
        with open(self.a + "/8MiB", "wb") as f:
            f.write(os.urandom(8 << 20))
        after = os.statvfs(self.b)
        used = (before.f_bfree - after.f_bfree) * after.f_frsize
        assert 8 << 20 <= used <= 9 << 20, used  # Shown in blocks of 1 MiB.
        assert after.f_bavail == after.f_bfree and after.f_ffree > 1000
        assert os.stat(self.a + "/8MiB").st_blocks * 512 == 8 << 20

    def stale(self):
        """What the other client removed is gone, not something else."""
        make(self.a + "/f", b"x")
        os.mkdir(self.a + "/d")
        folder = os.open(self.a + "/d", os.O_RDONLY | os.O_DIRECTORY)
        os.rmdir(self.b + "/d")
        make(self.b + "/d")  # Another object under that name.
        got = errno_of(lambda: os.mkdir("x", dir_fd=folder))
        os.close(folder)
        assert got in (errno.ESTALE, errno.ENOENT), got
        os.unlink(self.b + "/f")
        os.mkdir(self.b + "/f")
        self.remount("/mnt/a", 0)
        assert os.listdir(self.a + "/f") == []

    def posix_cases(self):
        return (self.rename, self.rename_into_descendant, self.links_and_nodes,
                self.sticky_and_setgid, self.set_id_bits, self.permissions,
                self.open_files_and_programs, self.exclusive_create, self.times, self.atime,
                self.big_offsets, self.names, self.space, self.stale)
