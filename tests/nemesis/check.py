"""Is a history of nemesis_load linearizable? For each object by itself, which is enough:
linearizability is local (Herlihy and Wing 1990).

A line of a history:

    BEGIN END CLIENT NODE SENT OP OBJECT ARGS STATUS RESULTS

times in ns of one clock; NODE: who answered, or was asked last; SENT: how often; END and STATUS
"-": nobody knows what came of it, now or later. A blank ARGS or RESULTS is "-".

| op | object | args | results | |
|----|--------|------|---------|---|
| W | rF.B | value | | write a register |
| R | rF.B | | value | |
| w | fN | block,value | | write a block of a file |
| r | fN | | value,... | all of it; 0: never written |
| t | fN | blocks | | set the size |
| s | fN | | bytes | ask for the size |
| c | dN | how,name | fileid | create; how: 0 unchecked, 1 guarded, 2 exclusive |
| x | dN | name | | remove |
| m | dN | name,name | | rename |
| l | dN | fileid,name | | link |
| k | dN | name | fileid,links | look up |
| d | dN | half | name:fileid,... | list a folder of the pair |

What a call that was refused did is nothing, and the refusal must be right. JUKEBOX is never
wrong. What nobody knows the outcome of may have happened at any time from its beginning, or
never.
"""

import bisect
import collections
import heapq

OK, NOENT, EXIST, NOSPC, STALE, JUKEBOX = 0, 2, 17, 28, 70, 10008
NEVER = float("inf")
NAMES, FILE_BLOCKS, BLOCK_BYTES = 6, 4, 512
SEARCH_STEPS_MAX = 2000000

Op = collections.namedtuple(
    "Op", "begin end client node sent op object args status results line")


class Malformed(Exception):
    pass


def parse(line):
    words = line.split()
    if len(words) != 10:
        raise Malformed(line)
    begin, end, client, node, sent, op, obj, args, status, results = words
    try:
        args = () if args == "-" else tuple(int(a) for a in args.split(","))
        return Op(int(begin), NEVER if end == "-" else int(end), int(client), int(node),
                  int(sent), op, obj, args, None if status == "-" else int(status),
                  "" if results == "-" else results, line.strip())
    except ValueError as e:
        raise Malformed(line) from e


class Violation(Exception):
    """What was seen cannot be; with the lines of the history that show it."""

    def __init__(self, reason, ops=()):
        super().__init__("\n    ".join([reason] + [op.line for op in ops]))


# -- Registers. Every value is written once, so who read from whom is known, and no search is
# needed (Gibbons and Korach 1997): a write and its reads are a cluster; two clusters must not
# each have something that ended before something of the other began.

class Cluster:
    def __init__(self, value, write=None):
        self.value = value
        self.write = write
        self.reads = []
        # The first end and the last begin of all that belongs to it.
        self.first_end = write.end if write else -1
        self.last_begin = write.begin if write else -1

    def add(self, op):
        self.reads.append(op)
        self.first_end = min(self.first_end, op.end)
        self.last_begin = max(self.last_begin, op.begin)

    def shown(self):
        """The ops that say when it was there."""
        ops = ([self.write] if self.write else []) + self.reads
        if not ops:
            return []
        return [min(ops, key=lambda op: op.end), max(ops, key=lambda op: op.begin)]


def clusters_of(ops):
    clusters = {0: Cluster(0)}  # What is there at first.
    for op in ops:
        if op.op == "W" and op.status in (OK, None):
            clusters[op.args[0]] = Cluster(op.args[0], op)
    for op in ops:
        if op.op != "R" or op.status != OK:
            continue
        cluster = clusters.get(int(op.results)) if op.results.isdigit() else None
        if cluster is None:
            raise Violation("read what nobody wrote", [op])
        if cluster.write and op.end < cluster.write.begin:
            raise Violation("read before it was written", [op, cluster.write])
        cluster.add(op)
    # A write that nobody saw and of which nobody knows may as well not have been.
    return [c for c in clusters.values() if c.reads or c.first_end != NEVER]


