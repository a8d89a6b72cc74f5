"""The checker finds what is wrong, and nothing where all is well. Histories by hand: one
letter per moment would hide too much, so each op is one line: begin, end, what."""

import random
import unittest

import check


def op(begin, end, what, status="0", results="-"):
    """@what: operation, object, arguments. @end None: nobody knows what came of it."""
    return "%d %s 0 0 1 %s %s %s" % (begin, "-" if end is None else end, what,
                                     "-" if end is None else status, results)


def violations(*lines):
    checker = check.Checker()
    checker.add_lines(lines)
    return checker.check()


class Good:
    """Mixed into each class of cases: right() and wrong()."""

    def right(self, *lines):
        self.assertEqual(violations(*lines), [])

    def wrong(self, reason, *lines):
        found = violations(*lines)
        self.assertEqual(len(found), 1, found)
        self.assertIn(reason, found[0])


def write(begin, end, value):
    return op(begin, end, "W r0.0 %d" % value)


def read(begin, end, value):
    return op(begin, end, "R r0.0 -", "0", str(value))


class Registers(Good, unittest.TestCase):
    def test_one_after_the_other(self):
        self.right(read(0, 1, 0), write(2, 3, 7), read(4, 5, 7), write(6, 7, 8), read(8, 9, 8))

    # A read at the same time as a write may see it or not.
    def test_at_the_same_time(self):
        self.right(write(0, 9, 7), read(1, 2, 0), read(3, 4, 7))
        self.right(write(0, 9, 7), read(1, 8, 0), read(2, 7, 7))

    # An acknowledged write is seen by whoever asks afterwards.
    def test_stale_read(self):
        self.wrong("stale", write(0, 1, 7), write(2, 3, 8), read(4, 5, 7))
        self.wrong("stale", write(0, 1, 7), read(2, 3, 0))

    # What one has seen, all see: also before the write is acknowledged.
    def test_seen_and_unseen(self):
        self.wrong("stale", write(0, 9, 7), read(1, 2, 7), read(3, 4, 0))

    # It was there, and is not, though nobody wrote since.
    def test_lost_write(self):
        self.wrong("lost", write(0, 1, 7), read(2, 3, 7), read(4, 5, 0))
        self.wrong("lost", write(0, 1, 7), write(2, 3, 8), read(4, 5, 8), read(6, 7, 7),
                   read(8, 9, 7))

    # A write that is carried out twice brings back its value.
    def test_ghost_write(self):
        self.wrong("more than once", write(0, 1, 7), write(2, 3, 8), read(4, 5, 8),
                   read(6, 7, 7))

    # A narrow value within a wide one.
    def test_within_another(self):
        self.wrong("more than once", write(0, 1, 7), read(8, 9, 7), write(4, 5, 8))

    # Two writes at the same time come in any order, but in one.
    def test_order_of_two(self):
        self.right(write(0, 9, 7), write(0, 9, 8), read(10, 11, 7))
        self.wrong("more than once", write(0, 9, 7), write(0, 9, 8), read(10, 11, 7),
                   read(12, 13, 8), read(14, 15, 7))

    # What nobody knows of may come late, or never; but it cannot come and go.
    def test_unknown(self):
        self.right(write(0, None, 7), read(2, 3, 0), write(4, 5, 8), read(6, 7, 8),
                   read(8, 9, 7))
        self.right(write(0, None, 7), write(1, 2, 8), read(3, 4, 8))
        self.wrong("more than once", write(0, None, 7), read(2, 3, 7), read(4, 5, 0))
        self.wrong("before", read(0, 1, 7), write(2, None, 7))

    def test_nonsense(self):
        self.wrong("nobody wrote", read(0, 1, 7))
        self.wrong("nobody wrote", read(0, 1, "torn"))
        self.wrong("nobody wrote", op(0, 1, "W r0.0 7", "28"), read(2, 3, 7))
        self.wrong("refused", op(0, 1, "R r0.0 -", "5"))
        self.right(op(0, 1, "R r0.0 -", "10008"), op(2, 3, "W r0.0 7", "10008"),
                   read(4, 5, 0))
        with self.assertRaises(check.Malformed):
            violations("1 2 3")

    # Against all orders tried one by one: small histories drawn at random.
    def test_against_search(self):
        def model(state, o):
            if o.op == "W":
                return o.args[0]
            return state if str(state) == o.results else None
        draw = random.Random(7)
        found = 0
        for _ in range(4000):
            lines = []
            for value in range(1, draw.randrange(2, 5)):
                begin = draw.randrange(12)
                end = None if draw.random() < 0.2 else begin + draw.randrange(1, 8)
                lines.append(write(2 * begin, end and 2 * end, value))
            for _ in range(draw.randrange(1, 5)):
                begin = draw.randrange(16)
                lines.append(read(2 * begin + 1, 2 * (begin + draw.randrange(1, 6)) + 1,
                                  draw.randrange(len(lines) + 1)))
            ops = [check.parse(line) for line in lines]
            if any(o.op == "R" and int(o.results) > sum(p.op == "W" for p in ops)
                   for o in ops):
                continue
            try:
                check.Search(ops, model, 0).run()
                expected = 0
            except check.Violation:
                expected = 1
            self.assertEqual(len(violations(*lines)), expected, lines)
            found += expected
        self.assertGreater(found, 500)


