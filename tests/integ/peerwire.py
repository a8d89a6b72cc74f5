"""The node-to-node protocol from the outside: what a stranger, or a node that has gone
bad, can say to a daemon. docs/formats/peer.md has the formats.
"""

import json
import os
import select
import socket
import ssl
import struct
import threading
import time

import grapevine

HELLO, PING, PONG, DATA, JOIN, JOIN_ANSWER, REFUSAL = range(1, 8)
REFUSED_VERSION, REFUSED_LATER, REFUSED_TWIN = range(1, 4)
CONTROL, LOG, BULK = range(3)
FRAME_OP, FRAME_ANSWER, FRAME_PULL, FRAME_PULL_ANSWER, FRAME_ASK, FRAME_ASK_ANSWER = range(2, 8)
HELLO_FORMAT = "<H16sQQQQBQ"
OP_KV = 75
KV_ANY = 2 ** 64 - 1


def frame(kind, head=b"", body=b"", of_type=0):
    return struct.pack("<BBBBII", 1, kind, of_type, 0, len(head), len(body)) + head + body


def blob(data):
    return struct.pack("<I", len(data)) + data


class Connection:
    """TLS to a node's peer port with the key in @pem; whose it is decides the node."""

    def __init__(self, node, pem):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(pem)
        raw = socket.create_connection((node.host, node.peer_port),
                                       timeout=grapevine.WAIT_SECONDS_MAX)
        self.socket = context.wrap_socket(raw)
        self.lock = threading.Lock()

    def send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def some(self, n):
        """Python's TLS sockets serve one thread at a time: it is waited for outside."""
        if not self.socket.pending():
            select.select([self.socket], [], [])
        with self.lock:
            return self.socket.recv(n)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.some(n - len(data))
            if not piece:
                raise ConnectionError("closed by the other side")
            data += piece
        return data

    def receive(self):
        """The next frame: kind, type, head, body."""
        _, kind, of_type, _, head_len, body_len = struct.unpack("<BBBBII", self.exactly(12))
        return kind, of_type, self.exactly(head_len), self.exactly(body_len)

    def closed(self):
        """Read until the other side closes; True once it has."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    def close(self):
        self.socket.close()


def join(node, pem, text):
    """One join request, its body as it is: the answer."""
    connection = Connection(node, pem)
    try:
        connection.send(frame(JOIN, body=text.encode()))
        return json.loads(connection.receive()[3])
    finally:
        connection.close()


def join_text(invitation, name, port, host="127.0.0.1", more=""):
    """The body of a join request by @invitation, the line that gvraft invite prints."""
    data = bytes.fromhex(invitation)
    # Version, grapevine, inviter's number, its key, port; then the host, counted.
    at = 1 + 16 + 8 + 32 + 2
    at += 4 + struct.unpack_from("<I", data, at)[0]
    return '{%s"token":"%s","secret":"%s","name":"%s","host":"%s","port":%d}' % (
        more, data[at:at + 8].hex(), data[at + 8:at + 24].hex(), name, host, port)


def pem_of(node):
    return os.path.join(node.dir, "state", "node.pem")


class BadNode:
    """Speaks to the nodes @to, {number: node}, as the node @of that was killed. It dials,
    so its number must be the lowest."""

    def __init__(self, of, to):
        state = grapevine.state_json(of, "node.json")
        self.grapevine_id = bytes.fromhex(state["grapevine"])
        self.number = int(state["number"])
        self.boot = int(state["boot"]) + time.monotonic_ns()
        self.seq = 0
        self.frames = []  # (from, type, head, body) of all data frames.
        self.connections = {}
        for number, node in to.items():
            for channel in (CONTROL, LOG, BULK):
                self.dial(node, pem_of(of), number, channel)

    def hello(self, node, pem, number, channel, version=1):
        """Say hello: the connection, and the kind and body of the answer."""
        connection = Connection(node, pem)
        connection.send(frame(HELLO, body=struct.pack(
            HELLO_FORMAT, version, self.grapevine_id, self.number, number, self.boot,
            time.monotonic_ns(), channel, 0)))
        kind, _, _, body = connection.receive()
        return connection, kind, body

    def dial(self, node, pem, number, channel):
        connection, kind, body = self.hello(node, pem, number, channel)
        while kind == REFUSAL and struct.unpack_from("<H", body)[0] == REFUSED_LATER:
            connection, kind, body = self.hello(node, pem, number, channel)
        assert kind == HELLO
        self.connections[number, channel] = connection
        threading.Thread(target=self.listen, args=(connection, number), daemon=True).start()

    def listen(self, connection, number):
        try:
            while True:
                kind, of_type, head, body = connection.receive()
                if kind == PING:
                    connection.send(frame(PONG, body=body))
                elif kind == DATA:
                    self.frames.append((number, of_type, head, body))
        except (OSError, ValueError):
            return

    def send(self, to, of_type, head, body=b""):
        """One data frame to (number, channel)."""
        self.connections[to].send(frame(DATA, head, body, of_type))

    def wait_frame(self, of_type, matches):
        """The head and body of the first data frame of the type that match."""
        def found():
            return [(h, b) for _, t, h, b in list(self.frames) if t == of_type
                    and matches(h, b)]
        return grapevine.wait(found, "a frame of type %d" % of_type)[0]

    def write_rows_at(self, number, rows):
        self.seq += 1
        op = struct.pack("<BBB", 1, OP_KV, len(rows))
        for key, value in rows:
            op += blob(key.encode()) + struct.pack("<QB", KV_ANY, value is None) + blob(
                (value or "").encode())
        entry = struct.pack("<BQQQQQ16s", 1, 0, self.number, self.boot, self.seq, self.seq,
                            bytes(16))
        self.send((number, LOG), FRAME_OP,
                  self.grapevine_id + struct.pack("<QB", self.seq, 0) + entry + op)
        head, _ = self.wait_frame(FRAME_ANSWER,
                                  lambda h, b: struct.unpack_from("<Q", h)[0] == self.seq)
        return struct.unpack_from("<I", head, 8)[0]

    def write_rows(self, rows):
        """Directory rows, {key: value}, whatever was there; None removes. Asks whoever
        leads the directory."""
        numbers = sorted({number for number, _ in self.connections})
        grapevine.wait(lambda: any(self.write_rows_at(n, list(rows.items())) == 0
                                   for n in numbers), "rows are written")

    def close(self):
        for connection in self.connections.values():
            connection.close()