def check_register(ops):
    for op in ops:
        if op.status not in (OK, None, JUKEBOX) and (op.op, op.status) != ("W", NOSPC):
            raise Violation("refused", [op])
    clusters = clusters_of(ops)
    # Only of those with room between first end and last begin can two be in each other's way,
    # or one have another within.
    wide = sorted((c for c in clusters if c.first_end < c.last_begin),
                  key=lambda c: c.first_end)
    for a, b in zip(wide, wide[1:]):
        if b.first_end < a.last_begin:
            conflict(a, b)
    ends = [c.first_end for c in wide]
    for b in clusters:
        if b.first_end < b.last_begin:
            continue
        i = bisect.bisect_left(ends, b.last_begin) - 1
        if i >= 0 and b.first_end < wide[i].last_begin:
            conflict(wide[i], b)


def conflict(a, b):
    raise Violation("%d and %d were there in turn more than once (stale, or lost)" % (
        a.value, b.value), sorted(a.shown() + b.shown(), key=lambda op: op.begin))


# -- Files and folders: a search for an order (Wing and Gong 1993, with Lowe's memory of
# states that led nowhere). A model is a function: state, op -> the state after it, or None
# if the op cannot be then. For an op of unknown outcome it is the state if it is carried
# out.

def file_model(state, op):
    """State: the values of the blocks."""
    if op.op == "w":
        block, value = op.args
        longer = state + (0,) * (block + 1 - len(state))
        return longer[:block] + (value,) + longer[block + 1:]
    if op.op == "t":
        blocks = op.args[0]
        return state[:blocks] + (0,) * (blocks - len(state))
    if op.op == "r":
        return state if op.results == ",".join(map(str, state)) else None
    if op.op == "s":
        return state if op.results == str(len(state) * BLOCK_BYTES) else None
    raise Malformed(op.line)


def file_ops(ops):
    for op in ops:
        if op.status == JUKEBOX or (op.op in "wt" and op.status == NOSPC):
            continue
        if op.status not in (OK, None):
            raise Violation("refused", [op])
        if op.op in "wt" or op.status == OK:
            yield op


class Folders:
    """State: for each name the file's number, 0 if it is not there. A file that a create of
    unknown outcome made has a number of its own below 0, until one is seen that no other
    create made for certain."""

    def __init__(self, ops):
        # An unchecked create also gives what was there.
        self.given = {int(op.results) for op in ops
                      if op.op == "c" and op.status == OK and op.args[0] != 0}
        self.secret = {op.line: -1 - i for i, op in enumerate(
            op for op in ops if op.op == "c" and op.status is None)}

    def same(self, state, held, seen):
        """The state if @held can be the file that was seen as @seen, with that known."""
        if held == seen:
            return state
        if held < 0 and seen not in self.given and seen not in state:
            return tuple(seen if n == held else n for n in state)
        return None

    def unknown(self, state, op):
        """Carried out now."""
        if op.op == "c":
            name = op.args[1]
            return state if state[name] else put(state, name, self.secret[op.line])
        known = op._replace(status=OK)
        after = {"x": self.remove, "m": self.rename, "l": self.link}[op.op](state, known)
        return state if after is None else after

    def create(self, state, op):
        how, name = op.args
        if op.status == EXIST:
            return state if how != 0 and state[name] else None
        seen = int(op.results)
        if state[name]:
            return self.same(state, state[name], seen) if how == 0 else None
        return None if seen in state else put(state, name, seen)

    @staticmethod
    def remove(state, op):
        name = op.args[0]
        if op.status == NOENT:
            return None if state[name] else state
        return put(state, name, 0) if state[name] else None

    @staticmethod
    def rename(state, op):
        name, to = op.args
        if op.status == NOENT:
            return None if state[name] else state
        if not state[name]:
            return None
        if state[name] == state[to]:  # Two names of one file: POSIX does nothing.
            return state
        return put(put(state, to, state[name]), name, 0)

    def link(self, state, op):
        seen, name = op.args
        if op.status == EXIST:
            return state if state[name] else None
        holders = [s for s in (self.same(state, held, seen) for held in set(state) if held)
                   if s is not None]
        if op.status in (NOENT, STALE):
            return state if not state[name] and seen not in state else None
        if state[name] or not holders:
            return None
        return put(holders[0], name, seen)

    def look_up(self, state, op):
        held = state[op.args[0]]
        if op.status == NOENT:
            return None if held else state
        seen, links = (int(word) for word in op.results.split(","))
        if not held or links != state.count(held):
            return None
        return self.same(state, held, seen)

    def listing(self, state, op):
        half = NAMES // 2
        names = range(op.args[0] * half, (op.args[0] + 1) * half)
        words = [word.split(":") for word in op.results.split(",")] if op.results else []
        seen = {int(name): int(fileid) for name, fileid in words}
        if len(seen) != len(words) or set(seen) != {n for n in names if state[n]}:
            return None
        for name, fileid in seen.items():
            state = self.same(state, state[name], fileid)
            if state is None:
                return None
        return state

    def model(self, state, op):
        if op.status is None:
            return self.unknown(state, op)
        return {"c": self.create, "x": self.remove, "m": self.rename, "l": self.link,
                "k": self.look_up, "d": self.listing}[op.op](state, op)