class Files(Good, unittest.TestCase):
    def test_sizes_and_holes(self):
        self.right(op(0, 1, "w f1 2,7"), op(2, 3, "r f1 -", "0", "0,0,7"),
                   op(4, 5, "s f1 -", "0", "1536"), op(6, 7, "t f1 1"),
                   op(8, 9, "r f1 -", "0", "0"), op(10, 11, "t f1 0"),
                   op(12, 13, "r f1 -"), op(14, 15, "t f1 2"),
                   op(16, 17, "r f1 -", "0", "0,0"))

    # One READ shows one moment: not a new block beside one that was old before it.
    def test_one_moment(self):
        first, second = op(0, 1, "w f1 0,7"), op(2, 9, "w f1 1,8")
        self.right(first, second, op(3, 4, "r f1 -", "0", "7,8"))
        self.wrong("no order", op(0, 1, "w f1 1,5"), op(2, 3, "w f1 0,7"),
                   op(4, 5, "w f1 1,8"), op(2, 9, "r f1 -", "0", "0,8"))

    def test_what_was_cut_stays_cut(self):
        self.wrong("no order", op(0, 1, "w f1 1,7"), op(2, 3, "t f1 0"), op(4, 5, "t f1 2"),
                   op(6, 7, "r f1 -", "0", "0,7"))

    def test_stale_size(self):
        self.wrong("no order", op(0, 1, "w f1 0,7"), op(2, 3, "s f1 -", "0", "0"))

    # An order is found that is not the one of the begins.
    def test_search(self):
        self.right(op(0, 20, "w f1 0,7"), op(1, 20, "w f1 0,8"), op(2, 20, "w f1 0,9"),
                   op(3, 4, "r f1 -", "0", "9"), op(5, 6, "r f1 -", "0", "7"),
                   op(21, 22, "r f1 -", "0", "8"))

    def test_unknown(self):
        self.right(op(0, None, "t f1 2"), op(1, 2, "s f1 -", "0", "0"),
                   op(3, 4, "w f1 0,7"), op(5, 6, "r f1 -", "0", "7,0"))
        self.wrong("no order", op(0, None, "t f1 2"), op(1, 2, "s f1 -", "0", "1024"),
                   op(3, 4, "s f1 -", "0", "0"))

    def test_refused(self):
        self.wrong("refused", op(0, 1, "r f1 -", "70"))


