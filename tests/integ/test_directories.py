"""Large directories, listed while they change; files that are unlinked elsewhere."""

import itertools
import threading

import grapevine
import nfs3

ENTRIES = 100_000


class Churn:
    """A thread that creates, renames and removes names of its own in a directory, many at
    a time, until it is stopped."""

    BATCH = 100

    def __init__(self, client, folder):
        self.client = client
        self.folder = folder
        self.rounds = 0
        self.error = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def round(self, i):
        names = ["come-%d-%d" % (i, n) for n in range(self.BATCH)]
        self.client.create_many(self.folder, names)
        moved = [name.replace("come", "move") for name in names[::2]]
        self.client.rename_many(self.folder, zip(names[::2], moved))
        self.client.remove_many(self.folder, moved)
        # What stays is renamed over the round before, and removed every third time.
        if i > 0:
            last = ["come-%d-%d" % (i - 1, n) for n in range(1, self.BATCH, 2)]
            self.client.rename_many(self.folder, zip(last, names[1::2]))

    def run(self):
        try:
            while not self.stopping.is_set():
                self.round(self.rounds)
                self.rounds += 1
        except Exception as e:  # Whatever it is, the test tells it.
            self.error = e

    def stop(self):
        self.stopping.set()
        self.thread.join(2 * nfs3.CALL_SECONDS_MAX)
        assert not self.thread.is_alive(), "the changes hang"
        assert self.error is None, repr(self.error)


class Directories(grapevine.GrapevineTest):
    def listing(self, client, folder, size, plus, at_page=None):
        """A whole listing; @at_page(i) is called before page i."""
        found = []
        cookie, eof = 0, False
        for i in itertools.count():
            if at_page:
                at_page(i)
            entries, eof = client.page(folder, cookie, size, plus)
            for _, _, cookie_of in entries:
                self.assertGreater(cookie_of, cookie)
                cookie = cookie_of
            found += [name for name, _, _ in entries]
            if eof:
                return found

    def check(self, found):
        """Every name that was there all the time, once; no other one twice."""
        self.assertEqual(found[:2], [".", ".."])
        stayed = [name for name in found if name.startswith("stay-")]
        self.assertEqual(len(stayed), len(set(stayed)), "a name twice")
        self.assertEqual(len(stayed), ENTRIES, "names are missing")
        others = [name for name in found if not name.startswith("stay-")]
        self.assertEqual(len(others), len(set(others)), "a name twice")

    # A hundred thousand names, listed through one node while others come and go through
    # another: each once. In the middle of one listing the node restarts, and another node
    # goes on with its cookie: cookies are good for ever and everywhere.
    def test_listed_while_it_changes(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2], quota="4GiB")
        leader = gv.leader("tier-1")
        far, other = [node for node in gv.nodes if node is not leader]
        maker = nfs3.Client([(leader.host, leader.nfs_port)], "tier-1")
        folder = maker.mkdir(maker.root, "many")
        maker.create_many(folder, ("stay-%06d" % i for i in range(ENTRIES)))
        lister = nfs3.Client([(far.host, far.nfs_port)], "tier-1")
        churn = Churn(maker, folder)
        rounds = churn.rounds
        self.check(self.listing(lister, folder, 1 << 16, True))

        def restart_and_move(page):
            if page == 30:
                self.assertEqual(far.stop(), 0)
                far.start()
            elif page == 60:
                lister.close()
                lister.server = (other.host, other.nfs_port)
        self.check(self.listing(lister, folder, 1 << 15, False, restart_and_move))
        churn.stop()
        self.assertGreater(churn.rounds, rounds + 3)

    # The end is told although what was there before it went after the page before.
    def test_end_of_what_was_removed(self):
        gv = self.grapevine(1)
        gv.make_zone("tier-1", [0])
        client = gv.client("tier-1", 0)
        names = ["f%03d" % i for i in range(200)]
        client.create_many(client.root, names)
        entries, eof = client.page(client.root, 0, 4096)
        self.assertFalse(eof)
        listed = {name for name, _, _ in entries}
        client.remove_many(client.root, [name for name in names if name not in listed])
        self.assertEqual(client.page(client.root, entries[-1][2], 4096), ([], True))
        client.remove_many(client.root, [name for name in names if name in listed])
        self.assertEqual(client.page(client.root, entries[-1][2], 4096), ([], True))
        with self.assertRaises(nfs3.NfsError) as caught:
            client.page(client.root, 0, 16)
        self.assertEqual(caught.exception.status, nfs3.TOOSMALL)
        with self.assertRaises(nfs3.NfsError) as caught:
            client.page(client.root, 2**64 - 1, 4096)
        self.assertEqual(caught.exception.status, nfs3.BAD_COOKIE)

    # What one client removes another one goes on reading and writing through its handle,
    # through any node, over a restart of all of them, and it counts as used meanwhile.
    def test_unlinked_elsewhere_stays(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        here, there = gv.client("tier-1", 0), gv.client("tier-1", 1)
        data = bytes(range(256)) * 4096
        fh = here.create(here.root, "file")
        here.write(fh, 0, data)
        there.remove(there.root, "file")
        self.assertEqual(here.read_all(fh), data)
        self.assertEqual(here.getattr(fh)["nlink"], 0)
        here.write(fh, len(data), b"more")
        for node in gv.nodes:
            node.kill()
        for node in gv.nodes:
            node.start()
        gv.wait_settled("tier-1", 3)
        for i in range(3):
            self.assertEqual(gv.client("tier-1", i).read_all(fh), data + b"more")
        self.assertGreaterEqual(int(gv[0].zone("tier-1")["used_bytes"]), len(data))
        self.assertEqual(there.names(there.root), [])
