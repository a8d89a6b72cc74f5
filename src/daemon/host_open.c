/*
 * host_open: reading a dataset back into a replica, on the zone's thread.
 */
#include "daemon/host_internal.h"

#include "base/log.h"
#include "base/outcome.h"
#include "daemon/dataset.h"
#include "daemon/event.h"
#include "daemon/recover_log.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct open_job {
    struct host_job base;
    const char *step; /* What failed. */
    struct journal_state state;
    struct replica_entry *entries;
    uint32_t n_entries;
    uint32_t cap;
    bool has_snapshot;
    struct zone_snapshot snapshot;
    struct zone_usage usage;
    uint64_t dataset_bytes;
    uint64_t ahead_index;
    uint64_t n_torn; /* Files with a part of what the recovery lost. */
};

static int keep_entry(void *ctx, const struct journal_entry *entry)
{
    struct open_job *job = ctx;
    struct buf *head;

    if (job->n_entries == job->cap) {
        uint32_t cap = job->cap == 0 ? 1024 : job->cap * 2;
        struct replica_entry *more = realloc(job->entries, cap * sizeof *more);

        if (more == NULL) {
            return -ENOMEM;
        }
        job->entries = more;
        job->cap = cap;
    }
    head = buf_copy(entry->head.data, entry->head.len);
    if (head == NULL) {
        return -ENOMEM;
    }
    job->entries[job->n_entries++] = (struct replica_entry){
        .index = entry->index,
        .term = entry->term,
        .type = (enum rgroup_entry_type)entry->type,
        .head = slice_of(head, 0, head->len),
        .segment = entry->place.segment,
        .offset = entry->place.offset,
    };
    buf_unref(head);
    return 0;
}

/* The same first entry on every initial member (libraft-step: bootstrap). */
static int write_bootstrap(struct host *host)
{
    struct journal_entry entry = {
        .index = 1,
        .term = 1,
        .type = RGROUP_CHANGE,
        .head = host->bootstrap,
    };
    struct journal_batch batch = {
        .has_meta = true,
        .term = 1,
        .entries = &entry,
        .n_entries = 1,
    };

    return journal_append(host->disk.journal, &batch);
}

static int open_journal(struct host *host, struct open_job *job, bool create)
{
    struct journal_config config = {
        .disk = host->config.disk,
        .dir = host->config.journal,
        .segment_bytes = HOST_SEGMENT_BYTES,
        .spare_segments = host_spares(host),
        .create = create,
    };

    memcpy(config.zone_id, host->config.zone_id, sizeof config.zone_id);
    job->step = "open the journal";
    return journal_open(&config, &job->state, keep_entry, job, &host->disk.journal);
}

static bool has_file(struct host *host, const char *path)
{
    struct disk_file *file = NULL;

    if (host->config.disk->ops->open(host->config.disk, path, DISK_READ, &file) != 0) {
        return false;
    }
    host->config.disk->ops->close(host->config.disk, file);
    return true;
}

static void drop_entries(struct open_job *job)
{
    for (uint32_t i = 0; i < job->n_entries; i++) {
        slice_unref(&job->entries[i].head);
    }
    job->n_entries = 0;
}

static int open_store(struct host *host, struct open_job *job, bool create)
{
    struct store_config config = {
        .disk = host->config.disk,
        .dir = host->config.dir,
        .journal = host->disk.journal,
        .create = create,
    };
    int rv;

    memcpy(config.zone_id, host->config.zone_id, sizeof config.zone_id);
    job->step = "open the store";
    rv = store_open(&config, &host->disk.store);
    if (rv == -EFBIG) {
        job->step = "keep files of 8 TiB";
    }
    if (rv == 0) {
        job->step = "read the zone's rows";
        rv = zone_open(host->disk.store, &host->config.genesis, &host->disk.zone);
    }
    return rv;
}

/* 0, or a fault. -ENOENT: a dataset that a crash left half-made, which is made again, or
 * none. */
static int find_marker(struct host *host)
{
    char path[HOST_PATH_MAX + 8];
    struct disk_file *file = NULL;
    int rv;

    snprintf(path, sizeof path, "%s/marker", host->config.dir);
    rv = host->config.disk->ops->open(host->config.disk, path, DISK_READ, &file);
    if (rv == 0) {
        host->config.disk->ops->close(host->config.disk, file);
    }
    return rv == -ENOTDIR ? -ENOENT : rv;
}

/* A pool that is not mounted has no datasets, and is given none. */
static bool may_create(struct host *host)
{
    return host->config.create &&
           (host->config.mounted[0] == '\0' || has_file(host, host->config.mounted)) &&
           (host->config.journal_mounted[0] == '\0' ||
            has_file(host, host->config.journal_mounted));
}