class Folders(Good, unittest.TestCase):
    def test_all_kinds(self):
        self.right(op(0, 1, "c d1 1,0", "0", "90"), op(2, 3, "k d1 0", "0", "90,1"),
                   op(4, 5, "l d1 90,3"), op(6, 7, "k d1 3", "0", "90,2"),
                   op(8, 9, "d d1 1", "0", "3:90"), op(10, 11, "m d1 0,3"),
                   op(12, 13, "d d1 0", "0", "0:90"), op(14, 15, "m d1 0,5"),
                   op(16, 17, "d d1 1", "0", "3:90,5:90"), op(18, 19, "d d1 0"),
                   op(20, 21, "x d1 3"), op(22, 23, "x d1 3", "2"),
                   op(24, 25, "c d1 0,5", "0", "90"), op(26, 27, "c d1 2,5", "17"),
                   op(28, 29, "x d1 5"), op(30, 31, "l d1 90,0", "2"),
                   op(32, 33, "k d1 0", "2"), op(34, 35, "m d1 0,1", "2"))

    # Only one of two creates that must be first is.
    def test_double_create(self):
        self.wrong("no order", op(0, 9, "c d1 1,0", "0", "90"), op(1, 8, "c d1 2,0", "0", "91"))

    # Carried out twice: the first try's file is in the second one's way.
    def test_own_exist(self):
        self.wrong("no order", op(0, 1, "c d1 1,0", "17"), op(2, 3, "k d1 0", "0", "90,1"))

    def test_resurrected_name(self):
        self.wrong("no order", op(0, 1, "c d1 1,0", "0", "90"), op(2, 3, "x d1 0"),
                   op(4, 5, "d d1 0", "0", "0:90"))

    def test_lost_name(self):
        self.wrong("no order", op(0, 1, "c d1 1,0", "0", "90"), op(2, 3, "k d1 0", "2"))

    # A rename takes away and gives at once.
    def test_rename_is_one(self):
        create, rename = op(0, 1, "c d1 1,0", "0", "90"), op(2, 9, "m d1 0,1")
        self.wrong("no order", create, rename, op(3, 4, "d d1 0", "0", "0:90,1:90"))
        self.wrong("no order", create, rename, op(3, 4, "d d1 0"))
        self.right(create, rename, op(3, 4, "d d1 0", "0", "0:90"),
                   op(5, 6, "d d1 0", "0", "1:90"))

    def test_number_given_twice(self):
        self.wrong("no order", op(0, 1, "c d1 1,0", "0", "90"),
                   op(2, 3, "c d1 1,1", "0", "90"))

    def test_links_count(self):
        self.wrong("no order", op(0, 1, "c d1 1,0", "0", "90"), op(2, 3, "l d1 90,1"),
                   op(4, 5, "k d1 0", "0", "90,1"))

    # What a create of unknown outcome made is one file, whoever sees it.
    def test_unknown_create(self):
        lost = op(0, None, "c d1 1,0")
        self.right(lost, op(1, 2, "k d1 0", "2"), op(3, 4, "k d1 0", "0", "95,1"),
                   op(5, 6, "c d1 1,0", "17"))
        self.right(lost, op(1, 2, "c d1 1,0", "0", "90"), op(3, 4, "x d1 0"),
                   op(5, 6, "k d1 0", "0", "95,1"))
        self.right(lost, op(1, 2, "k d1 0", "0", "95,1"), op(3, 4, "c d1 0,0", "0", "95"))
        self.wrong("no order", lost, op(1, 2, "k d1 0", "0", "95,1"),
                   op(3, 4, "k d1 0", "0", "96,1"))
        self.wrong("no order", lost, op(1, 2, "k d1 0", "0", "95,1"),
                   op(3, 4, "c d1 0,0", "0", "96"))
        self.wrong("no order", lost, op(1, 2, "k d1 0", "0", "95,1"), op(3, 4, "x d1 0"),
                   op(5, 6, "k d1 0", "0", "95,1"))

    def test_unknown_remove_and_rename(self):
        create = op(0, 1, "c d1 1,0", "0", "90")
        self.right(create, op(2, None, "x d1 0"), op(3, 4, "k d1 0", "0", "90,1"),
                   op(5, 6, "k d1 0", "2"))
        self.right(create, op(2, None, "m d1 0,4"), op(5, 6, "k d1 4", "0", "90,1"))
        self.right(create, op(2, None, "l d1 90,4"), op(5, 6, "k d1 0", "0", "90,2"))
        self.wrong("no order", create, op(2, None, "m d1 0,4"), op(5, 6, "k d1 0", "2"),
                   op(7, 8, "k d1 4", "2"))

    def test_names_that_nobody_made(self):
        self.wrong("no order", op(0, 1, "d d1 0", "0", "99:90"))
        self.wrong("no order", op(0, 1, "c d1 1,0", "0", "90"),
                   op(2, 3, "d d1 0", "0", "0:90,0:90"))
        self.wrong("refused", op(0, 1, "d d1 0", "70"))
        self.wrong("cannot be read", op(0, 1, "d d1 0", "0", "unended"))


