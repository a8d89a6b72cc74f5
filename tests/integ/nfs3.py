"""A small NFSv3 client over TCP, for what the tools of libnfs cannot do: see every
status, retransmit with the same xid, move to another server in the middle of a call.

RFC 5531 (ONC RPC), RFC 1813 (NFSv3, MOUNTv3). One call at a time, but for the methods
whose name ends in "_many".
"""

import itertools
import os
import random
import socket
import struct
import time

NFS_PROGRAM, MOUNT_PROGRAM = 100003, 100005

OK, PERM, NOENT, IO, ACCES, EXIST, ROFS, DQUOT, STALE = 0, 1, 2, 5, 13, 17, 30, 69, 70
NOT_SYNC, BAD_COOKIE, TOOSMALL, JUKEBOX = 10002, 10003, 10005, 10008
UNSTABLE, DATA_SYNC, FILE_SYNC = 0, 1, 2
UNCHECKED, GUARDED, EXCLUSIVE = 0, 1, 2

RECORD_BYTES_MAX = 8 << 20
CALL_SECONDS_MAX = 120
# So long a server may be silent before the call is sent again, over a new connection.
SILENCE_SECONDS_MAX = 30


class NfsError(Exception):
    def __init__(self, procedure, status):
        super().__init__("%s: NFS status %d" % (procedure, status))
        self.status = status


class Unanswered(Exception):
    """No server answered a call within CALL_SECONDS_MAX."""


def pack_u32(*values):
    return struct.pack(">%dI" % len(values), *values)


