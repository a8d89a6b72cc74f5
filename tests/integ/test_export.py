"""gvraft export --offline: every file comes out of a dead daemon's dataset, as it was."""

import glob
import json
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import unittest

import grapevine
import nfs3
from grapevine import program, wait

MIB = 1 << 20


def sattr(mode=None, uid=None, gid=None, mtime=None):
    out = struct.pack(">II", 1, mode) if mode is not None else struct.pack(">I", 0)
    out += struct.pack(">II", 1, uid) if uid is not None else struct.pack(">I", 0)
    out += struct.pack(">II", 1, gid) if gid is not None else struct.pack(">I", 0)
    out += struct.pack(">II", 0, 0)  # Size, atime.
    return out + (struct.pack(">III", 2, *mtime) if mtime else struct.pack(">I", 0))


def where(directory, name):
    return nfs3.pack_opaque(directory) + nfs3.pack_opaque(name.encode())


def symlink(client, directory, name, target):
    client.nfs("SYMLINK", 10, where(directory, name) + sattr(0o777) +
               nfs3.pack_opaque(target.encode()))


def mknod(client, directory, name, kind, device=None):
    client.nfs("MKNOD", 11, where(directory, name) + struct.pack(">I", kind) + sattr(0o640) +
               (struct.pack(">II", *device) if device else b""))


def link(client, fh, directory, name):
    client.nfs("LINK", 15, nfs3.pack_opaque(fh) + where(directory, name))


def dress(client, fh, **what):
    client.nfs("SETATTR", 2, nfs3.pack_opaque(fh) + sattr(**what) + struct.pack(">I", 0))


def run_export(dataset, dest, *args):
    """The result, with the exit status in it."""
    done = subprocess.run(
        [program("cli", "gvraft"), "--json", "export", "--offline", dataset, dest, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not done.stdout:
        return {"status": done.returncode, "error": done.stderr}
    return {"status": done.returncode, **json.loads(done.stdout)}


def flip_at(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 4]))


def state_of(folder):
    """Every name below it, with all that a program could have changed."""
    out = {}
    for path, names, files in os.walk(folder):
        for name in names + files:
            full = os.path.join(path, name)
            st = os.lstat(full)
            data = b""
            if stat.S_ISREG(st.st_mode):
                with open(full, "rb") as f:
                    data = f.read()
            out[os.path.relpath(full, folder)] = (st.st_mode, st.st_size, st.st_mtime_ns, data)
    return out


def node_client(node):
    return nfs3.Client([(node.host, node.nfs_port)], "z")


