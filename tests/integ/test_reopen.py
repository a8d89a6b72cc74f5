"""Members that failed come back without a restart of their daemon: the folder was away, the
disk gave errors, at a start or later. The daemon's other zones do not notice."""

import os
import re
import subprocess

import grapevine
from grapevine import wait

SHIM = os.path.join("tests", "integ", "faildisk.so")
SLUG = "z"
OTHER = "other"


class Reopen(grapevine.GrapevineTest):
    def begin(self, n):
        """@n nodes with two pools whose disks can fail, and a zone on the first pool."""
        gv = grapevine.Grapevine(self.tmp)
        self.grapevines.append(gv)
        gv.environment = lambda node: {
            "LD_PRELOAD": os.path.join(grapevine.build_dir(), SHIM),
            "FAILDISK_FILE": self.faults_of(node),
            "ASAN_OPTIONS": "verify_asan_link_order=0",
        }
        for _ in range(n):
            gv.add_node(("tank", "fast"))
        gv.make_zone(SLUG, range(n))
        return gv

    def faults_of(self, node):
        return os.path.join(node.dir, "faults")

    def fail(self, node, *lines):
        path = self.faults_of(node)
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write("".join(line + "\n" for line in lines))
        os.rename(path + ".new", path)

    def dataset(self, node):
        return os.path.join(node.pools["tank"], SLUG)

    def log_has(self, node, text):
        return text in node.log_text()

    def wait_state(self, node, state, why):
        wait(lambda: node.zone(SLUG)["state"] == state, why)

    def descriptors(self, node):
        """Of what the daemon has open. One may go while it is looked at."""
        found = []
        for fd in os.listdir("/proc/%d/fd" % node.process.pid):
            try:
                found.append(os.readlink("/proc/%d/fd/%s" % (node.process.pid, fd)))
            except FileNotFoundError:
                pass
        return found

    def open_files(self, node, below):
        return [path for path in self.descriptors(node)
                if path.startswith(below + "/") or path == below]

    def size_of(self, node):
        """Descriptors that do not come and go with the load, and threads."""
        lasting = [path for path in self.descriptors(node)
                   if not re.match(r"socket:|.*\.(seg|tmp)$|.*/data/", path)]
        return len(lasting), len(os.listdir("/proc/%d/task" % node.process.pid))

    def end(self, gv, load):
        load.wait_steps(20)
        load.stop()
        gv.wait_settled(SLUG, len(gv.nodes))
        wait(lambda: gv.same_digests(SLUG), "the copies are the same")
        for i in range(len(gv.nodes)):
            client = gv.client(SLUG, i)
            load.check(client)
            client.close()

    # The leader's folder is moved away under load: its zone goes on with the others, none of
    # its files stays open, and when it is back so is the member. The other zone that the
    # same daemon leads, alone, is written all the time, in one term.
    def test_folder_put_back(self):
        gv = self.begin(3)
        away = gv.leader(SLUG)
        at = gv.nodes.index(away)
        away.ask("zone", "create", OTHER, "--quota", "1GiB", "--member", away.name + ":fast")
        gv.wait_settled(OTHER)
        term = away.zone(OTHER)["term"]
        load = grapevine.Load(gv.client(SLUG, at), "load")
        other = grapevine.Load(gv.client(OTHER, at), "other")
        load.wait_steps(10)
        pid = away.process.pid
        os.rename(self.dataset(away), self.dataset(away) + ".away")
        wait(lambda: self.log_has(away, "put it back, and it goes on by itself"), "it is seen")
        self.wait_state(away, "no-data", "it has no data")
        self.assertEqual(self.open_files(away, self.dataset(away) + ".away"), [])
        gv.wait_leader(SLUG, away)
        load.wait_steps(10)
        other.wait_steps(10)
        os.rename(self.dataset(away) + ".away", self.dataset(away))
        gv.wait_settled(SLUG, 3)
        wait(lambda: "opened anew" in away.gvraft("events").stdout, "that is told")
        self.end(gv, load)
        other.wait_steps(10)
        other.stop()
        self.assertEqual(away.zone(OTHER)["term"], term)
        self.assertEqual((away.process.pid, away.running()), (pid, True))

    # Another zone's dataset, or an older copy, in the place of the one that was open: neither
    # is taken for it. The first waits until a person says that it was put right. The old one is
    # known by what the daemon itself heard since.
    def test_another_in_its_place(self):
        gv = self.begin(2)
        node = gv[1]
        node.ask("zone", "create", OTHER, "--quota", "1GiB", "--member", node.name)
        gv.wait_settled(OTHER)
        foreign = os.path.join(self.tmp, "foreign")
        subprocess.run(["cp", "-a", os.path.join(node.pools["tank"], OTHER), foreign],
                       check=True)
        os.rename(self.dataset(node), self.dataset(node) + ".away")
        os.rename(foreign, self.dataset(node))
        wait(lambda: "could not open the journal" in node.zone(SLUG)["reason"], "it is seen")
        self.assertNotIn("tried again", node.zone(SLUG)["reason"])
        os.rename(self.dataset(node), foreign)
        os.rename(self.dataset(node) + ".away", self.dataset(node))
        node.ask("zone", "retry", SLUG)
        gv.wait_settled(SLUG, 2)
        node.stop()
        old = self.dataset(node) + ".old"
        subprocess.run(["cp", "-a", self.dataset(node), old], check=True)
        node.start()
        load = grapevine.Load(gv.client(SLUG, 0), "load")
        load.wait_steps(20)
        load.stop()
        os.rename(self.dataset(node), self.dataset(node) + ".away")
        os.rename(old, self.dataset(node))
        wait(lambda: self.log_has(node, "member quarantined"), "the old one is found out")
        self.assertIn("older than what it acknowledged", node.zone(SLUG)["reason"])

    # Every sync of one member's fails, for a while, and again and again. Each time the member
    # fails, says when it is tried again, is quarantined by nobody, and comes back with what it
    # had and missed, once of another process; a person may hurry it. Nothing of the attempts
    # stays: descriptors, threads.
    def test_sync_fails(self, rounds=4):
        gv = self.begin(3)
        leader = gv.leader(SLUG)
        node = next(node for node in gv.nodes if node is not leader)
        load = grapevine.Load(gv.client(SLUG, gv.nodes.index(leader)), "load")
        size = None
        for i in range(rounds):
            load.wait_steps(5)
            self.fail(node, "sync " + self.dataset(node))
            self.wait_state(node, "failed", "it failed")
            if i == 0:
                wait(lambda: "Input/output error: it is tried again by itself in "
                     in node.zone(SLUG)["reason"], "it says so")
                self.assertIn("zone-failed", node.gvraft("doctor").stdout)
                wait(lambda: self.log_has(node, 'msg="still: could not open'),
                     "it was tried in vain")
                self.assertEqual(self.open_files(node, self.dataset(node)), [])
            elif i == 1:
                node.kill()
                node.start()
                self.wait_state(node, "failed", "it failed again")
            self.fail(node)
            if i > 0:
                leader.ask("zone", "retry", SLUG, node.name)
            gv.wait_settled(SLUG, 3)
            size = self.size_of(node) if i == 1 else size
        wait(lambda: self.size_of(node) == size, "it is no larger than after one round")
        self.end(gv, load)
        self.assertFalse(self.log_has(node, "quarantined"))
        self.assertIn("nothing to try again", node.gvraft("zone", "retry", SLUG).stderr)

    # A disk that gives EIO at the start, also of a daemon that is killed meanwhile: the member
    # is failed, not quarantined, and begins when the disk is well. It has the only copy: the
    # client that waits for it goes on.
    def test_eio_at_start(self):
        gv = self.begin(1)
        node = gv[0]
        load = grapevine.Load(gv.client(SLUG, 0), "load")
        load.wait_steps(10)
        for how in (node.kill, node.stop):
            how()
            self.fail(node, "open " + self.dataset(node))
            node.start()
            self.wait_state(node, "failed", "it failed")
            self.assertIn("could not read the marker", node.zone(SLUG)["reason"])
        wait(lambda: self.log_has(node, 'msg="still: could not read the marker'),
             "it was tried in vain")
        self.fail(node)
        self.wait_state(node, "online", "it begins")
        self.end(gv, load)

    # The same of a node's copy of the directory: its zones go on, and then it hears of changes
    # again.
    def test_directory(self):
        gv = self.begin(3)
        node = gv[2]
        self.fail(node, "sync " + os.path.join(node.dir, "state", "directory"))
        gv[0].ask("invite")
        wait(lambda: self.log_has(node, "event=failed zone=(grapevine)"), "it fails")
        load = grapevine.Load(gv.client(SLUG, 2), "load")
        wait(lambda: self.log_has(node, 'msg="still: could not open'), "it was tried in vain")
        load.wait_steps(5)
        self.fail(node)
        wait(lambda: self.log_has(node, "event=opened zone=(grapevine)"), "it is back")
        gv[0].ask("zone", "create", OTHER, "--quota", "1GiB", "--member", gv[0].name + ":fast")
        wait(lambda: OTHER in [zone["slug"] for zone in node.status()["zones"]],
             "it hears of a new zone")
        self.end(gv, load)
        self.assertFalse(self.log_has(node, "quarantined"))

    # A file system that is unmounted while it is used, as far as that goes (umount -l): the
    # daemon lets go of it, so that its device is free, to be checked and mounted again.
    def test_unmounted(self):
        if os.geteuid() != 0:
            self.skipTest("only root may mount")
        gv = self.begin(1)
        image = os.path.join(self.tmp, "image")
        with open(image, "wb") as f:
            f.truncate(400 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-b", "4096", image], check=True)
        node = gv[0]
        pool = os.path.join(self.tmp, "disk")
        os.mkdir(pool)
        mount = ["mount", "-o", "loop", image, pool]
        done = subprocess.run(mount, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            self.skipTest("no file system can be mounted here: " + done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", "-l", pool], check=False)
        node.stop()
        node.pools["usb"] = pool
        node.write_config()
        node.start()
        node.ask("zone", "create", OTHER, "--quota", "200MiB", "--member", node.name + ":usb")
        gv.wait_settled(OTHER)
        load = grapevine.Load(gv.client(OTHER, 0), "load")
        load.wait_steps(10)
        subprocess.run(["umount", "-l", pool], check=True)
        wait(lambda: node.zone(OTHER)["state"] == "no-data", "it has no data")
        wait(lambda: subprocess.run(["losetup", "-j", image], check=True, text=True,
                                    stdout=subprocess.PIPE).stdout == "",
             "nobody has the device")
        subprocess.run(["e2fsck", "-fn", image], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        subprocess.run(mount, check=True)
        gv.wait_settled(OTHER)
        load.wait_steps(10)
        load.stop()
        client = gv.client(OTHER, 0)
        load.check(client)
        client.close()
        node.stop()
