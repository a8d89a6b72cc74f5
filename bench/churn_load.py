"""The load of bench/churn: processes that make, overwrite, extend, cut, rename, link and
remove files through every node, one acknowledged step after the other, and know what is
there and what it costs.

What a file holds is known by 4 KiB unit: a number says which bytes a unit has. What the
zone must say that all of it costs follows docs/formats/entry.md ("Quota").
"""

import os
import random
import signal
import struct
import time

import nfs3

UNIT = 4096
ROW = 512  # What an inode and a name cost.
SMALL_BYTES_MAX = 8192
POOL = os.urandom(1 << 20)
OPEN_SECONDS = 300  # For so long at most an unlinked file is read again: half its time.


def unit_bytes(tag):
    """The 4 KiB that @tag stands for; 0 is a hole."""
    if tag == 0:
        return bytes(UNIT)
    at = tag % (len(POOL) - UNIT)
    return tag.to_bytes(8, "little") + POOL[at:at + UNIT - 8]


def round_up(size):
    return -(-size // UNIT) * UNIT


class File:
    """What one file must hold. Either .small (its bytes), or .units: number -> tag."""

    def __init__(self, fh):
        self.fh = fh
        self.small = None
        self.units = {}
        self.size = 0
        self.used = 0

    def touched(self, offset, length):
        """Account for a write, as apply does."""
        self.size = max(self.size, offset + length)
        units = (offset + length - 1) // UNIT - offset // UNIT + 1
        self.used = min(self.used + units * UNIT, round_up(self.size))

    def cut(self, size):
        self.size = size
        self.used = min(self.used, round_up(size))
        self.units = {i: tag for i, tag in self.units.items() if i * UNIT < size}

    def expected(self, first, n):
        if self.small is not None:
            return self.small
        data = b"".join(unit_bytes(self.units.get(i, 0)) for i in range(first, first + n))
        return data[:max(0, self.size - first * UNIT)]


class Worker:
    """One process's files, below a folder of its own."""

    def __init__(self, servers, slug, number, live_bytes, pace):
        self.client = nfs3.Client(servers, slug)
        self.random = random.Random(number)
        self.name = "w%d" % number
        self.folder = self.client.mkdir(self.client.root, self.name)
        self.live_bytes = live_bytes
        self.pace = pace  # Steps a second.
        self.files = {}
        self.names = []  # Of self.files, to choose from.
        self.unlinked = []  # (until when, File)
        self.folders = 1
        self.n_names = 0
        self.next = 0
        self.steps = 0
        self.written = 0

    # What it costs.

    def used(self):
        """What the zone counts for what is there, without unlinked files."""
        return sum(f.used + 2 * ROW for f in self.files.values()) + 2 * ROW * self.folders

    def live(self):
        return sum(f.used for f in self.files.values())

    # Steps.

    def new_name(self):
        self.next += 1
        return "f%d" % self.next

    def add(self, name, file):
        self.files[name] = file
        self.names.append(name)

    def drop(self, name):
        self.names.remove(name)
        return self.files.pop(name)

    def pick(self):
        return self.random.choice(self.names) if self.names else None

    def write_units(self, file, first, n):
        for at in range(first, first + n, 256):
            count = min(256, first + n - at)
            tags = [self.random.getrandbits(63) | 1 for _ in range(count)]
            data = b"".join(unit_bytes(tag) for tag in tags)
            self.client.write(file.fh, at * UNIT, data, nfs3.UNSTABLE)
            file.units.update(zip(range(at, at + count), tags))
            file.touched(at * UNIT, count * UNIT)
            self.written += count * UNIT

    def create_small(self):
        name = self.new_name()
        file = File(self.client.create(self.folder, name))
        self.fill_small(file)
        self.add(name, file)

    def fill_small(self, file):
        file.small = self.random.randbytes(self.random.randrange(1, SMALL_BYTES_MAX))
        self.client.write(file.fh, 0, file.small)
        file.touched(0, len(file.small))
        self.written += len(file.small)

    def create(self, units):
        name = self.new_name()
        file = File(self.client.create(self.folder, name))
        self.write_units(file, 0, units)
        self.add(name, file)

    def create_middle(self):
        self.create(self.random.randrange(1, 64))

    def create_large(self):
        self.create(self.random.randrange(512, 2048))

    def create_sparse(self):
        name = self.new_name()
        file = File(self.client.create(self.folder, name))
        for _ in range(3):
            self.write_units(file, self.random.randrange(1 << 20), 2)
        self.add(name, file)

    def overwrite(self):
        name = self.pick()
        file = self.files.get(name)
        if file is None:
            return
        if file.small is not None:
            self.set_size(file, 0)
            self.fill_small(file)
            return
        n = self.random.randrange(1, 17)
        self.write_units(file, self.random.randrange(max(1, file.size // UNIT)), n)

    def append(self):
        file = self.files.get(self.pick())
        if file is not None and file.small is None:
            self.write_units(file, file.size // UNIT, self.random.randrange(1, 17))

    def set_size(self, file, size):
        self.client.nfs("SETATTR", 2, nfs3.pack_opaque(file.fh) + struct.pack(
            ">IIIIQIII", 0, 0, 0, 1, size, 0, 0, 0))
        file.cut(size)

    def truncate(self):
        file = self.files.get(self.pick())
        if file is not None and file.small is None:
            self.set_size(file, self.random.randrange(file.size // UNIT + 1) * UNIT)

    def rename(self):
        """To a new name, or over another file."""
        name = self.pick()
        if name is None:
            return
        to = self.pick() if self.random.random() < 0.3 else self.new_name()
        if to == name:
            return
        self.client.rename(self.folder, name, to)
        file = self.drop(name)
        if to in self.files:
            self.drop(to)
        self.add(to, file)

    def remove(self):
        name = self.pick()
        if name is None:
            return
        self.client.remove(self.folder, name)
        file = self.drop(name)
        if len(self.unlinked) < 64:
            self.unlinked.append((time.monotonic() + OPEN_SECONDS, file))

    def read_unlinked(self):
        """What was removed is still there for whoever has it open."""
        while self.unlinked and self.unlinked[0][0] < time.monotonic():
            self.unlinked.pop(0)
        if self.unlinked:
            self.check_some(self.random.choice(self.unlinked)[1])

    def check_some(self, file):
        first = self.random.randrange(max(1, file.size // UNIT)) if file.small is None else 0
        want = file.expected(first, 16)
        got = self.client.read(file.fh, first * UNIT, 16 * UNIT)[0] if file.size else b""
        if got != want:
            raise ValueError("%s: %d bytes read at %d are not those written" % (
                self.name, len(got), first * UNIT))

    def read(self):
        file = self.files.get(self.pick())
        if file is not None:
            self.check_some(file)

    def folder_of_many(self):
        """A build's folder: filled, emptied, removed."""
        name = self.new_name()
        folder = self.client.mkdir(self.folder, name)
        names = ["o%d" % i for i in range(300)]
        self.client.create_many(folder, names)
        self.client.remove_many(folder, names)
        self.client.nfs("RMDIR", 13, nfs3.pack_opaque(self.folder)
                        + nfs3.pack_opaque(name.encode()))
        self.steps += 600

    def step(self):
        grow = ((self.create_small, 20), (self.create_middle, 8), (self.create_large, 0.4),
                (self.create_sparse, 1))
        shrink = ((self.remove, 28), (self.truncate, 5))
        same = ((self.overwrite, 18), (self.append, 10), (self.rename, 8), (self.read, 12),
                (self.read_unlinked, 4), (self.folder_of_many, 0.1))
        live = self.live() if self.steps % 32 == 0 else self.last_live
        self.last_live = live
        over = live > self.live_bytes or len(self.names) > 4000
        weight = [(f, w * (0.5 if over else 1.2)) for f, w in grow]
        weight += [(f, w * (1.2 if over else 0.5)) for f, w in shrink] + list(same)
        run = self.random.choices([f for f, _ in weight], [w for _, w in weight])[0]
        run()
        self.steps += 1

    last_live = 0

    def turn(self, servers):
        """Go on through another node."""
        self.client.close()
        self.client.servers = nfs3.itertools.cycle(servers)
        self.client.server = next(self.client.servers)

    def check(self):
        """Everything is as it was acknowledged, and nothing else is there."""
        names = self.client.names(self.folder)
        if sorted(names) != sorted(self.files):
            raise ValueError("%s: %d names, %d expected" % (
                self.name, len(names), len(self.files)))
        for name, file in self.files.items():
            fh = self.client.lookup(self.folder, name)
            attr = self.client.getattr(fh)
            if (attr["size"], attr["used"]) != (file.size, file.used):
                raise ValueError("%s/%s: %s, expected size %d, used %d" % (
                    self.name, name, attr, file.size, file.used))
            first = 0
            while first * UNIT < file.size:
                if file.small is None and first not in file.units:
                    after = [i for i in file.units if i > first]
                    if not after:
                        break
                    first = min(after) if len(file.units) < 64 else first
                want = file.expected(first, 64)
                got = self.client.read(fh, first * UNIT, 64 * UNIT)[0]
                if got[:len(want)] != want[:len(got)] or len(got) != len(want):
                    raise ValueError("%s/%s differs at %d" % (self.name, name, first * UNIT))
                first += 64


def run_worker(number, servers, slug, options, shared, pipe):
    """A process: churns until shared["stop"], then waits for "check" or "end"."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        worker = Worker(servers, slug, number, options["live_bytes"], options["pace"])
        begin = time.monotonic()
        turned = begin
        while not shared["stop"].is_set():
            worker.step()
            if worker.steps % 16 == 0:
                shared["steps"][number] = worker.steps
                shared["live"][number] = worker.live()
                shared["written"][number] = worker.written
            if time.monotonic() > turned + 20:
                turned = time.monotonic()
                servers = servers[1:] + servers[:1]
                worker.turn(servers)
            ahead = begin + worker.steps / worker.pace - time.monotonic()
            if ahead > 0:
                time.sleep(min(ahead, 1))
            elif ahead < -5:
                begin -= ahead + 5  # What could not be done is not made up for.
        shared["steps"][number] = worker.steps
        shared["live"][number] = worker.live()
        shared["written"][number] = worker.written
        pipe.send(("used", worker.used(), worker.live(), len(worker.files)))
        if pipe.recv() == "check":
            worker.turn(servers[1:] + servers[:1])
            worker.check()
        pipe.send(("ok",))
    except Exception as e:  # Whatever it is, the run has failed, and says why.
        pipe.send(("failed", "%s: %r" % (number, e)))