class Export(grapevine.GrapevineTest):
    def zone(self, journal_bytes=None):
        gv = self.grapevine(1)
        if journal_bytes:
            gv[0].stop()
            gv[0].write_config(gv[0].config_text() + "[zones]\njournal_bytes = %s\n" %
                               journal_bytes)
            gv[0].start()
        gv.make_zone("z", [0])
        self.dataset = os.path.join(gv[0].pools["tank"], "z")
        self.dest = os.path.join(self.tmp, "out")
        return gv[0], gv.client("z", 0)

    def exported(self, *args, status=0):
        result = run_export(self.dataset, self.dest, *args)
        self.assertEqual(result["status"], status, result)
        self.assertNotIn("error", result)
        return result

    def at(self, name):
        return os.path.join(self.dest, name)

    def bytes_of(self, name):
        with open(self.at(name), "rb") as f:
            return f.read()

    # One bit of the journal flipped, in what has not settled: it is set right for the export,
    # and stays as it is in the dataset.
    def test_flipped_bit(self):
        node, client = self.zone()
        told = b"told" * 1000
        for i in range(4):
            client.write(client.create(client.root, "file%d" % i), 0, told)
        node.kill()
        segment = sorted(glob.glob(os.path.join(self.dataset, "journal", "*.seg")))[0]
        with open(segment, "rb") as f:
            at = f.read().index(told)
        for n, where_at in enumerate((24, 4096 + 20, 4096 + 64 + 20, at + 1234)):
            flip_at(segment, where_at)
            before = state_of(self.dataset)
            self.dest = os.path.join(self.tmp, "out%d" % n)
            self.exported()
            self.assertEqual(state_of(self.dataset), before)
            for i in range(4):
                self.assertEqual(self.bytes_of("file%d" % i), told)
            flip_at(segment, where_at)

    # Every kind of object comes out with its attributes, hard links are links, holes are
    # holes, and the dataset is not changed by a byte.
    def test_all_kinds(self):
        node, client = self.zone()
        root = client.root
        folder = client.mkdir(root, "folder")
        deep = client.mkdir(folder, "deep")
        small = client.create(deep, "small")
        client.write(small, 0, b"small")
        dress(client, small, uid=1234, gid=5678)
        dress(client, small, mode=0o4751, mtime=(1000000000, 123456789))
        sparse = client.create(root, "sparse")
        client.write(sparse, (1 << 40) + 5, b"far")
        client.write(sparse, 300000, b"near")
        client.create(root, "empty")
        link(client, small, root, "again")
        symlink(client, root, "up", "../../../etc/passwd")
        mknod(client, root, "pipe", 7)
        mknod(client, root, "socket", 6)
        mknod(client, root, "disk", 3, (8, 17))
        client.create(folder, "-n *\n\xe9")
        client.remove(root, "empty")
        dress(client, folder, mode=0o2750, mtime=(900000000, 7))
        node.kill()
        before = state_of(self.dataset)
        result = self.exported()
        self.assertEqual(state_of(self.dataset), before)
        self.assertEqual(self.bytes_of("folder/deep/small"), b"small")
        st = os.stat(self.at("folder/deep/small"))
        self.assertEqual(st.st_mtime_ns, 1000000000123456789)
        self.assertEqual(st.st_nlink, 2)
        self.assertEqual(os.stat(self.at("again")).st_ino, st.st_ino)
        self.assertEqual(os.stat(self.at("folder")).st_mtime_ns, 900000000000000007)
        self.assertEqual(os.readlink(self.at("up")), "../../../etc/passwd")
        st = os.stat(self.at("sparse"))
        self.assertEqual(st.st_size, (1 << 40) + 8)
        self.assertLess(st.st_blocks * 512, MIB)
        with open(self.at("sparse"), "rb") as f:
            f.seek(300000)
            self.assertEqual(f.read(5), b"near\0")
            f.seek(1 << 40)
            self.assertEqual(f.read(), bytes(5) + b"far")
        self.assertTrue(stat.S_ISFIFO(os.stat(self.at("pipe")).st_mode))
        self.assertTrue(stat.S_ISSOCK(os.stat(self.at("socket")).st_mode))
        self.assertEqual(sorted(os.listdir(self.at("folder"))), sorted(["deep", "-n *\n\xe9"]))
        self.assertNotIn("empty", os.listdir(self.dest))
        self.assertEqual(int(result["names"]), 1)
        if os.geteuid() == 0:
            st = os.stat(self.at("folder/deep/small"))
            self.assertEqual((st.st_uid, st.st_gid), (1234, 5678))
            self.assertEqual(stat.S_IMODE(st.st_mode), 0o4751)
            self.assertEqual(stat.S_IMODE(os.stat(self.at("folder")).st_mode), 0o2750)
            self.assertEqual(os.stat(self.at("disk")).st_rdev, os.makedev(8, 17))

    # A daemon that is killed in the middle of writes: whatever was acknowledged comes out,
    # from a file system that cannot be written.
    def test_killed_and_read_only(self):
        node, client = self.zone()
        load = grapevine.Load(client, "load")
        load.wait_steps(60)
        node.kill()
        load.stopping.set()
        done = dict(load.files)  # A step more may have reached the journal.
        if os.geteuid() == 0:
            mount = os.path.join(self.tmp, "ro")
            os.mkdir(mount)
            subprocess.run(["mount", "--bind", self.dataset, mount], check=True)
            self.addCleanup(subprocess.run, ["umount", "-l", mount], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", mount], check=True)
            self.dataset = mount
        else:
            subprocess.run(["chmod", "-R", "a-w", self.dataset], check=True)
            self.addCleanup(subprocess.run, ["chmod", "-R", "u+w", self.dataset], check=True)
        self.exported()
        there = set(os.listdir(self.at("load")))
        self.assertLessEqual(len(set(done) - there), 1, set(done) - there)  # A rename, say.
        for name, (size, crc) in done.items():
            if name in there:
                data = self.bytes_of(os.path.join("load", name))
                self.assertEqual((len(data), grapevine.zlib.crc32(data)), (size, crc), name)
        self.assertLessEqual(len(there - set(done)), 2, there - set(done))
        # The same without what the rows did not have yet: not more, and no problem.
        shutil.rmtree(self.dest)
        applied = self.exported("--applied")
        self.assertEqual(applied["applied_index"], applied["stored_index"])

    # A flipped bit in a settled block is set right; two are a hole of 16 KiB that is named, and
    # the rest is right.
    # A journal that is elsewhere is missed, named, and found with --journal.
    def test_flipped_and_no_journal(self):
        node, client = self.zone("64MiB")
        data = os.urandom(MIB)
        fhs = [client.create(client.root, "f%d" % i) for i in range(30)]
        for fh in fhs:
            client.write(fh, 0, data)
        recent = client.create(client.root, "recent")

        def settled_files():
            found = [f for f in glob.glob(self.dataset + "/data/*/*") if os.path.getsize(f) == MIB]
            return sorted(found, key=lambda f: int(os.path.basename(f)))
        wait(lambda: len(settled_files()) > 5, "files settled")
        client.write(recent, 0, b"r" * 20000)
        node.stop()  # What was settling is finished.
        settled = settled_files()[0]
        flip_at(settled, 200000)
        self.exported()
        for i in range(30):
            self.assertEqual(self.bytes_of("f%d" % i), data)
        shutil.rmtree(self.dest)
        flip_at(settled, 200001)
        result = self.exported(status=1)
        self.assertEqual(len(result["problems"]), 1, result)
        name, first, last = re.match(r"/(f\d+): bytes (\d+) to (\d+) are damaged",
                                     result["problems"][0]).groups()
        self.assertEqual((int(first), int(last)), (12 * 16384, 13 * 16384 - 1))
        self.assertEqual(int(result["bad_bytes"]), 16384)
        self.assertEqual(self.bytes_of(name),
                         data[:12 * 16384] + bytes(16384) + data[13 * 16384:])
        self.assertEqual(self.bytes_of("recent"), b"r" * 20000)
        self.told_when_read(node, name)
        shutil.rmtree(self.dest)
        away = os.path.join(self.tmp, "journal")
        os.rename(os.path.join(self.dataset, "journal"), away)
        result = self.exported(status=1)
        self.assertIn("--journal", result["problems"][0])
        shutil.rmtree(self.dest)
        result = self.exported("--journal", away, status=1)
        self.assertEqual(len(result["problems"]), 1, result)

    def told_when_read(self, node, name):
        """A read that meets it is an event, and the doctor's finding."""
        node.start()
        client = wait(lambda: node_client(node), "it serves")
        self.assertEqual(client.status(6, nfs3.pack_opaque(client.lookup(client.root, name)) +
                                       struct.pack(">QI", 12 * 16384, 16384)), 5)  # NFS3ERR_IO
        told = [json.loads(line) for line in
                node.gvraft("--json", "events", "--zone", "z").stdout.splitlines()]
        self.assertIn("block-bad", {event["kind"] for event in told})
        self.assertIn("blocks-bad", node.gvraft("doctor").stdout)
        client.close()
        node.stop()

    def small_files(self):
        """Two hundred files in rows, and the dataset of a daemon that has stopped."""
        node, client = self.zone()
        for i in range(200):
            client.write(client.create(client.root, "f%d" % i), 0, b"%d" % i * 500)
        node.stop()
        return os.path.join(self.dataset, "meta.db")

    def good_files(self):
        return sum(self.bytes_of("f%d" % i) == b"%d" % i * 500 for i in range(200)
                   if os.path.exists(self.at("f%d" % i)))

    # Bits flip in pages of meta.db, one in each: they are read as they were. Whole sectors of
    # some are rubbish: what is on the other pages comes out, and what is missing is told.
    def test_damaged_rows(self):
        rows = self.small_files()
        rng = random.Random(4)
        n_pages = os.path.getsize(rows) // 4096
        with open(rows, "rb") as f:
            whole = f.read()
        damaged = bytearray(whole)
        for page in rng.sample(range(1, n_pages), 10):
            damaged[page * 4096 + rng.randrange(4096)] ^= 1 << rng.randrange(8)
        with open(rows, "wb") as f:
            f.write(damaged)
        self.exported()
        self.assertEqual(self.good_files(), 200)
        for _ in range(4):
            damaged = bytearray(whole)
            at = rng.randrange(8, n_pages) * 4096 + 512 * rng.randrange(8)
            damaged[at:at + 512] = rng.randbytes(512)
            with open(rows, "wb") as f:
                f.write(damaged)
            shutil.rmtree(self.dest)
            result = run_export(self.dataset, self.dest)
            self.assertGreater(self.good_files(), 120)
            if result["status"] != 0:  # Else nobody needed that page.
                self.assertIn("pages of meta.db are damaged", "".join(result["problems"]))
            else:
                self.assertEqual(self.good_files(), 200)

    # Without a marker, or with one that is rubbish, the journal says whose it is.
    def test_no_marker(self):
        marker = os.path.join(os.path.dirname(self.small_files()), "marker")
        with open(marker, "w", encoding="ascii") as f:
            f.write("rubbish")
        for _ in range(2):
            result = self.exported(status=1)
            self.assertEqual(len(result["problems"]), 1, result)
            self.assertIn("the marker is", result["problems"][0])
            self.assertEqual(self.good_files(), 200)
            shutil.rmtree(self.dest)
            if os.path.exists(marker):
                os.remove(marker)
        self.assertFalse(os.path.exists(marker))

    # A destination that is full is told once, with what there is to do, not for each file.
    @unittest.skipUnless(os.geteuid() == 0, "a small file system can only be mounted by root")
    def test_full_destination(self):
        node, client = self.zone()
        for i in range(40):
            client.write(client.create(client.root, "f%d" % i), 0, b"x" * 60000)
        node.stop()
        small = os.path.join(self.tmp, "small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", small], check=True)
        done = subprocess.run(
            [program("cli", "gvraft"), "export", "--offline", self.dataset,
             os.path.join(small, "out")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("give a folder with more room", done.stdout)
        self.assertEqual(done.stdout.count("No space left on device"), 2, done.stdout)

    # What is refused: a dataset in use, a folder that is none, a destination with something
    # in it or in the dataset, and words that are wrong.
    def test_refused(self):
        node, client = self.zone()
        client.create(client.root, "f")
        self.assertIn("in use", run_export(self.dataset, self.dest)["error"])
        node.stop()
        self.assertIn("marker", run_export(self.tmp, self.dest)["error"])
        self.assertFalse(os.path.exists(self.dest))
        os.makedirs(self.at("x"))
        self.assertIn("something in it", run_export(self.dataset, self.dest)["error"])
        os.rmdir(self.at("x"))
        inside = os.path.join(self.dataset, "out")
        self.assertIn("give a folder elsewhere", run_export(self.dataset, inside)["error"])
        self.assertFalse(os.path.exists(inside))
        self.exported()
        self.assertEqual(os.listdir(self.dest), ["f"])
        done = subprocess.run([program("cli", "gvraft"), "export", self.dataset, self.dest],
                              stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 2)
