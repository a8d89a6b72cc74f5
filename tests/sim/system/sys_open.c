/* Reading a dataset back into a replica. */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "daemon/recover_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct found {
    struct journal_state state;
    struct replica_entry *entries;
    uint32_t n;
    uint32_t cap;
};

static int keep(void *ctx, const struct journal_entry *entry)
{
    struct found *found = ctx;

    if (found->n == found->cap) {
        found->cap = found->cap == 0 ? 256 : found->cap * 2;
        found->entries = realloc(found->entries, found->cap * sizeof *found->entries);
        ASSERT(found->entries != NULL);
    }
    found->entries[found->n++] = (struct replica_entry){
        .index = entry->index,
        .term = entry->term,
        .type = (enum rgroup_entry_type)entry->type,
        .head = sys_slice_copy(entry->head),
        .segment = entry->place.segment,
        .offset = entry->place.offset,
    };
    return 0;
}

static void found_clear(struct found *found)
{
    for (uint32_t i = 0; i < found->n; i++) {
        slice_unref(&found->entries[i].head);
    }
    free(found->entries);
    *found = (struct found){0};
}

static void dir_of(const struct sys_host *host, const char *below, char *out, size_t cap)
{
    (void)snprintf(out, cap, "/zone%u-%u%s", host->zone_nr,
                   (unsigned)(host->node->made_as[host->zone_nr] & 0xffff), below);
}

static int open_journal(struct sys_host *host, bool create, struct found *found)
{
    char dir[64];
    struct journal_config config = {
        .disk = simdisk_disk(host->node->disk),
        .dir = dir,
        .segment_bytes = SYS_SEGMENT_BYTES,
        .spare_segments = 1,
        .create = create,
    };

    dir_of(host, "/journal", dir, sizeof dir);
    memcpy(config.zone_id, host->sys->zones[host->zone_nr].id, 16);
    return journal_open(&config, &found->state, keep, found, &host->journal);
}

/* The same first entry on every member. */
static int bootstrap(struct sys_host *host)
{
    const struct sys_zone *zone = &host->sys->zones[host->zone_nr];
    uint8_t bytes[1024];
    size_t len = 0;
    struct journal_entry entry = {.index = 1, .term = 1, .type = RGROUP_CHANGE};
    struct journal_batch batch = {
        .has_meta = true, .term = 1, .entries = &entry, .n_entries = 1};

    ASSERT(rgroup_conf_encode(&zone->first, bytes, sizeof bytes, &len) == 0);
    entry.head = slice_borrow(bytes, len);
    return journal_append(host->journal, &batch);
}

static int open_store(struct sys_host *host, bool create)
{
    char dir[64];
    struct store_config config = {
        .disk = simdisk_disk(host->node->disk),
        .dir = dir,
        .vfs = host->node->vfs,
        .journal = host->journal,
        .create = create,
    };
    struct zone_genesis genesis = {
        .quota_bytes = 1ull << 40, .root_mode = 0777, .time_ns = 1600000000000000000};
    int rv;

    dir_of(host, "", dir, sizeof dir);
    memcpy(config.zone_id, host->sys->zones[host->zone_nr].id, 16);
    rv = store_open(&config, &host->store);
    if (rv == 0) {
        rv = zone_open(host->store, &genesis, &host->zone);
    }
    return rv;
}

/* What a crash left half-made has no marker, and is made again. */
static bool has_marker(struct sys_host *host)
{
    struct disk *disk = simdisk_disk(host->node->disk);
    struct disk_file *file = NULL;
    char path[64];

    dir_of(host, "/marker", path, sizeof path);
    if (disk->ops->open(disk, path, DISK_READ, &file) != 0) {
        return false;
    }
    disk->ops->close(disk, file);
    return true;
}

static int make_folder(struct sys_host *host)
{
    struct disk *disk = simdisk_disk(host->node->disk);
    char dir[64];
    int rv;

    dir_of(host, "", dir, sizeof dir);
    rv = disk->ops->mkdir(disk, dir);
    return rv == 0 ? disk->ops->syncdir(disk, "/") : rv;
}

static bool is_first(const struct sys_host *host)
{
    return (host->raft_id & 0xffff) == 1;
}

/* As the daemon: the journal first, the marker last. */
static int open_disk(struct sys_host *host, struct found *found)
{
    bool create;
    int rv;

    if (!host->node->made[host->zone_nr]) {
        host->node->made_as[host->zone_nr] = host->raft_id;
    }
    create = !has_marker(host);
    rv = create ? make_folder(host) : 0;

    if (create && host->node->made[host->zone_nr] && simdisk_is_on(host->node->disk)) {
        return -ENOENT; /* It was there: nothing makes it anew. */
    }
    if (rv == 0) {
        rv = open_journal(host, create, found);
    }
    if (rv == 0 && create && found->state.last_index == 0 && is_first(host)) {
        rv = bootstrap(host);
        journal_close(host->journal);
        host->journal = NULL;
        found_clear(found);
        if (rv == 0) {
            rv = open_journal(host, false, found);
        }
    }
    if (rv == 0) {
        rv = open_store(host, create);
    }
    host->node->made[host->zone_nr] = host->node->made[host->zone_nr] || rv == 0;
    return rv;
}

