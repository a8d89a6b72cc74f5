"""gvraft against a daemon that is not one: what it sends, what it prints, its exit status,
and what it does with answers that nobody should send."""

import json
import os
import pty
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

from grapevine import program


class FakeDaemon:
    """Answers each connection with the next of @replies: bytes as they are, anything else
    as one JSON line, None for nothing. Keeps the requests."""

    def __init__(self, path, replies):
        self.requests = []
        self.replies = list(replies)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.replies:
            connection, _ = self.listener.accept()
            with connection:
                line = connection.makefile("rb").readline()
                self.requests.append(json.loads(line))
                reply = self.replies.pop(0)
                if reply is None:
                    continue
                if not isinstance(reply, bytes):
                    reply = json.dumps(reply).encode() + b"\n"
                try:
                    connection.sendall(reply)
                except OSError:
                    pass  # It has seen enough.

    def close(self):
        self.listener.close()


def ok(result=None, **more):
    return {"ok": True, "result": result or {}, **more}


MEMBER = {"node": "chimay-bleue", "pool": "tank", "role": "voter", "state": "online",
          "up": True, "commit_index": "812", "applied_index": "812", "match_index": "812",
          "lag": "0", "disk_bytes": "1572864", "journal_bytes": "1048576"}
ZONE = {"slug": "tier-1", "display": "Tier 1", "id": "00", "state": "online", "reason": "",
        "quota_bytes": "8589934592", "used_bytes": "1288490188", "inodes": "14",
        "leader": "chimay-bleue", "term": "3", "commit_index": "812",
        "members": [MEMBER,
                    {**MEMBER, "node": "hertog-jan", "applied_index": "800", "lag": "12"},
                    {**MEMBER, "node": "cara-pils", "up": False, "lag": "700"}]}
STATUS = {"version": 1, "node": "chimay-bleue", "grapevine": "3f0c",
          "nfs": "127.0.0.1:12049",
          "nodes": [{"name": "chimay-bleue", "number": 1, "host": "127.0.0.1",
                     "port": 2646, "up": True, "rtt_us": 0, "self": True},
                    {"name": "hertog-jan", "number": 2, "host": "::1", "port": 2646,
                     "up": True, "rtt_us": 1234, "self": False}],
          "zones": [ZONE]}