REFUSALS = {"c": (EXIST,), "x": (NOENT,), "m": (NOENT,), "l": (EXIST, NOENT, STALE),
            "k": (NOENT,), "d": ()}


def folder_ops(ops):
    for op in ops:
        if op.status == JUKEBOX or (op.op in "cml" and op.status == NOSPC):
            continue
        if op.status not in (OK, None) + REFUSALS[op.op]:
            raise Violation("refused", [op])
        if op.op in "cxml" or op.status is not None:
            yield op


def put(state, name, value):
    return state[:name] + (value,) + state[name + 1:]


class Search:
    """Looks for an order from left to right: the next op is any that began before the
    first end of those that have no place yet. What must have happened is tried first, and
    what may have happened only when none of that can be next; and first with none of it, then
    with one, and so on: else what really happened drowns in what might have.

    Begins and ends of the former are in a list, in time, from which an op is taken when it
    has its place, and put back when that led nowhere."""

    def __init__(self, ops, model, state):
        self.model = model
        self.state = state
        self.ops = ops
        self.maybe = sorted((op.begin, i) for i, op in enumerate(ops) if op.end == NEVER)
        events = [(op.begin, 0, i) for i, op in enumerate(ops) if op.end != NEVER]
        events += [(op.end, 1, i) for i, op in enumerate(ops) if op.end != NEVER]
        events.sort()  # What begins when another ends is at the same time as it.
        n = len(events)
        self.left = n // 2  # So many have no place yet.
        self.events = events
        self.at = {(i, kind): e for e, (_, kind, i) in enumerate(events)}
        self.next = list(range(1, n + 1)) + [0]  # Event n is head and tail.
        self.prev = [n] + list(range(n))
        self.done = self.done_maybe = 0  # Sets of those that have a place.
        self.budget = 0  # So many more of what may have happened.
        self.wanted_more = False
        self.stack = []
        self.seen = {}
        self.steps = 0
        self.farthest = 0

    def lift(self, i):
        for kind in (0, 1):
            e = self.at[i, kind]
            self.next[self.prev[e]] = self.next[e]
            self.prev[self.next[e]] = self.prev[e]

    def unlift(self, i):
        for kind in (1, 0):
            e = self.at[i, kind]
            self.next[self.prev[e]] = e
            self.prev[self.next[e]] = e

    def fresh(self, done, done_maybe, state):
        """Whether this was not reached yet: with as much done of what must be, in the same
        state, and with no more than this done of what may be."""
        reached = self.seen.setdefault((done, state), [])
        if any(known & done_maybe == known for known in reached):
            return False
        reached.append(done_maybe)
        return True

    def take(self, i, place):
        """Op @i is next, if it can be and leads to something new. @place: where to go on
        when it led nowhere after all."""
        op = self.ops[i]
        bit = 1 << i
        after = self.model(self.state, op)
        if after is None:
            return False
        if op.end == NEVER:
            if after == self.state:
                return False
            if self.budget == 0:
                self.wanted_more = True
                return False
            if not self.fresh(self.done, self.done_maybe | bit, after):
                return False
            self.budget -= 1
            self.done_maybe |= bit
        else:
            if not self.fresh(self.done | bit, self.done_maybe, after):
                return False
            self.done |= bit
            self.left -= 1
            self.lift(i)
        self.stack.append((i, self.state, place))
        self.state = after
        return True

    def give_back(self):
        """The last one taken; its place."""
        i, self.state, place = self.stack.pop()
        bit = 1 << i
        if self.ops[i].end == NEVER:
            self.budget += 1
            self.done_maybe &= ~bit
        else:
            self.done &= ~bit
            self.left += 1
            self.unlift(i)
        return place

    def take_known(self, e):
        """One of those that begin at event @e or later, before any ends: True; else the
        event of that end."""
        while self.events[e][1] == 0:
            self.steps += 1
            if self.take(self.events[e][2], ("known", e)):
                return True, e
            e = self.next[e]
        return False, e

    def take_maybe(self, m, e):
        """The same for what may have happened, from the @m-th on; @e is the first end."""
        end = self.events[e][0]
        while m < len(self.maybe) and self.maybe[m][0] <= end:
            self.steps += 1
            begin, i = self.maybe[m]
            if not self.done_maybe >> i & 1 and self.take(i, ("maybe", m, e)):
                return True
            m += 1
        return False

    def run(self):
        """Returns if there is an order."""
        for budget in range(len(self.maybe) + 1):
            self.budget = budget
            self.wanted_more = False
            self.seen = {}
            if self.found():
                return
            if not self.wanted_more:
                break
        raise Violation("no order explains this", self.around())

    def found(self):
        """Whether there is an order with no more than what the budget allows; if not, all is
        as it was."""
        tail = len(self.events)
        e, m = self.next[tail], 0
        known = True  # What is tried: that, or from the m-th of what may have happened.
        while self.left:
            if self.steps > SEARCH_STEPS_MAX:
                raise Violation("undecided: too many orders", self.around())
            taken = False
            if known:
                taken, e = self.take_known(e)
                m = 0
            if taken or self.take_maybe(m, e):
                e, known = self.next[tail], True
                continue
            self.farthest = max(self.farthest, e)
            if not self.stack:
                return False
            place = self.give_back()
            known = place[0] == "known"
            if known:
                e = self.next[place[1]]
            else:
                m, e = place[1] + 1, place[2]
        return True

    def around(self):
        """The op that no order could take in, behind those that ended last before."""
        stuck = self.ops[self.events[self.farthest][2]]
        near = sorted((op for op in self.ops if op.begin <= stuck.end),
                      key=lambda op: min(op.end, stuck.end))
        return [op for op in near if op is not stuck][-12:] + [stuck]