class Pair:
    """A pair of folders as they should be, one step at a time: status and results."""

    def __init__(self):
        self.names = {}
        self.fileid = 10

    def create(self, how, name):
        if name in self.names:
            return ("0", self.names[name]) if how == 0 else ("17", "-")
        self.fileid += 1
        self.names[name] = self.fileid
        return "0", self.fileid

    def remove(self, name):
        return ("2", "-") if self.names.pop(name, None) is None else ("0", "-")

    def rename(self, name, to):
        if name not in self.names:
            return "2", "-"
        if self.names.get(to) != self.names[name]:
            self.names[to] = self.names.pop(name)
        return "0", "-"

    def link(self, fileid, name):
        if name in self.names:
            return "17", "-"
        if fileid not in self.names.values():
            return "2", "-"
        self.names[name] = fileid
        return "0", "-"

    def look_up(self, name):
        if name not in self.names:
            return "2", "-"
        fileid = self.names[name]
        return "0", "%d,%d" % (fileid, list(self.names.values()).count(fileid))

    def listing(self, half):
        found = ["%d:%d" % item for item in sorted(self.names.items()) if item[0] // 3 == half]
        return "0", ",".join(found) or "-"

    def step(self, draw):
        """(what, status, results) of any step."""
        what = draw.choice("ccccxxmmllkkkkdd")
        name = draw.randrange(6)
        args = {"c": (draw.randrange(3), name), "d": (draw.randrange(2),),
                "m": (name, (name + draw.randrange(1, 6)) % 6),
                "l": (draw.randrange(11, self.fileid + 2), name)}.get(what, (name,))
        do = {"c": self.create, "x": self.remove, "m": self.rename, "l": self.link,
              "k": self.look_up, "d": self.listing}[what]
        status, results = do(*args)
        return "%s d1 %s" % (what, ",".join(map(str, args))), status, str(results)


class FoldersAtRandom(unittest.TestCase):
    """What clients at the same time see of folders that are as they should be."""

    def history(self, draw, n=60):
        """Each step happens at a moment of its own, between its begin and its end; of some
        nobody learns the outcome, and some of these never happen."""
        pair = Pair()
        lines = []
        for i in range(n):
            at = 10 * i + 1000
            begin, end = at - draw.randrange(1, 40), at + draw.randrange(1, 40)
            unknown = draw.random() < 0.12
            before = dict(pair.names)
            what, status, results = pair.step(draw)
            if unknown and draw.random() < 0.5:
                pair.names = before
            lines.append(op(begin, None if unknown else end, what, status, results))
        return lines

    def test_no_false_alarm(self):
        draw = random.Random(11)
        for _ in range(80):
            self.assertEqual(violations(*self.history(draw)), [])

    # One refusal that was none, or the other way round; a few are covered by what happens
    # at the same time, or by what nobody knows of.
    def test_one_wrong_result(self):
        draw = random.Random(12)
        found = 0
        for _ in range(80):
            lines = self.history(draw)
            i = draw.choice([i for i, line in enumerate(lines)
                             if line.split()[5] in "xk" and line.split()[8] != "-"])
            words = lines[i].split()
            if words[8] == "2":
                words[8], words[9] = "0", "-" if words[5] == "x" else "11,1"
            else:
                words[8], words[9] = "2", "-"
            lines[i] = " ".join(words)
            found += bool(violations(*lines))
        self.assertGreater(found, 55)


class Figures(unittest.TestCase):
    # What is counted beside.
    def test_counts(self):
        checker = check.Checker()
        second = 10 ** 9
        checker.add_lines([write(0, second, 1), write(second, 4 * second, 2),
                           write(0, None, 3), read(0, 9 * second, 2)])
        self.assertEqual(checker.silences(1), [(3.0, second)])
        self.assertEqual(checker.longest.op, "R")
        self.assertEqual((checker.counts["ops"], checker.counts["unknown"],
                          checker.counts["register reads"]), (4, 1, 1))


if __name__ == "__main__":
    unittest.main()