class Cli(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gv-cli-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.socket = os.path.join(folder.name, "s")

    def daemon(self, *replies):
        daemon = FakeDaemon(self.socket, replies)
        self.addCleanup(daemon.close)
        return daemon

    def run_gvraft(self, *args, stdin="", env=None):
        return subprocess.run([program("cli", "gvraft"), *args], input=stdin, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100,
                              env={**os.environ, "GV_SOCKET": self.socket, **(env or {})})

    def fails(self, done, status, *texts):
        """One line on standard error, holding @texts; nothing on standard output."""
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertEqual(done.stdout, "")
        for text in texts:
            self.assertIn(text, done.stderr)

    # Whatever is wrong with the words is said without asking the daemon, with status 2.
    def test_usage_errors(self):
        for words, text in [
                (["statsu"], "unknown command 'statsu'"),
                (["zone"], "zone create"),
                (["zone", "mend"], "zone create"),
                (["status", "now"], "usage: gvraft status"),
                (["zone", "show"], "usage: gvraft zone show ZONE"),
                (["zone", "show", "a", "--deep"], "unknown option '--deep'"),
                (["zone", "show", "a", "-x"], "unknown option '-x'"),
                (["zone", "create", "a"], "needs --quota"),
                (["zone", "create", "a", "--quota", "1G"], "--member"),
                (["zone", "create", "a", "--quota"], "needs a value"),
                (["zone", "create", "a", "--quota", "1", "--quota", "2"], "twice"),
                (["zone", "create", "a", "--quota=1", "--member=b", "--mode=9"], "octal"),
                (["zone", "create", "a", "--quota=1", "--member=b", "--owner=1"], "UID:GID"),
                (["zone", "delete", "a"], "--yes"),
                (["zone", "delete", "a", "--yes=no"], "takes no value"),
                (["invite", "--expires", "soon"], "30m"),
                (["invite", "--expires", "0s"], "30m"),
                (["invite", "--expires", "99999999999999999999d"], "30m"),
                (["join", "-"], "gvraft invite"),
                (["scrub", "a", "--wait", "--stop"], "one of"),
                (["--sockt", "x"], "unknown option '--sockt'"),
                (["--socket"], "needs a value"),
                (["help", "nothing"], "unknown command")]:
            with self.subTest(words=words):
                self.fails(self.run_gvraft(*words), 2, text)

    # Without a command there is the whole help, and it is a usage error.
    def test_no_command(self):
        done = self.run_gvraft()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("transfer-leader", done.stderr)

    # Help is asked for, so it goes to standard output and is no error.
    def test_help(self):
        for words in (["help"], ["--help"], ["-h"]):
            done = self.run_gvraft(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("zone add-member", done.stdout)
        for words in (["help", "zone", "create"], ["zone", "create", "--help"]):
            done = self.run_gvraft(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("--quota SIZE", done.stdout)

    # Help is for terminals of 80 columns.
    def test_help_is_narrow(self):
        summary = self.run_gvraft("help").stdout
        names = [" ".join(line[2:22].split()) for line in summary.splitlines()[2:]
                 if line.startswith("  ") and line[2:3].isalpha() and line[21:22] == " "]
        self.assertGreater(len(names), 20)
        for name in names:
            for line in self.run_gvraft("help", *name.split()).stdout.splitlines():
                self.assertLess(len(line), 80, name)

    # Both programs say their version, the same, and nothing else.
    def test_version(self):
        gvraft = self.run_gvraft("--version")
        daemon = subprocess.run([program("daemon", "grapevined"), "--version"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                timeout=100)
        for done, name in ((gvraft, "gvraft"), (daemon, "grapevined")):
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertRegex(done.stdout, r"^%s \d+\.\d+\.\d+\n$" % name)
        self.assertEqual(gvraft.stdout.split()[1], daemon.stdout.split()[1])

    # The most frequent failure of all says what to look at.
    def test_no_daemon(self):
        self.fails(self.run_gvraft("status"), 1, self.socket, "is grapevined running?")

    # A socket file whose daemon is dead is no different.
    def test_dead_daemon(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.socket)
        self.fails(self.run_gvraft("status"), 1, "is grapevined running?")

    # A path that no socket can have is said to be too long, not cut.
    def test_long_socket_path(self):
        self.fails(self.run_gvraft("--socket", "/" + "x" * 200, "status"), 1, "longer than")

    # --socket wins over GV_SOCKET, before the command and behind it.
    def test_socket_option(self):
        daemon = self.daemon(ok({"nodes": []}), ok({"nodes": []}))
        other = {"GV_SOCKET": "/nonexistent"}
        for words in (["--socket", self.socket, "node", "list"],
                      ["node", "list", "--socket=" + self.socket]):
            self.assertEqual(self.run_gvraft(*words, env=other).returncode, 0)
        self.assertEqual([r["command"] for r in daemon.requests], ["node-list"] * 2)

    # What the daemon refuses is told in its words, with status 1.
    def test_refusal(self):
        self.daemon({"ok": False, "error": "there is no zone 'x': see gvraft zone list"})
        self.fails(self.run_gvraft("zone", "show", "x"), 1,
                   "gvraft: there is no zone 'x': see gvraft zone list")

    # No answer that the protocol does not know is taken for one.
    def test_malformed_answers(self):
        for reply in (b"\n", b"{}\n", b"[]\n", b"null\n", b'{"ok":true}\n',
                      b'{"ok":true,"result":[]}\n', b'{"ok":1,"result":{}}\n',
                      b'{"ok":false}\n', b'{"ok":false,"error":7}\n',
                      b'{"ok":true,"result":{},"warnings":"x"}\n',
                      b'{"ok":true,"result":{},"warnings":[1]}\n',
                      b'{"ok":true,"result":{}}\nmore', b"\0\n", b"[" * 100000 + b"\n",
                      b'{"ok":true,"result":{}\n', b"\xff\xfe\n"):
            with self.subTest(reply=reply[:60]):
                daemon = self.daemon(reply)
                self.fails(self.run_gvraft("status"), 1, "not what grapevined sends")
                daemon.close()
                os.unlink(self.socket)

    # At a terminal a wait is told, once; the answer is then printed as ever.
    def test_wait_is_told(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.socket)
            listener.listen(1)
            ours, theirs = pty.openpty()
            with subprocess.Popen([program("cli", "gvraft"), "init"], text=True, stderr=theirs,
                                  stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  env={**os.environ, "GV_SOCKET": self.socket}) as process:
                os.close(theirs)
                connection, _ = listener.accept()
                with connection, os.fdopen(ours, "rb", buffering=0) as terminal:
                    told = b""
                    while b"\n" not in told:
                        told += terminal.read(1000)
                    self.assertIn(b"waiting for grapevined", told)
                    connection.sendall(json.dumps(ok({"node": "orval"})).encode() + b"\n")
                    self.assertIn("first: orval", process.stdout.read())
                    self.assertEqual(process.wait(), 0)

    # A connection closed too early is an answer of its own.
    def test_no_answer(self):
        for reply in (None, b'{"ok":true'):
            daemon = self.daemon(reply)
            self.fails(self.run_gvraft("status"), 1, "without an answer")
            daemon.close()
            os.unlink(self.socket)

    # A daemon gone mad does not fill this machine's memory.
    def test_endless_answer(self):
        self.daemon(b"x" * (17 << 20))
        self.fails(self.run_gvraft("status"), 1, "too long")

    # Control characters from the daemon do not reach the terminal.
    def test_terminal_is_safe(self):
        self.daemon({"ok": False, "error": "a\x1b[31mb\nc"})
        self.fails(self.run_gvraft("status"), 1, "a?[31mb?c")

    # The whole of a status is there to read.
    def test_status(self):
        self.daemon(ok(STATUS))
        done = self.run_gvraft("status")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, """\
node chimay-bleue in grapevine 3f0c, NFS on 127.0.0.1:12049

NODE          NUMBER  ADDRESS         STATE         RTT
chimay-bleue       1  127.0.0.1:2646  this node       -
hertog-jan         2  [::1]:2646      up         1.2 ms

tier-1 "Tier 1": online, leader chimay-bleue, term 3, commit index 812
  1.2 GiB of 8.0 GiB (15 %) used, 14 inodes
  MEMBER        POOL  ROLE    STATE        COMMIT  APPLIED  LAG  ON DISK  JOURNAL
  chimay-bleue  tank  leader  online          812      812    0  1.5 MiB  1.0 MiB
  hertog-jan    tank  voter   online          812      800   12  1.5 MiB  1.0 MiB
  cara-pils     tank  voter   unreachable       -        -  700        -        -
""")

    # --json prints the daemon's result and nothing else.
    def test_status_json(self):
        self.daemon(ok(STATUS), ok(STATUS))
        for words in (["--json", "status"], ["status", "--json"]):
            done = self.run_gvraft(*words)
            self.assertEqual(json.loads(done.stdout), STATUS)

    # A node that belongs nowhere says how that is changed.
    def test_status_uninitialised(self):
        self.daemon(ok({"version": 1, "node": "orval", "uninitialised": True}))
        done = self.run_gvraft("status")
        self.assertEqual(done.returncode, 0)
        self.assertIn("gvraft init", done.stdout)

    # What nobody who answers knows is not shown as none: "0 B used" of a zone out of reach.
    def test_status_unknown(self):
        away = {**MEMBER, "role": "unknown", "up": False, "lag": "0"}
        zone = {**ZONE, "state": "remote", "leader": "", "term": "0", "commit_index": "0",
                "used_bytes": "0", "inodes": "0", "members": [away]}
        self.daemon(ok({**STATUS, "zones": [zone]}), ok({"zones": [zone]}))
        self.assertIn("""
tier-1 "Tier 1": remote, no leader, so nobody knows how far it is
  ? of 8.0 GiB used
  MEMBER        POOL  ROLE     STATE        COMMIT  APPLIED  LAG  ON DISK  JOURNAL
  chimay-bleue  tank  unknown  unreachable       -        -    -        -        -
""", self.run_gvraft("status").stdout)
        self.assertIn(" remote  -          -       -        1  ? of 8.0 GiB\n",
                      self.run_gvraft("zone", "list").stdout)

    # Fields of the wrong kind show as nothing, and never crash.
    def test_status_of_wrong_kinds(self):
        for status in ({"nodes": 7, "zones": "x"}, {"nodes": [1, None], "zones": [[], {}]},
                       {"nodes": [{"host": 1, "port": "x", "rtt_us": -1e300}],
                        "zones": [{"members": [{}, 5, {"lag": {}}], "term": 1e300}]}):
            with self.subTest(status=status):
                daemon = self.daemon(ok(status))
                self.assertEqual(self.run_gvraft("status").returncode, 0)
                daemon.close()
                os.unlink(self.socket)

    # zone list has a line for each, aligned also where names are not ASCII.
    def test_zone_list(self):
        self.daemon(ok({"zones": [ZONE, {**ZONE, "slug": "b", "display": "Brûlée",
                                         "leader": ""}]}))
        done = self.run_gvraft("zone", "list")
        self.assertEqual(done.stdout, """\
ZONE    NAME    STATE   LEADER        TERM  COMMIT  MEMBERS                       USED
tier-1  Tier 1  online  chimay-bleue     3     812        3  1.2 GiB of 8.0 GiB (15 %)
b       Brûlée  online  -                3     812        3  1.2 GiB of 8.0 GiB (15 %)
""")

    # Before a zone is made, what speaks against it is said; then it is made as asked.
    def test_zone_create(self):
        daemon = self.daemon(ok(warnings=["cara-pils has less room than that"]),
                             ok({"slug": "tier-1", "id": "00"}))
        done = self.run_gvraft("zone", "create", "--member", "a", "tier-1", "--quota",
                               "512 GB", "--member=b:nvme", "--display", "Tier 1",
                               "--owner", "5:6", "--mode", "0700")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, "gvraft: warning: cara-pils has less room than that\n")
        self.assertEqual(done.stdout, "tier-1: made\n")
        self.assertEqual(daemon.requests, [
            {"version": 1, "command": "zone-check",
             "args": {"quota": "512 GB", "members": ["a", "b:nvme"]}},
            {"version": 1, "command": "zone-create",
             "args": {"slug": "tier-1", "display": "Tier 1", "quota": "512 GB",
                      "members": ["a", "b:nvme"], "mode": "0700", "uid": 5, "gid": 6}}])

    # A check that fails ends it: nothing is made.
    def test_zone_create_refused(self):
        daemon = self.daemon({"ok": False, "error": "no such node"})
        done = self.run_gvraft("zone", "create", "a", "--quota", "1G", "--member", "b")
        self.fails(done, 1, "no such node")
        self.assertEqual(len(daemon.requests), 1)

    # Every command sends what control.md says.
    def test_requests(self):
        for words, stdin, sent in [
                (["init"], "", [("init", {})]),
                (["invite"], "", [("invite", {"ttl_s": 3600})]),
                (["invite", "--expires", "7d"], "", [("invite", {"ttl_s": 604800})]),
                (["join", "abc"], "", [("join", {"token": "abc"})]),
                (["join", "-"], "abc \n", [("join", {"token": "abc"})]),
                (["node", "remove", "b"], "", [("node-remove", {"node": "b"})]),
                (["node", "set-address", "b", "192.0.2.7:2646"], "",
                 [("node-set-address", {"node": "b", "address": "192.0.2.7:2646"})]),
                (["zone", "add-member", "z", "b:p"], "",
                 [("zone-check", {"slug": "z", "members": ["b:p"]}),
                  ("zone-add-member", {"slug": "z", "member": "b:p"})]),
                (["zone", "remove-member", "z", "b"], "",
                 [("zone-remove-member", {"slug": "z", "node": "b"})]),
                (["zone", "set-quota", "z", "2 TB"], "",
                 [("zone-check", {"slug": "z", "quota": "2 TB", "members": []}),
                  ("zone-set-quota", {"slug": "z", "quota": "2 TB"})]),
                (["zone", "delete", "z", "--yes"], "", [("zone-delete", {"slug": "z"})]),
                (["zone", "show", "--", "--z"], "", [("zone-show", {"slug": "--z"})]),
                (["scrub", "z"], "", [("scrub", {"slug": "z", "action": "start"})]),
                (["scrub", "z", "--stop"], "", [("scrub", {"slug": "z", "action": "stop"})]),
                (["scrub", "z", "--status"], "", [("zone-show", {"slug": "z"})]),
                (["scrub", "z", "--wait"], "",
                 [("scrub", {"slug": "z", "action": "start"}), ("zone-show", {"slug": "z"})]),
                (["transfer-leader", "z"], "", [("transfer-leader", {"slug": "z"})]),
                (["transfer-leader", "z", "b"], "",
                 [("transfer-leader", {"slug": "z", "node": "b"})])]:
            with self.subTest(words=words):
                daemon = self.daemon(*[ok()] * len(sent))
                done = self.run_gvraft(*words, stdin=stdin)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual([(r["command"], r["args"]) for r in daemon.requests], sent)
                daemon.close()
                os.unlink(self.socket)

    # What a scrub found and nobody mended is said, and is a failure.
    def test_scrub_status(self):
        whole = {"phase": "idle", "begun": "1", "ended": "2", "bytes": "4096", "bad": "2",
                 "healed": "2", "unhealed": "0", "verdict": "equal", "differs_from": ""}
        bad = {**whole, "unhealed": "1", "unhealed_blocks": [{"inode": "77", "block": "3"}]}
        differs = {**whole, "verdict": "differs", "differs_from": "b"}
        for scrubs, status, text in [
                ([whole, whole], 0, "equal"),
                ([whole, bad], 1, "m1: no good copy of inode 77, block 3"),
                ([differs, whole], 1, "DIFFERS FROM b"),
                ([whole, None], 0, "unknown"),
                ([whole, {**whole, "phase": "reading"}], 0, "of about 1.0 MiB")]:
            with self.subTest(text=text):
                members = [{"node": "m%d" % i, **({"scrub": s} if s else {})}
                           for i, s in enumerate(scrubs)]
                daemon = self.daemon(ok({"slug": "z", "used_bytes": str(1 << 20),
                                         "members": members}))
                done = self.run_gvraft("scrub", "z", "--status")
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(text, done.stdout)
                self.assertEqual("not whole" in done.stderr, status == 1)
                daemon.close()
                os.unlink(self.socket)

    # Who waits for a scrub hears of members that took no part, by an exit status of its own;
    # and what becomes of the scrub if the daemon goes away.
    def test_scrub_wait(self):
        whole = {"phase": "idle", "begun": "1", "ended": "2", "bytes": "4096", "bad": "0",
                 "healed": "0", "unhealed": "0", "verdict": "equal", "differs_from": ""}
        busy = {**whole, "phase": "reading"}
        for began, scrubs, status, text in [
                (2, [whole, whole], 0, ""),
                (1, [whole, whole], 3, "not all members took part"),
                (2, [whole, None], 3, "not all members took part"),
                (1, [whole, {**whole, "unhealed": "1"}], 1, "not whole"),
                (2, [busy, busy], 1, "goes on without this command")]:
            with self.subTest(began=began, scrubs=scrubs):
                members = [{"node": "m%d" % i, **({"scrub": s} if s else {})}
                           for i, s in enumerate(scrubs)]
                daemon = self.daemon(ok({"members": str(began)}),
                                     ok({"slug": "z", "used_bytes": "8192", "members": members}),
                                     *[{"ok": False, "error": "this node stops"}]
                                     * (busy in scrubs))
                done = self.run_gvraft("scrub", "z", "--wait")
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(text, done.stderr)
                daemon.close()
                os.unlink(self.socket)

    # mount says what it would do; the port is the daemon's own.
    def test_mount_print(self):
        for nfs, options, source in [
                ("127.0.0.1:12049", "tcp,port=12049,mountport=12049", "127.0.0.1:/tier-1"),
                ("0.0.0.0:2049", "tcp,port=2049,mountport=2049", "127.0.0.1:/tier-1"),
                ("[::]:2049", "tcp,port=2049,mountport=2049", "127.0.0.1:/tier-1"),
                ("[2001:db8::7]:2049", "proto=tcp6,port=2049,mountport=2049",
                 "'[2001:db8::7]:/tier-1'")]:
            for folder, word in [("/mnt", "/mnt"), ("/no/such folder", "'/no/such folder'"),
                                 ("it's", "'it'\\''s'"), ("$(x)", "'$(x)'"), ("", "''")]:
                with self.subTest(nfs=nfs, folder=folder):
                    daemon = self.daemon(ok(ZONE), ok({**STATUS, "nfs": nfs}))
                    done = self.run_gvraft("mount", "tier-1", folder, "--print")
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertEqual(done.stdout, "mount -t nfs -o vers=3,%s,nolock,hard "
                                                  "%s %s\n" % (options, source, word))
                    daemon.close()
                    os.unlink(self.socket)

    # A zone that there is not is told in the daemon's words, also when only printing.
    def test_mount_unknown_zone(self):
        self.daemon({"ok": False, "error": "there is no zone 'x': see gvraft zone list"})
        self.fails(self.run_gvraft("mount", "x", "/mnt", "--print"), 1, "no zone 'x'")

    # An address that the daemon does not know, or that is none, mounts nothing.
    def test_mount_without_address(self):
        for nfs in "", "x", ":2049", "127.0.0.1:", "127.0.0.1:2049,suid", "[::1]", "1" * 200:
            with self.subTest(nfs=nfs):
                daemon = self.daemon(ok(ZONE), ok({**STATUS, "nfs": nfs}))
                self.fails(self.run_gvraft("mount", "x", "/mnt", "--print"), 1, "serves NFS")
                daemon.close()
                os.unlink(self.socket)

    # Only root mounts: said before anything is asked or done.
    def test_mount_needs_root(self):
        if os.geteuid() == 0:
            shutil.copy(program("cli", "gvraft"), self.folder)
            os.chmod(self.folder, 0o755)
            command, user = [os.path.join(self.folder, "gvraft")], 65534
        else:
            command, user = [program("cli", "gvraft")], None
        done = subprocess.run(command + ["mount", "tier-1", "/mnt"], text=True, user=user,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100)
        self.fails(done, 1, "only root", "--print")

    # What is wrong with the folder is said, before the kernel says less.
    def test_mount_bad_folder(self):
        if os.geteuid() != 0 or not (os.path.exists("/sbin/mount.nfs")
                                     or os.path.exists("/usr/sbin/mount.nfs")):
            self.skipTest("it needs root, and mount.nfs")
        absent = os.path.join(self.folder, "absent")
        file = os.path.join(self.folder, "file")
        link = os.path.join(self.folder, "proc")
        with open(file, "w", encoding="ascii"):
            pass
        os.symlink("/proc", link)
        for folder, text in [(absent, "there is no folder " + absent),
                             (file, "is no folder"), (file + "/x", "Not a directory"),
                             ("/proc", "/proc is mounted already, with "),
                             (link, "/proc is mounted already, with "), ("", "folder")]:
            with self.subTest(folder=folder):
                self.fails(self.run_gvraft("mount", "tier-1", folder), 1, text)

    # An answer that could not be written is not success.
    def test_full_output(self):
        self.daemon(ok(STATUS))
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([program("cli", "gvraft"), "status"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=100,
                                  env={**os.environ, "GV_SOCKET": self.socket})
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write", done.stderr)