/* All that the one that leads has in its log happens now. */
static void log_left(struct sys_host *host, const struct found *found)
{
    struct sys_zone *zone = &host->sys->zones[host->zone_nr];
    struct sys_leap *leap = &zone->leap;

    if (leap->begun) {
        return; /* Again, after a crash in the middle of it. */
    }
    for (uint32_t i = 0; i < found->n; i++) {
        struct journal_entry entry;
        uint32_t n = 0;

        if (found->entries[i].index <= zone->n_log) {
            continue;
        }
        if (journal_fetch(host->journal, found->entries[i].index, 1, SIZE_MAX, &entry,
                          &n) != 0) {
            return;
        }
        sys_check_applied(
            host, &(struct replica_entry){.index = entry.index,
                                          .term = entry.term,
                                          .type = (enum rgroup_entry_type)entry.type,
                                          .head = entry.head,
                                          .payload = entry.payload});
        slice_unref(&entry.head);
        slice_unref(&entry.payload);
    }
    leap->begun = true;
    leap->last = found->state.last_index;
}

static int note_torn(void *ctx, uint64_t ino)
{
    struct sys_leap *leap = ctx;

    leap->torn = realloc(leap->torn, (leap->n_torn + 1) * sizeof *leap->torn);
    ASSERT(leap->torn != NULL);
    leap->torn[leap->n_torn++] = ino;
    return 0;
}

/* What it pulled may be as of entries that nobody has: what such files hold is said by no
 * log. */
static void look_for_torn(struct sys_host *host)
{
    struct sys_leap *leap = &host->sys->zones[host->zone_nr].leap;

    if (leap->n_torn == 0 && zone_ahead_index(host->zone) > leap->last &&
        store_torn_each(host->store, leap->last, note_torn, leap) == 0) {
        host->sys->counts.torn += leap->n_torn;
        sys_trace(host->sys, "zone %u: %u files are torn", host->zone_nr,
                  (unsigned)leap->n_torn);
    }
}

static void leapt(struct sys_host *host, uint64_t time_s)
{
    struct sys_zone *zone = &host->sys->zones[host->zone_nr];
    struct sys_leap *leap = &zone->leap;
    uint64_t index;

    if (!leap->begun || leap->index != 0) {
        return;
    }
    leap->index = zone_applied_index(host->zone);
    leap->term = zone_applied_term(host->zone);
    leap->time_s = time_s;
    ASSERT(zone_conf_get(host->zone, &index, &leap->conf) == 0);
    zone->n_log = leap->index;
    sys_trace(host->sys, "zone %u goes on behind %u with %llu", host->zone_nr,
              (unsigned)leap->last, (unsigned long long)leap->index);
}

/* As the daemon's host_open.c: the zone was recovered since the dataset was open last. */
static int carry(struct sys_host *host, const struct directory_member *member,
                 struct found *found)
{
    const struct directory_recovery *recovery =
        &host->sys->zones[host->zone_nr].row.recovery;
    struct recover_log what = {.raft_id = host->raft_id,
                               .label = "sim",
                               .lead = recovery->lead == host->raft_id,
                               .term_above = recovery->term,
                               .index_max = recovery->index,
                               .time_s = recovery->time_s,
                               .state = found->state,
                               .entries = found->entries,
                               .n_entries = found->n};
    bool forced = false;
    int rv;

    ASSERT(host->node->opened_as[host->zone_nr] == member->from);
    for (uint32_t i = 0; i < found->n; i++) {
        if (found->entries[i].type == RGROUP_CHANGE) {
            what.conf_index = found->entries[i].index;
            what.conf = found->entries[i].head;
        }
    }
    if (what.lead) {
        log_left(host, found);
        look_for_torn(host);
    }
    rv = recover_log(&what, host->journal, host->zone, &forced);
    if (rv == 0 && what.lead) {
        leapt(host, recovery->time_s);
    }
    if (rv != 0 || !forced) {
        return rv;
    }
    found_clear(found);
    zone_close(host->zone);
    store_close(host->store);
    journal_close(host->journal);
    host->zone = NULL;
    host->store = NULL;
    host->journal = NULL;
    rv = open_journal(host, false, found);
    return rv != 0 ? rv : open_store(host, false);
}