def pack_opaque(data):
    return pack_u32(len(data)) + data + b"\0" * (-len(data) % 4)


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("the reply ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def u64(self):
        return struct.unpack(">Q", self.take(8))[0]

    def opaque(self):
        n = self.u32()
        data = self.take(n)
        self.take(-n % 4)
        return data

    def fattr(self):
        kind, mode, nlink, uid, gid = (self.u32() for _ in range(5))
        size, used, _, fsid, fileid = (self.u64() for _ in range(5))
        times = [self.u64() for _ in range(3)]
        return {"type": kind, "mode": mode, "nlink": nlink, "uid": uid, "gid": gid,
                "size": size, "used": used, "fsid": fsid, "fileid": fileid,
                "atime": times[0], "mtime": times[1], "ctime": times[2]}

    def post_op_attr(self):
        return self.fattr() if self.u32() else None

    def wcc(self):
        if self.u32():
            self.take(24)
        self.post_op_attr()

    def post_op_fh(self):
        return self.opaque() if self.u32() else None


class Connection:
    """Record marking over one TCP connection."""

    def __init__(self, host, port, source):
        # Always from one address: servers know a client by it.
        self.sock = socket.create_connection((host, port), timeout=SILENCE_SECONDS_MAX,
                                             source_address=(source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        self.sock.close()

    def send(self, record):
        self.sock.sendall(pack_u32(0x80000000 | len(record)) + record)

    def receive_bytes(self, n):
        parts = []
        while n > 0:
            part = self.sock.recv(min(n, 1 << 20))
            if not part:
                raise ConnectionError("the server closed the connection")
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def receive(self):
        record = b""
        last = False
        while not last:
            mark = struct.unpack(">I", self.receive_bytes(4))[0]
            last = bool(mark & 0x80000000)
            if len(record) + (mark & 0x7FFFFFFF) > RECORD_BYTES_MAX:
                raise ValueError("a record of more than %d bytes" % RECORD_BYTES_MAX)
            record += self.receive_bytes(mark & 0x7FFFFFFF)
        return record


class Client:
    """One mounted zone, or the root folder if @zone is empty. @servers: (host, port)
    pairs; the first is used, the others when it goes away, in turn. @source: the client's
    address. @user: its uid and gid. Statistics: retransmissions, and the longest call."""

    def __init__(self, servers, zone, source="127.0.0.1", user=None, groups=()):
        self.source = source
        self.servers = itertools.cycle(servers)
        self.server = next(self.servers)
        self.connection = None
        self.xids = itertools.count(random.randrange(1 << 31))
        self.retransmissions = 0
        self.later = 0
        self.seconds_max = 0.0
        uid, gid = user or (os.getuid(), os.getgid())
        self.credential = pack_u32(0) + pack_opaque(b"integ") + pack_u32(
            uid, gid, len(groups), *groups)
        reply = self.call(MOUNT_PROGRAM, 1, pack_opaque(b"/" + zone.encode()))
        status = reply.u32()
        if status != OK:
            raise NfsError("MNT", status)
        self.root = reply.opaque()

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def exchange(self, message, xid):
        if self.connection is None:
            self.connection = Connection(*self.server, self.source)
        self.connection.send(message)
        while True:
            reply = Reader(self.connection.receive())
            if reply.u32() == xid:
                return reply

    def message(self, xid, procedure, args, program=NFS_PROGRAM):
        return (pack_u32(xid, 0, 2, program, 3, procedure, 1)
                + pack_opaque(self.credential) + pack_u32(0, 0) + args)

    def call(self, program, procedure, args):
        """The reply's results, behind its RPC header. Retransmits until answered."""
        xid = next(self.xids) & 0xFFFFFFFF
        message = self.message(xid, procedure, args, program)
        begin = time.monotonic()
        while True:
            try:
                reply = self.exchange(message, xid)
                break
            except OSError:
                self.close()
                if time.monotonic() > begin + CALL_SECONDS_MAX:
                    raise Unanswered("procedure %d of program %d" % (procedure, program))
                self.retransmissions += 1
                self.server = next(self.servers)
                time.sleep(0.05)
        self.seconds_max = max(self.seconds_max, time.monotonic() - begin)
        return self.accepted(reply)

    @staticmethod
    def accepted(reply):
        """Skips the RPC header behind the xid."""
        if (reply.u32(), reply.u32()) != (1, 0):
            raise ValueError("the call was denied")
        reply.u32()
        reply.opaque()
        accepted = reply.u32()
        if accepted != 0:
            raise ValueError("accept_stat %d" % accepted)
        return reply

    def nfs(self, name, procedure, args):
        """As above, behind the status, which must be OK. JUKEBOX is "ask again with a new
        xid" (RFC 1813 2.6), which a kernel does too: counted, bounded, no error."""
        end = time.monotonic() + CALL_SECONDS_MAX
        while True:
            reply = self.call(NFS_PROGRAM, procedure, args)
            status = reply.u32()
            if status != JUKEBOX or time.monotonic() > end:
                break
            self.later += 1
            time.sleep(0.1)
        if status != OK:
            raise NfsError(name, status)
        return reply

    def status(self, procedure, args):
        """The status alone."""
        return self.call(NFS_PROGRAM, procedure, args).u32()

    def exports(self):
        """MOUNT's EXPORT: path -> clients."""
        reply = self.call(MOUNT_PROGRAM, 5, b"")
        found = {}
        while reply.u32():
            path = reply.opaque().decode()
            found[path] = []
            while reply.u32():
                found[path].append(reply.opaque().decode())
        return found

    def mounts(self):
        """MOUNT's DUMP: (client, path) pairs."""
        reply = self.call(MOUNT_PROGRAM, 2, b"")
        found = []
        while reply.u32():
            found.append((reply.opaque().decode(), reply.opaque().decode()))
        return found

    def nfs_many(self, name, procedure, all_args, depth=48, replies=False):
        """One call for each of @all_args, @depth of them under way at a time, in no order;
        each must be OK. Nothing is retransmitted: the server must stay. With @replies
        {args: its reply, past the status}."""
        found = {}
        if self.connection is None:
            self.connection = Connection(*self.server)
        waiting = iter(all_args)
        under_way = {}
        while True:
            for args in itertools.islice(waiting, depth - len(under_way)):
                xid = next(self.xids) & 0xFFFFFFFF
                under_way[xid] = args
                self.connection.send(self.message(xid, procedure, args))
            if not under_way:
                return found
            reply = Reader(self.connection.receive())
            args = under_way.pop(reply.u32())
            status = self.accepted(reply).u32()
            if status == OK and replies:
                found[args] = reply
            if status == JUKEBOX:
                self.later += 1
                waiting = itertools.chain([args], waiting)
                time.sleep(0.01)
            elif status != OK:
                raise NfsError(name, status)

    def getattr(self, fh):
        return self.nfs("GETATTR", 1, pack_opaque(fh)).fattr()

    def lookup(self, directory, name):
        return self.nfs("LOOKUP", 3, pack_opaque(directory) + pack_opaque(name.encode())).opaque()

    def read(self, fh, offset, count):
        reply = self.nfs("READ", 6, pack_opaque(fh) + struct.pack(">QI", offset, count))
        reply.post_op_attr()
        reply.u32()
        eof = bool(reply.u32())
        return reply.opaque(), eof

    def read_all(self, fh):
        data = b""
        eof = False
        while not eof:
            part, eof = self.read(fh, len(data), 1 << 16)
            if not part and not eof:
                raise ValueError("READ gave nothing, and not the end")
            data += part
        return data

    def write_args(self, fh, offset, data, stable=FILE_SYNC):
        return pack_opaque(fh) + struct.pack(
            ">QII", offset, len(data), stable) + pack_opaque(data)

    def write(self, fh, offset, data, stable=FILE_SYNC):
        reply = self.nfs("WRITE", 7, self.write_args(fh, offset, data, stable))
        reply.wcc()
        n = reply.u32()
        if n != len(data):
            raise ValueError("WRITE took %d of %d bytes" % (n, len(data)))
        return reply.u32(), reply.take(8)

    @staticmethod
    def create_args(directory, name, how=GUARDED, mode=0o644):
        # sattr3: the mode, nothing else set.
        return (pack_opaque(directory) + pack_opaque(name.encode())
                + pack_u32(how, 1, mode, 0, 0, 0, 0, 0))

    def create(self, directory, name, how=GUARDED, mode=0o644):
        reply = self.nfs("CREATE", 8, self.create_args(directory, name, how, mode))
        return reply.post_op_fh() or self.lookup(directory, name)

    def create_many(self, directory, names):
        self.nfs_many("CREATE", 8, (self.create_args(directory, name) for name in names))

    def create_exclusive(self, directory, name, verifier):
        reply = self.nfs("CREATE", 8, pack_opaque(directory) + pack_opaque(name.encode())
                         + pack_u32(EXCLUSIVE) + verifier)
        return reply.post_op_fh() or self.lookup(directory, name)

    def chmod(self, fh, mode, guard=None):
        """@guard: the ctime, as fattr gives it, that the object must have."""
        self.nfs("SETATTR", 2, pack_opaque(fh) + pack_u32(1, mode, 0, 0, 0, 0, 0) + (
            pack_u32(0) if guard is None else struct.pack(">IQ", 1, guard)))

    def mkdir(self, directory, name):
        reply = self.nfs("MKDIR", 9, pack_opaque(directory) + pack_opaque(name.encode())
                         + pack_u32(1, 0o755, 0, 0, 0, 0, 0))
        return reply.post_op_fh() or self.lookup(directory, name)

    def remove(self, directory, name):
        self.nfs("REMOVE", 12, pack_opaque(directory) + pack_opaque(name.encode()))

    def remove_many(self, directory, names):
        self.nfs_many("REMOVE", 12, (pack_opaque(directory) + pack_opaque(name.encode())
                                     for name in names))

    @staticmethod
    def rename_args(directory, old, new):
        return (pack_opaque(directory) + pack_opaque(old.encode())
                + pack_opaque(directory) + pack_opaque(new.encode()))

    def rename(self, directory, old, new):
        self.nfs("RENAME", 14, self.rename_args(directory, old, new))

    def rename_many(self, directory, pairs):
        self.nfs_many("RENAME", 14, (self.rename_args(directory, *pair) for pair in pairs))

    def page(self, directory, cookie, size, plus=False):
        """One READDIR, or READDIRPLUS, behind @cookie: [(name, fileid, cookie)], eof. The
        reply is checked to be no longer than @size."""
        args = pack_opaque(directory) + struct.pack(">Q8s", cookie, b"\0" * 8)
        if plus:
            reply = self.nfs("READDIRPLUS", 17, args + pack_u32(size, size))
        else:
            reply = self.nfs("READDIR", 16, args + pack_u32(size))
        begin = reply.at
        reply.post_op_attr()
        reply.take(8)
        entries = []
        while reply.u32():
            fileid = reply.u64()
            name = reply.opaque().decode()
            entries.append((name, fileid, reply.u64()))
            if plus:
                attr = reply.post_op_attr()
                if attr and attr["fileid"] != fileid and name != "..":
                    raise ValueError("%s: another file's attributes" % name)
                reply.post_op_fh()
        eof = bool(reply.u32())
        if not entries and not eof:
            raise ValueError("a page without entries that is not the last")
        if reply.at - begin > size:
            raise ValueError("%d bytes where %d were asked for" % (reply.at - begin, size))
        return entries, eof

    def names(self, directory):
        """Names of a whole directory but . and .., in its order."""
        found = []
        cookie, eof = 0, False
        while not eof:
            entries, eof = self.page(directory, cookie, 1 << 15)
            cookie = entries[-1][2] if entries else cookie
            found += [name for name, _, _ in entries if name not in (".", "..")]
        return found
