"""gvraft doctor: what it says of nodes to which something was done."""

import json
import os
import re
import shutil
import socket
import subprocess

import grapevine
from grapevine import program, wait

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def doctor(node, *args):
    done = node.gvraft("--json", "doctor", "--config", node.config, *args)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["healthy"] else 1), done.stderr
    return report


def found(node):
    return {f["id"]: f["what"] for f in doctor(node)["findings"]}


def wrong(node):
    """Errors and warnings, but for those about the disk that the tests happen to run on."""
    return {f["id"] for f in doctor(node)["findings"] if f["severity"] != "note"} - {
        "pool-low", "pool-slow", "disk-slow", "was-slow", "few-files"}


def crc32c(data):
    """The store's checksum, bit by bit."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class Doctor(grapevine.GrapevineTest):
    # A good grapevine has nothing wrong; then a node is stopped, and the others say which
    # zone lacks whom; the dead node says that it is dead.
    def test_a_node_stopped(self):
        gv = self.grapevine(3)
        gv.make_zone("tier-1", [0, 1, 2])
        wait(lambda: wrong(gv[0]) == set(), "nothing is wrong")
        self.assertIn("zone-one-machine", found(gv[0]))
        daemon = doctor(gv[0])["facts"]["daemon"]
        for peer in daemon["peers"]:
            self.assertEqual(peer["version"], daemon["self"]["version"])
            self.assertLess(abs(peer["clock_ahead_ms"]), 2000)  # It is the same clock.
        self.assertEqual({z["zone"] for z in daemon["zones"]}, {"tier-1", "(grapevine)"})
        self.assertGreater(max(z["sync_count"] for z in daemon["zones"]), 0)
        text = gv[0].gvraft("doctor").stdout  # The configuration is the daemon's own.
        self.assertIn("healthy", text.splitlines()[-1])
        self.assertEqual(gv[2].stop(), 0)
        wait(lambda: wrong(gv[0]) == {"member-missing", "peer-down", "zone-no-spare"},
             "it is missed")
        self.assertIn(gv[2].name, found(gv[0])["member-missing"])
        self.assertIn("since 2", found(gv[0])["member-missing"])
        self.assertEqual(wrong(gv[2]), {"daemon-dead"})
        gv[1].kill()
        wait(lambda: "zone-offline" in found(gv[0]), "no majority is told")

    # The runbook's way to replace a disk: a new pool in place of the old one, the member
    # removed and added anew; then everything is there again and nothing is wrong.
    def test_replace_a_disk(self):
        gv = self.grapevine(3)
        gv.make_zone("z", [0, 1, 2])
        client = gv.client("z", 0)
        client.write(client.create(client.root, "f"), 0, b"f" * 100000)
        node = gv[2]
        node.kill()
        shutil.rmtree(node.pools["tank"])
        node.pools = {"tank2": node.pools["tank"] + "2"}
        os.makedirs(node.pools["tank2"])
        node.write_config()
        node.start()
        wait(lambda: wrong(node) == {"dataset-missing", "zone-no-data"}, "it has no data")
        gv[0].ask("zone", "remove-member", "z", node.name)
        wait(lambda: "z of pool tank, which is not configured" in node.log_text(),
             "it is said that the old data stays where it was")
        gv[0].ask("zone", "add-member", "z", node.name + ":tank2")
        gv.wait_settled("z", 3)
        self.assertTrue(gv.same_digests("z"))
        wait(lambda: wrong(node) == set(), "nothing is wrong")

    # Every finding that there can be is a heading of the runbook, and every link in it leads
    # somewhere.
    def test_runbook_has_all(self):
        with open(os.path.join(ROOT, "docs", "runbook.md"), encoding="utf-8") as f:
            text = f.read()
        with open(os.path.join(ROOT, "src", "offline", "doctor_rules.c"), encoding="ascii") as f:
            ids = re.findall(r'\{\s*"([a-z-]+)",\s*[EWN],', f.read())
        self.assertGreater(len(ids), 50)
        findings = text[text.index("## Findings"):]
        headings = re.findall(r"^### (.*)$", findings, re.M)
        self.assertEqual(sorted(headings), sorted(ids))
        self.assertEqual(headings, sorted(headings))
        anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-")
                   for h in re.findall(r"^#+ (.*)$", text, re.M)}
        for link in re.findall(r"\]\(#([^)]*)\)", text):
            self.assertIn(link, anchors)

    # A pool that is not mounted: the daemon runs without its zones, and the doctor says so,
    # also without the daemon.
    def test_pool_not_mounted(self):
        gv = self.grapevine(1)
        gv.make_zone("scratch", [0])
        node = gv[0]
        path = node.pools["tank"]
        self.assertEqual(node.stop(), 0)
        os.rename(path, path + ".away")
        os.makedirs(path)
        node.start()
        wait(lambda: wrong(node) == {"dataset-missing", "zone-no-data"}, "it has no data")
        self.assertIn("mount it", found(node)["zone-no-data"])
        node.stop()
        shutil.rmtree(path)
        self.assertEqual(wrong(node), {"daemon-dead", "dataset-missing", "pool-missing"})

    # Datasets that are another version's, another zone's or damaged, and a journal that is
    # gone, are told apart without touching them.
    def test_datasets(self):
        gv = self.grapevine(1)
        gv.make_zone("scratch", [0])
        node = gv[0]
        node.stop()
        marker = os.path.join(node.pools["tank"], "scratch", "marker")
        with open(marker, encoding="ascii") as f:
            good = f.read()
        foreign = re.sub("zone (.*)", "zone " + 32 * "0", good.split("check")[0])
        foreign += "check %08x\n" % crc32c(foreign.encode())
        newer = re.sub("dataset [0-9]+", "dataset 99", good.split("check")[0])
        for bad, finding in [(newer, "dataset-version"),
                             (re.sub("dataset [0-9]+", "dataset 7", good), "dataset-rotten"),
                             (good.replace("generation 0", "generation 47"), "dataset-damaged"),
                             (foreign, "dataset-foreign"),
                             ("x" + good, "dataset-rotten")]:
            with open(marker, "w", encoding="ascii") as f:
                f.write(bad)
            self.assertEqual(wrong(node), {"daemon-dead", finding})
        with open(marker, "w", encoding="ascii") as f:
            f.write(good)
        journal = os.path.join(node.pools["tank"], "scratch", "journal")
        os.rename(journal, journal + ".away")
        self.assertEqual(wrong(node), {"daemon-dead", "journal-missing"})

    # A wrong configuration, for a daemon that runs and for one that does not.
    def test_wrong_configuration(self):
        node = self.node()
        node.start()
        self.assertEqual(wrong(node), set())
        self.assertIn("not-in-grapevine", found(node))
        node.write_config(node.config_text() + "[zones]\ncolour = red\n")
        self.assertEqual(wrong(node), {"config-invalid"})
        self.assertIn("colour", found(node)["config-invalid"])
        node.stop()
        self.assertEqual(wrong(node), {"config-invalid", "daemon-dead"})

    # Somebody else has the port; a daemon runs but its socket is not the one asked.
    def test_ports_and_sockets(self):
        node = self.node()
        with socket.socket() as s:
            s.bind((node.host, node.nfs_port))
            s.listen(1)
            self.assertEqual(wrong(node), {"daemon-dead", "port-taken"})
            self.assertIn(str(node.nfs_port), found(node)["port-taken"])
        node.start()
        done = subprocess.run(
            [program("cli", "gvraft"), "--socket", node.socket + ".other", "doctor",
             "--config", node.config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("error daemon-silent", done.stdout)

    # An export of everything to everybody, as root, on a real address.
    def test_open_export(self):
        node = self.node()
        node.listen = "0.0.0.0"
        node.write_config()
        self.assertEqual(wrong(node), {"daemon-dead", "export-open-root"})
        node.export = "squash = none\nclients = 10.0.0.0/8\n"
        node.write_config()
        self.assertEqual(wrong(node), {"daemon-dead"})

    # A daemon that was killed says so afterwards; nothing is wrong by that.
    def test_killed(self):
        gv = self.grapevine(1)
        gv[0].kill()
        gv[0].start()
        wait(lambda: "crashed" in found(gv[0]) and not wrong(gv[0]), "it is known")

    # A pool on a small file system that fills up, then turns read-only; or, for whoever may
    # not mount, a folder that may not be written.
    def test_pool_full_and_read_only(self):
        node = self.node()
        pool = node.pools["tank"]
        if os.geteuid() != 0:
            os.chmod(pool, 0o500)
            self.addCleanup(os.chmod, pool, 0o700)
            self.assertEqual(wrong(node), {"daemon-dead", "pool-broken"})
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", pool], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", pool], check=True)
        self.assertEqual(wrong(node), {"daemon-dead"})
        with open(os.path.join(pool, "big"), "wb") as f:
            f.write(bytes(35 << 20))
        self.assertEqual(wrong(node), {"daemon-dead", "pool-full"})
        os.remove(os.path.join(pool, "big"))
        subprocess.run(["mount", "-o", "remount,ro", pool], check=True)
        self.assertEqual(wrong(node), {"daemon-dead", "pool-read-only"})