static uint32_t replica_mutation(enum sys_mutation mutation)
{
    if (mutation <= SYS_MUT_EARLY_REPORT) {
        return (uint32_t)mutation;
    }
    if (mutation == SYS_MUT_KEEP_ATTRS) {
        return REPLICA_MUT_KEEP_ATTRS;
    }
    if (mutation == SYS_MUT_KEEP_TOLD) {
        return REPLICA_MUT_KEEP_TOLD;
    }
    if (mutation == SYS_MUT_OWN_CLOCK) {
        return REPLICA_MUT_OWN_CLOCK;
    }
    return mutation >= SYS_MUT_LEASE_ALONE && mutation <= SYS_MUT_LEASE_KEPT
               ? (uint32_t)mutation - SYS_MUT_LEASE_ALONE + REPLICA_MUT_LEASE_ALONE
               : REPLICA_MUT_NONE;
}

static int start(struct sys_host *host, const struct found *found)
{
    struct sys *sys = host->sys;
    struct zone_snapshot snapshot = {0};
    struct replica_config config = {
        .self = host->raft_id,
        .election_ms = SYS_ELECTION_MS,
        .heartbeat_ms = SYS_HEARTBEAT_MS,
        .seed = sys_rand(sys, UINT64_MAX),
        .journal_bytes_max = sys->journal_bytes,
        .leases = sys->leases,
        .roll_call = true,
        .window_bytes = sys->window_bytes,
        .cache_bytes = sys->cache_bytes,
        .pending_bytes_max = sys->pending_bytes,
        .apply_wait_ms = sys->apply_wait_ms,
        .mutation = replica_mutation(sys->options.mutation),
    };
    struct replica_start begin = {
        .now_ms = sys_node_ms(host->node),
        .term = found->state.term,
        .vote = found->state.vote,
        .base_index = found->state.base_index,
        .base_term = found->state.base_term,
        .entries = found->entries,
        .n_entries = found->n,
        .applied_index = zone_applied_index(host->zone),
        .applied_term = zone_applied_term(host->zone),
        .zone_time_ns = zone_time_ns(host->zone),
        .marks = &host->node->marks[host->zone_nr],
    };
    struct replica_actions actions = {0};
    int rv = zone_snapshot_get(host->zone, &snapshot);

    if (rv == 0) {
        begin.has_snapshot = true;
        begin.snapshot = (struct rgroup_snapshot){.index = snapshot.index,
                                                  .term = snapshot.term,
                                                  .conf_index = snapshot.conf_index,
                                                  .conf = snapshot.conf->data,
                                                  .conf_len = snapshot.conf->len};
    } else if (rv != OUT_NOENT) {
        return rv;
    }
    sys_trace(sys, "n%u z%u opens: term %u base %u last %u applied %u snapshot %u",
              (unsigned)host->node->number, host->zone_nr, (unsigned)begin.term,
              (unsigned)begin.base_index, (unsigned)(begin.base_index + begin.n_entries),
              (unsigned)begin.applied_index, (unsigned)snapshot.index);
    rv = replica_new(&config, &begin, &actions, &host->replica);
    buf_unref(snapshot.conf);
    if (rv == 0) {
        sys_host_actions(host, &actions);
    } else {
        replica_actions_deinit(&actions);
    }
    return rv;
}

int sys_host_open(struct sys_node *node, uint32_t zone_nr)
{
    struct sys_host *host = sys_alloc(1, sizeof *host);
    const struct directory_member *member;
    struct found found = {0};
    int rv;

    host->sys = node->sys;
    host->node = node;
    host->zone_nr = zone_nr;
    host->raft_id = sys_member_id(&node->sys->zones[zone_nr], node->number);
    host->serial = ++node->sys->serial;
    host->tick_at_us = UINT64_MAX;
    node->hosts[zone_nr] = host;
    member = sys_member_of(&node->sys->zones[zone_nr], node->number);
    rv = open_disk(host, &found);
    if (rv == 0 && member->from != 0 && node->opened_as[zone_nr] != host->raft_id) {
        rv = carry(host, member, &found);
    }
    if (rv == 0) {
        node->opened_as[zone_nr] = host->raft_id;
        rv = start(host, &found);
    }
    if (rv == 0 && journal_bad(host->journal, &(uint64_t){0})) {
        node->sys->counts.stepped++;
    }
    if (rv == 0) {
        sys_damage_unapplied(host, found.entries, found.n); /* Nothing was read yet. */
    }
    found_clear(&found);
    return rv;
}

void sys_host_close(struct sys_host *host)
{
    if (host == NULL) {
        return;
    }
    replica_free(host->replica);
    sys_jobs_drop(host);
    sys_pull_close(host);
    sys_heal_close(host);
    while (host->asks != NULL) {
        struct sys_ask *ask = host->asks;

        host->asks = ask->next;
        slice_unref(&ask->op);
        free(ask);
    }
    zone_close(host->zone);
    if (host->failed) {
        store_drop(host->store);
    } else {
        store_close(host->store);
    }
    journal_close(host->journal);
    free(host);
}
