"""docs/churn.md and its plots, from the samples of bench/churn."""

import os

import svg

MIB = 1 << 20
TEXT = """# Churn

    bench/churn --seconds %(asked)d --live %(live_mib)d --rate %(rate)d --csv FILE --docs

Three daemons, one zone of three members. Twelve processes make, overwrite, extend, cut, rename
and remove files through all nodes for %(minutes).0f minutes (%(steps)s steps, %(written).1f GiB
written), each one acknowledged step after the other, keeping about the same amount of data. Each
knows what must be there: at the end all of it is read back through another node. Then nobody
asks for anything any more (the dashed line) until what was unlinked is gone, ten minutes later.
The machine (%(machine)s) had other work at the same time: rates say nothing here.

## Disk
After the rest each member holds the live data and at most a tenth more, and what is bounded
(`docs/architecture.md`): journal and WAL.

| member | live data | data | meta.db | its WAL | journal | all | bound: live + 10%% + %(journal_bound)d MiB |
|---|---|---|---|---|---|---|---|
%(disk_table)s
%(note)s
Until then unlinked files stay for ten minutes: what is above the live data in the first plot
is what the load removed within these.

![disk use of one member](img/churn-disk.svg)
![meta.db](img/churn-meta.svg)

## Memory, descriptors, threads

| daemon | resident after 5 minutes | at the end of the load | peak | descriptors, most | threads |
|---|---|---|---|---|---|
%(memory_table)s

![resident memory](img/churn-memory.svg)
![descriptors and threads](img/churn-fds.svg)

## Rows
What the tables of `meta.db` hold. Requests and replies (`rpc`, `reply`) go when they are answered
or two minutes old, `orphan` are unlinked files, `kv` has one row for each start of a node that
sent something.

| table | most | at the end |
|---|---|---|
%(rows_table)s

![rows](img/churn-rows.svg)
"""


def of_node(samples, node, value):
    return [(s["s"], value(s)) for s in samples if s["node"] == node]


def nodes_of(samples):
    return sorted({s["node"] for s in samples})


def plots(folder, samples, rows, result):
    os.makedirs(folder, exist_ok=True)
    end = max(s["s"] for s in samples)
    marks = [(result["stopped"], "no load")]
    nodes = nodes_of(samples)
    first = nodes[0]

    def mib(name):
        return lambda s: s[name] / MIB

    svg.chart(os.path.join(folder, "churn-disk.svg"), "Disk, one member", {
        "live data": of_node(samples, first, mib("live")),
        "counted by the zone": of_node(samples, first, mib("used")),
        "data": of_node(samples, first, mib("data")),
        "journal": of_node(samples, first, mib("journal"))}, "MiB", end, marks)
    svg.chart(os.path.join(folder, "churn-meta.svg"), "meta.db and its WAL", {
        **{n: of_node(samples, n, mib("meta")) for n in nodes},
        "WAL": of_node(samples, first, mib("wal"))}, "MiB", end, marks)
    svg.chart(os.path.join(folder, "churn-memory.svg"), "Resident memory", {
        n: of_node(samples, n, lambda s: s["rss_kib"] / 1024) for n in nodes}, "MiB", end, marks)
    svg.chart(os.path.join(folder, "churn-fds.svg"), "Descriptors and threads", {
        **{n: of_node(samples, n, lambda s: s["fds"]) for n in nodes},
        "threads": of_node(samples, first, lambda s: s["threads"])}, "", end, marks)
    shown = ("inode", "orphan", "rpc", "block", "inline")
    svg.chart(os.path.join(folder, "churn-rows.svg"), "Rows, of members in turn", {
        t: sorted((r["s"], r["n"]) for r in rows if r["table"] == t) for t in shown},
        "", end, marks)


def write(docs, samples, rows, result):
    plots(os.path.join(docs, "img"), samples, rows, result)
    nodes = nodes_of(samples)
    last = {n: [s for s in samples if s["node"] == n][-1] for n in nodes}
    disk = []
    memory = []
    for n in nodes:
        s = last[n]
        parts = [s[k] / MIB for k in ("data", "meta", "wal", "journal")]
        disk.append("| %s | %.0f | %s | %.0f | %.0f |" % (
            n, result["live"] / MIB, " | ".join("%.0f" % p for p in parts), sum(parts),
            result["live"] * 1.1 / MIB + result["journal_bound"] / MIB))
        loaded = [x for x in samples if x["node"] == n and x["s"] <= result["stopped"]]
        early = next((x for x in loaded if x["s"] >= 300), loaded[0])
        memory.append("| %s | %.0f MiB | %.0f MiB | %.0f MiB | %d | %d |" % (
            n, early["rss_kib"] / 1024, loaded[-1]["rss_kib"] / 1024, s["hwm_kib"] / 1024,
            max(x["fds"] for x in loaded), max(x["threads"] for x in loaded)))
    table = []
    for t in dict.fromkeys(r["table"] for r in rows):
        mine = [r for r in rows if r["table"] == t]
        table.append("| %s | %d | %d |" % (t, max(r["n"] for r in mine), mine[-1]["n"]))
    with open(os.path.join(docs, "churn.md"), "w", encoding="utf-8") as f:
        f.write(TEXT % {
            "asked": result["seconds"], "live_mib": result["live_mib"], "rate": result["rate"],
            "minutes": result["stopped"] / 60, "machine": result["machine"],
            "steps": "{:,}".format(int(samples[-1]["steps"])),
            "written": samples[-1]["written"] / 2**30,
            "journal_bound": result["journal_bound"] / MIB, "disk_table": "\n".join(disk),
            "note": "\n%s\n" % result["note"] if result.get("note") else "",
            "memory_table": "\n".join(memory), "rows_table": "\n".join(table)})
