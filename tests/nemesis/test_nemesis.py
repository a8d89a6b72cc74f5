"""Short histories of real daemons under faults, each from a seed of its own; and what the
runs rest on: that a cut is one, that a schedule is the seed's."""

import os
import subprocess
import sys
import tempfile
import unittest

import nemesis

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = os.path.join(HERE, "run")
SKIPPED = 77


class Schedules(unittest.TestCase):
    # The same seed, the same faults; another seed, others; all kinds come.
    def test_from_the_seed(self):
        kinds = sorted(nemesis.FAULTS)
        plan = nemesis.schedule(7, 600, kinds)
        self.assertEqual(plan, nemesis.schedule(7, 600, kinds))
        self.assertNotEqual(plan, nemesis.schedule(8, 600, kinds))
        self.assertEqual({kind for _, kind, _, _ in plan}, set(kinds))
        self.assertEqual(plan, sorted(plan))
        self.assertGreater(len(plan), 100)
        self.assertEqual(nemesis.schedule(7, 600, []), [])


class Cuts(unittest.TestCase):
    # What a cut takes away it takes away in one direction, and gives back.
    def test_one_way(self):
        done = subprocess.run([sys.executable, os.path.join(HERE, "ns_cuts.py")],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode == SKIPPED:
            self.skipTest(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout)


class Histories(unittest.TestCase):
    def run_nemesis(self, *args):
        with tempfile.TemporaryDirectory(prefix="gv-nemesis-") as tmp:
            done = subprocess.run(
                [sys.executable, RUN, "--keep", os.path.join(tmp, "run"), *args],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True)
            if done.returncode == SKIPPED:
                self.skipTest(done.stdout.strip())
            said = done.stdout
            if done.returncode != 0:
                said += self.logs(os.path.join(tmp, "run"))
        self.assertEqual(done.returncode, 0, said)
        self.assertIn("verdict: ok", said)
        print("    " + said[:said.index("verdict")].strip().replace("\n", "\n    "))

    @staticmethod
    def logs(folder):
        """The faults, and the ends of the daemons' logs."""
        found = ""
        paths = [os.path.join(folder, "nemesis.log")]
        paths += [os.path.join(folder, name, "log") for name in nemesis.grapevine.NAMES]
        for path in paths:
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    found += "-- the end of %s\n%s" % (path, "".join(f.readlines()[-40:]))
        return found

    # kill -9 of one, of the leader, of a majority, of all.
    def test_killed(self):
        self.run_nemesis("--seconds", "10", "--seed", "3", "--faults", "kill")

    # Everything at once, under leases.
    def test_mixed(self):
        self.run_nemesis("--seconds", "12", "--seed", "4")

    # Five nodes, of which three have the zone at first.
    def test_five(self):
        self.run_nemesis("--seconds", "8", "--seed", "5", "--nodes", "5", "--members", "3",
                         "--faults", "part,oneway,transfer,mute,members")


if __name__ == "__main__":
    unittest.main()