def check_file(ops):
    Search(list(file_ops(ops)), file_model, ()).run()


def check_folders(ops):
    Search(list(folder_ops(ops)), Folders(ops).model, (0,) * NAMES).run()


CHECKS = {"r": check_register, "f": check_file, "d": check_folders}


def check_object(name, ops):
    """None, or what is wrong with this object's ops, which are in order of their begins."""
    try:
        CHECKS[name[0]](ops)
    except Violation as e:
        return "%s: %s" % (name, e)
    except ValueError as e:
        return "%s: results that cannot be read (%s)" % (name, e)
    return None


class Checker:
    """Of a whole history: give it the lines, then ask."""

    def __init__(self):
        self.objects = collections.defaultdict(list)
        self.violations = []
        self.counts = collections.Counter()
        self.longest = None  # The op that took longest.
        self.changes = []  # When changes were acknowledged.

    def add_lines(self, lines):
        for line in lines:
            self.add(parse(line))

    def add(self, op):
        self.objects[op.object].append(op)
        self.counts["ops"] += 1
        self.counts["unknown"] += op.status is None
        self.counts["later"] += op.status == JUKEBOX
        self.counts["no room"] += op.status == NOSPC
        self.counts["repeated"] += op.sent > 1
        self.counts["register reads"] += op.op == "R" and op.status == OK
        if op.status is None:
            return
        if op.op in "Wwtcxml" and op.status == OK:
            self.counts["changes"] += 1
            self.changes.append(op.end)
        if self.longest is None or op.end - op.begin > self.longest.end - self.longest.begin:
            self.longest = op

    def silences(self, n=5):
        """The longest times in which nobody was acknowledged a change: (seconds, when)."""
        times = sorted(self.changes)
        gaps = ((b - a, a) for a, b in zip(times, times[1:]))
        return [(gap / 1e9, at) for gap, at in heapq.nlargest(n, gaps)]

    def check(self, pool_map=map):
        items = [(name, sorted(ops)) for name, ops in sorted(self.objects.items())]
        self.violations = [v for v in pool_map(check_item, items) if v]
        return self.violations


def check_item(item):
    return check_object(*item)