/* Journal first, marker last: a marker says that everything is there. */
static int open_all(struct host *host, struct open_job *job)
{
    int rv = find_marker(host);
    bool create = rv == -ENOENT;

    if (rv != 0 && !create) {
        job->step = "read the marker"; /* A broken disk is not one that is away. */
        return rv;
    }
    if (create && !may_create(host)) {
        job->step = "find the dataset";
        return -ENOENT;
    }
    if (host->config.disk == disk_posix()) {
        job->step = "use a dataset with symbolic links";
        rv = dataset_check_links(host->config.dir);
        if (rv != 0) {
            return rv;
        }
    }
    if (create) {
        job->step = "make a dataset";
        rv = dataset_make_begin(host->config.disk, host->config.dir, host->config.journal,
                                host->config.zone_id);
        if (rv != 0) {
            return rv;
        }
    }
    rv = open_journal(host, job, create);
    if (rv == 0 && create && host->bootstrap.len > 0 && job->state.last_index == 0) {
        job->step = "write the first entry";
        rv = write_bootstrap(host);
        if (rv == 0) {
            journal_close(host->disk.journal);
            host->disk.journal = NULL;
            rv = open_journal(host, job, false);
        }
    }
    if (rv == 0) {
        rv = open_store(host, job, create);
    }
    if (rv == 0 && create) {
        dataset_make_end(host->config.disk, host->config.dir);
    }
    return rv;
}

/* A member of a recovered zone: make its log what it must be, then read that. */
static int recover(struct host *host, struct open_job *job)
{
    const struct host_recovery *recovery = &host->config.recovery;
    struct recover_log what = {
        .raft_id = host->config.raft_id,
        .label = host->config.label,
        .lead = recovery->lead,
        .term_above = recovery->term_above,
        .index_max = recovery->index_max,
        .time_s = recovery->time_s,
        .state = job->state,
        .entries = job->entries,
        .n_entries = job->n_entries,
    };
    bool forced = false;
    int rv;

    for (uint32_t i = 0; i < job->n_entries; i++) {
        if (job->entries[i].type == RGROUP_CHANGE) {
            what.conf_index = job->entries[i].index;
            what.conf = job->entries[i].head;
        }
    }
    if (what.lead && zone_ahead_index(host->disk.zone) > job->state.last_index) {
        job->step = "name the files with parts of what is lost";
        rv = host_torn_write(host, job->state.last_index, &job->n_torn);
        if (rv != 0) {
            return rv;
        }
    }
    job->step = "go on after the recovery";
    rv = recover_log(&what, host->disk.journal, host->disk.zone, &forced);
    if (rv != 0 || !forced) {
        return rv;
    }
    drop_entries(job);
    zone_close(host->disk.zone);
    store_close(host->disk.store);
    journal_close(host->disk.journal);
    host->disk = (struct host_disk){0};
    rv = open_journal(host, job, false);
    return rv != 0 ? rv : open_store(host, job, false);
}

/* What was opened on the way is closed: the folder may be moved, or come back. */
static void close_disk(struct host *host)
{
    zone_close(host->disk.zone);
    if (host->disk.store != NULL) {
        store_close(host->disk.store);
    }
    if (host->disk.journal != NULL) {
        journal_close(host->disk.journal);
    }
    host->disk = (struct host_disk){0};
}

static void run_open(struct job *job)
{
    struct open_job *open = (struct open_job *)job;
    struct host *host = open->base.host;
    int rv;

    host_room_for_opening(host);
    rv = open_all(host, open);
    if (rv == 0 && host->config.recovery.carried) {
        rv = recover(host, open);
    }
    if (rv == 0) {
        rv = zone_snapshot_get(host->disk.zone, &open->snapshot);
        open->has_snapshot = rv == 0;
        rv = rv == OUT_NOENT ? 0 : rv;
        if (open->has_snapshot && open->snapshot.conf == NULL) {
            rv = -EUCLEAN; /* Each log begins with a configuration. */
        }
    }
    if (rv == 0) {
        zone_usage(host->disk.zone, &open->usage);
        open->ahead_index = zone_ahead_index(host->disk.zone);
        rv = store_disk_bytes(host->disk.store, &open->dataset_bytes);
    }
    if (rv == 0) {
        host_there_open(host);
        atomic_store(&host->idle_journal, host->disk.journal);
    }
    if (rv != 0) {
        close_disk(host);
    }
    open->base.rv = rv;
}

static int start_replica(struct host *host, struct open_job *job)
{
    struct replica_config config = {
        .self = host->config.raft_id,
        .election_ms = host->config.election_ms,
        .heartbeat_ms = host->config.heartbeat_ms,
        .seed = host->config.seed,
        .journal_bytes_max = host->config.journal_bytes_max,
        .leases = host->config.leases,
        .roll_call = true,
        .apply_wait_ms = HOST_APPLY_WAIT_MS,
    };
    struct replica_start start = {
        .now_ms = host_now_ms(),
        .term = job->state.term,
        .vote = job->state.vote,
        .has_snapshot = job->has_snapshot,
        .base_index = job->state.base_index,
        .base_term = job->state.base_term,
        .entries = job->entries,
        .n_entries = job->n_entries,
        .applied_index = zone_applied_index(host->disk.zone),
        .applied_term = zone_applied_term(host->disk.zone),
        .zone_time_ns = zone_time_ns(host->disk.zone),
        .marks = &host->config.marks,
    };

    if (job->has_snapshot) {
        start.snapshot = (struct rgroup_snapshot){
            .index = job->snapshot.index,
            .term = job->snapshot.term,
            .conf_index = job->snapshot.conf_index,
            .conf = job->snapshot.conf->data,
            .conf_len = job->snapshot.conf->len,
        };
    }
    return replica_new(&config, &start, &host->actions, &host->replica);
}

/* It was tried again: does it fail for the reason that is known? */
static bool fails_still(struct host *host, int rv, const char *reason)
{
    if (host->state != HOST_FAILED || host->fault != rv ||
        strlen(reason) != host->reason_len ||
        memcmp(host->reason, reason, host->reason_len) != 0) {
        return false;
    }
    host->reason[host->reason_len] = '\0'; /* When it is tried next is said anew. */
    log_info("daemon", "msg=\"still: %s\" zone=%s", host->reason, host->config.label);
    return true;
}

static void open_failed(struct host *host, const struct open_job *job)
{
    char reason[HOST_REASON_MAX];

    if (job->base.rv == -ENOENT && host->state == HOST_NO_DATA) {
        return; /* Still. */
    }
    if (job->base.rv == -ENOENT) {
        snprintf(
            host->reason, sizeof host->reason,
            "no dataset in %.100s: mount it; if it is gone for good, see gvraft zone "
            "rebuild",
            host->config.dir);
        host->reason_len = strlen(host->reason);
        host->state = HOST_NO_DATA;
        host->fault = 0;
        event_tell(EVENT_NO_DATA, host->config.label, "%s", host->reason);
        host->callbacks.note(host->callbacks.ctx, host);
        return;
    }
    snprintf(reason, sizeof reason, "could not %s in %.120s: %s", job->step,
             host->config.dir, host_fault_text(job->base.rv));
    if (fails_still(host, job->base.rv, reason)) {
        return;
    }
    host->stale = job->base.rv == -ESTALE;
    host->state = HOST_OPENING;
    host_fault(host, job->base.rv, "%s", reason);
}

static void tell_torn(const struct host *host, uint64_t n)
{
    char path[HOST_PATH_MAX + 8];

    host_torn_path(host, path, sizeof path);
    event_tell(EVENT_RECOVERED, host->config.label,
               "%llu %s a part of what was lost: %.200s names %s", (unsigned long long)n,
               n == 1 ? "file has" : "files have", path, n == 1 ? "it" : "them");
}

static void done_open(struct job *job)
{
    struct open_job *open = (struct open_job *)job;
    struct host *host = open->base.host;

    host->opened = open->base.rv == 0;
    if (!host->opening) {
        /* It failed meanwhile, for another reason. */
    } else if (open->base.rv != 0) {
        host->opening = false;
        open_failed(host, open);
    } else if (!host->closing) {
        int rv = start_replica(host, open);

        host->opening = false;
        if (open->n_torn > 0) {
            tell_torn(host, open->n_torn);
        }
        host->usage = open->usage;
        host->dataset_bytes = open->dataset_bytes;
        host->ahead_index = open->ahead_index;
        host->journal_bytes = journal_bytes(host->disk.journal);
        if (rv != 0) {
            host->state = HOST_OPENING;
            host_fault(host, rv, "could not start consensus: %s", host_fault_text(rv));
        } else {
            host->state = HOST_RUNNING;
            host->fault = 0;
            host->reason[0] = '\0';
            host->reason_len = 0;
            host->settle_rest = true; /* As the replica believes. */
            host->stepping = true;
            host_act(host);
            host->stepping = false;
            host->callbacks.note(host->callbacks.ctx, host);
            host_step(host, &(struct replica_event){.type = REPLICA_EV_TICK});
        }
    }
    drop_entries(open);
    free(open->entries);
    buf_unref(open->snapshot.conf);
    host_job_end(&open->base);
}

void host_begin_opening(struct host *host)
{
    struct open_job *job = calloc(1, sizeof *job);

    if (job == NULL) {
        host_fault(host, -ENOMEM, "out of memory");
        return;
    }
    host->opening = true;
    host_post_zone(host, &job->base, run_open, done_open);
}
