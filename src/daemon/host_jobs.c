/*
 * host_jobs: what a replica asks for that needs a disk, as jobs for the two threads.
 */
#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tell the replica how much journal there is. */
void host_report_disk(struct host *host, uint64_t extent_segment)
{
    struct replica_event event = {.type = REPLICA_EV_DISK,
                                  .low = host->low,
                                  .journal_bytes = host->journal_bytes,
                                  .extent_segment = extent_segment,
                                  .settle_rest = host->settle_rest,
                                  .settle_more = host->settle_more};

    if (host->replica == NULL) {
        return;
    }
    event.bad = journal_bad(host->disk.journal, &event.bad_index);
    host->journal_bad = event.bad;
    host_step(host, &event);
}

enum settle_what {
    SETTLE_ALL = 0,
    SETTLE_REST = 1, /* Only what does not hold the journal. */
    SETTLE_WAL = 2,  /* Only the rows' write-ahead log. */
};
/* @action: the replica's, if it asks for it. */
static void begin_settle(struct host *host, enum settle_what what,
                         const struct replica_action *action);

/* Journal: append and sync. */

struct append_job {
    struct host_job base;
    uint64_t ticket;
    struct journal_batch batch;
    struct replica_place *places;
    uint64_t journal_bytes;
    struct host_space space;
    uint64_t took_us;
};

#define SPACE_EVERY_MS 100u

static void run_append(struct job *job)
{
    struct append_job *append = (struct append_job *)job;
    struct host *host = append->base.host;
    uint64_t now_ms = host_now_ms();
    uint64_t begun_ns = uv_hrtime();

    append->base.rv = journal_append(host->disk.journal, &append->batch);
    append->took_us = (uv_hrtime() - begun_ns) / 1000;
    if (now_ms > host->append_look_ms + SPACE_EVERY_MS) {
        host->append_look_ms = now_ms;
        if (host_space(host, &append->space) != 0) {
            append->space = (struct host_space){0};
        }
    }
    append->journal_bytes = journal_bytes(host->disk.journal);
}

static void done_append(struct job *job)
{
    struct append_job *append = (struct append_job *)job;
    struct host *host = append->base.host;
    struct replica_event event = {
        .type = REPLICA_EV_JOURNALED,
        .ticket = append->ticket,
        .rv = append->base.rv,
        .places = append->places,
        .n_entries = append->batch.n_entries,
    };

    for (uint32_t i = 0; i < append->batch.n_entries; i++) {
        append->places[i].segment = append->batch.entries[i].place.segment;
        append->places[i].offset = append->batch.entries[i].place.offset;
        append->places[i].crc = append->batch.entries[i].place.crc;
        slice_unref(&append->batch.entries[i].head);
        slice_unref(&append->batch.entries[i].payload);
    }
    host_sync_ended(host, append->took_us);
    host->journal_bytes = append->journal_bytes;
    host_room_seen(host, &append->space);
    (void)host_no_room(host, append->base.rv); /* The replica knows what to do. */
    host_step(host, &event);
    free(append->batch.entries);
    free(append->places);
    host_job_end(&append->base);
}

void host_do_journal(struct host *host, struct replica_action *action)
{
    struct append_job *job = calloc(1, sizeof *job);

    if (job != NULL && action->n > 0) {
        job->batch.entries = calloc(action->n, sizeof *job->batch.entries);
        job->places = calloc(action->n, sizeof *job->places);
    }
    if (job == NULL ||
        (action->n > 0 && (job->batch.entries == NULL || job->places == NULL))) {
        host_fault(host, -ENOMEM, "out of memory");
        if (job != NULL) {
            free(job->batch.entries);
            free(job->places);
        }
        free(job);
        return;
    }
    job->ticket = action->ticket;
    job->batch.has_meta = action->has_meta;
    job->batch.term = action->term;
    job->batch.vote = action->vote;
    job->batch.has_base = action->has_base;
    job->batch.unread = action->unread;
    job->batch.base_index = action->base_index;
    job->batch.base_term = action->base_term;
    job->batch.n_entries = action->n;
    for (uint32_t i = 0; i < action->n; i++) {
        job->batch.entries[i] = (struct journal_entry){
            .index = action->entries[i].index,
            .term = action->entries[i].term,
            .type = (uint8_t)action->entries[i].type,
            .head = slice_ref(action->entries[i].head),
            .payload = slice_ref(action->entries[i].payload),
        };
    }
    host_sync_begun(host);
    if (action->calm) {
        host_post_calm(host, &job->base, run_append, done_append);
    } else {
        host_post_journal(host, &job->base, run_append, done_append);
    }
}

/* Zone: apply. */

struct apply_job {
    struct host_job base;
    struct zone_apply_item *items;
    struct replica_result *results;
    uint32_t n;
    bool wants_results;
    struct zone_usage usage;
    uint64_t unsettled_bytes;
    uint64_t dataset_bytes;
    uint64_t now_ms;
    int64_t due_ns;
    bool settle_rest;
    bool wal_is_long;
};

static void apply_encode(struct apply_job *apply)
{
    for (uint32_t i = 0; i < apply->n && apply->base.rv == 0; i++) {
        struct buf *head = NULL;
        const struct store_touched *touched = &apply->items[i].touched;

        if (touched->n <= STORE_TOUCHED_MAX) {
            apply->results[i].touched = touched->ino;
            apply->results[i].n_touched = touched->n;
        }
        if (apply->items[i].kind != ZONE_APPLY_COMMAND) {
            continue;
        }
        if (!apply->items[i].duplicate) {
            apply->results[i].own = &apply->items[i].result;
        }
        if (apply->wants_results) {
            apply->base.rv = zone_result_encode(&apply->items[i].result, &head);
        }
        if (head != NULL) {
            apply->results[i].result = slice_of(head, 0, head->len);
            apply->results[i].data = slice_ref(apply->items[i].result.data);
            buf_unref(head);
        }
    }
}

#define DATASET_SIZE_EVERY_MS 2000u

static void run_apply(struct job *job)
{
    struct apply_job *apply = (struct apply_job *)job;
    struct host *host = apply->base.host;

    apply->base.rv = zone_apply(host->disk.zone, apply->items, apply->n);
    if (apply->base.rv == 0) {
        apply_encode(apply);
    }
    if (apply->base.rv == 0) {
        apply->base.rv = zone_due(host->disk.zone, &apply->due_ns);
    }
    zone_usage(host->disk.zone, &apply->usage);
    apply->unsettled_bytes = store_unsettled_bytes(host->disk.store);
    apply->settle_rest = store_settle_rest(host->disk.store);
    apply->wal_is_long = store_wal_is_long(host->disk.store);
    if (apply->now_ms > host->report_ms + DATASET_SIZE_EVERY_MS) {
        host->report_ms = apply->now_ms;
        if (store_disk_bytes(host->disk.store, &apply->dataset_bytes) != 0) {
            apply->dataset_bytes = 0;
        }
    }
}

static void done_apply(struct job *job)
{
    struct apply_job *apply = (struct apply_job *)job;
    struct host *host = apply->base.host;
    struct replica_event event = {
        .type = REPLICA_EV_APPLIED,
        .rv = apply->base.rv,
        .index = apply->items[apply->n - 1].index,
        .results = apply->results,
        .n_entries = apply->n,
        .due_ns = apply->due_ns,
    };

    host->usage = apply->usage;
    host->unsettled_bytes = apply->unsettled_bytes;
    host->settle_rest = apply->settle_rest;
    (void)host_no_room(host, apply->base.rv);
    if (apply->dataset_bytes != 0) {
        host->dataset_bytes = apply->dataset_bytes;
    }
    if (apply->base.rv == 0) {
        host_digest_applied(host, event.index);
        host_commit_later(host, host_now_ms());
    }
    host_step(host, &event);
    if (apply->base.rv == 0) {
        host->callbacks.applied(host->callbacks.ctx, host);
        host_heal_applied(host, event.index);
        host_report_disk(host, UINT64_MAX);
        if (apply->wal_is_long) {
            begin_settle(host, SETTLE_WAL,
                         false); /* Of this disk alone: nobody else decides. */
        }
    }
    for (uint32_t i = 0; i < apply->n; i++) {
        slice_unref(&apply->items[i].head);
        slice_unref(&apply->items[i].payload);
        zone_result_clear(&apply->items[i].result);
        slice_unref(&apply->results[i].result);
        slice_unref(&apply->results[i].data);
    }
    free(apply->items);
    free(apply->results);
    host_job_end(&apply->base);
}

static enum zone_apply_kind apply_kind(enum rgroup_entry_type type)
{
    switch (type) {
    case RGROUP_COMMAND:
        return ZONE_APPLY_COMMAND;
    case RGROUP_CHANGE:
        return ZONE_APPLY_CHANGE;
    case RGROUP_BARRIER:
        break;
    }
    return ZONE_APPLY_BARRIER;
}

void host_do_apply(struct host *host, struct replica_action *action)
{
    struct apply_job *job = calloc(1, sizeof *job);

    ASSERT(action->n > 0);
    if (job != NULL) {
        job->items = calloc(action->n, sizeof *job->items);
        job->results = calloc(action->n, sizeof *job->results);
    }
    if (job == NULL || job->items == NULL || job->results == NULL) {
        host_fault(host, -ENOMEM, "out of memory");
        if (job != NULL) {
            free(job->items);
            free(job->results);
        }
        free(job);
        return;
    }
    job->n = action->n;
    job->wants_results = host_is_leader(host);
    job->now_ms = host_now_ms();
    for (uint32_t i = 0; i < action->n; i++) {
        const struct replica_entry *entry = &action->entries[i];

        job->items[i] = (struct zone_apply_item){
            .index = entry->index,
            .term = entry->term,
            .kind = apply_kind(entry->type),
            .head = slice_ref(entry->head),
            .payload = slice_ref(entry->payload),
            .place = {.segment = entry->segment,
                      .offset = entry->offset,
                      .crc = entry->crc},
        };
    }
    host_post_zone(host, &job->base, run_apply, done_apply);
}

/* Zone: read entries of the log back. */

struct fetch_job {
    struct host_job base;
    uint64_t first;
    uint32_t n;
    size_t bytes;
    struct journal_entry *entries;
    uint32_t got;
};

static void run_fetch(struct job *job)
{
    struct fetch_job *fetch = (struct fetch_job *)job;

    fetch->base.rv = journal_fetch(fetch->base.host->disk.journal, fetch->first, fetch->n,
                                   fetch->bytes, fetch->entries, &fetch->got);
}

static void done_fetch(struct job *job)
{
    struct fetch_job *fetch = (struct fetch_job *)job;
    struct host *host = fetch->base.host;
    struct replica_entry *entries = calloc(fetch->n, sizeof *entries);
    struct replica_event event = {
        .type = REPLICA_EV_FETCHED,
        .rv = entries == NULL ? -ENOMEM : fetch->base.rv,
        .index = fetch->first,
        .entries = entries,
        .n_entries = fetch->got,
    };

    for (uint32_t i = 0; entries != NULL && i < fetch->got; i++) {
        entries[i] = (struct replica_entry){
            .index = fetch->entries[i].index,
            .term = fetch->entries[i].term,
            .type = (enum rgroup_entry_type)fetch->entries[i].type,
            .head = fetch->entries[i].head,
            .payload = fetch->entries[i].payload,
            .segment = fetch->entries[i].place.segment,
            .offset = fetch->entries[i].place.offset,
            .crc = fetch->entries[i].place.crc,
        };
    }
    host_step(host, &event);
    for (uint32_t i = 0; i < fetch->got; i++) {
        slice_unref(&fetch->entries[i].head);
        slice_unref(&fetch->entries[i].payload);
    }
    free(entries);
    free(fetch->entries);
    host_job_end(&fetch->base);
}

void host_do_fetch(struct host *host, const struct replica_action *action)
{
    struct fetch_job *job = calloc(1, sizeof *job);

    if (job != NULL) {
        job->entries = calloc(action->n, sizeof *job->entries);
    }
    if (job == NULL || job->entries == NULL) {
        free(job);
        host_fault(host, -ENOMEM, "out of memory");
        return;
    }
    job->first = action->index;
    job->n = action->n;
    job->bytes = action->bytes;
    host_post_zone(host, &job->base, run_fetch, done_fetch);
}

/* Zone: all pairs. */

struct pairs_job {
    struct host_job base;
    struct buf *pairs;
    uint64_t index;
    void (*done)(void *arg, int rv, struct slice pairs, uint64_t index);
    void *arg;
};

/* Append @page's records to @all. */
static int keep_page(struct buf **all, struct slice page)
{
    size_t had = *all == NULL ? 0 : (*all)->len;
    struct buf *grown;

    if (had + page.len > HOST_PAIRS_BYTES_MAX) {
        return -EFBIG;
    }
    if (*all == NULL || page.len > (*all)->cap - had) {
        grown = buf_new(2 * had + page.len);
        if (grown == NULL) {
            return -ENOMEM;
        }
        if (had > 0) {
            memcpy(grown->data, (*all)->data, had);
        }
        grown->len = had;
        buf_unref(*all);
        *all = grown;
    }
    if (page.len > 0) {
        memcpy((*all)->data + had, page.data, page.len);
        (*all)->len += page.len;
    }
    return 0;
}

/* The key of the last of a page's records. */
static struct slice last_key(struct slice page)
{
    struct wire_dec dec = wire_dec(page.data, page.len);
    struct slice key = {0};
    struct zone_kv pair;

    while (zone_kv_get(&dec, &pair)) {
        key = pair.key;
    }
    return key;
}

/* A page at a time; nothing is applied in between, since this is the zone's thread. */
static void run_pairs(struct job *base)
{
    struct pairs_job *job = (struct pairs_job *)base;
    struct zone_op op = {.type = ZONE_OP_KV_GET};
    struct zone_result page = {0};
    int rv;

    do {
        struct zone_result next;

        rv = zone_read(job->base.host->disk.zone, &op, &next);
        if (rv == 0 && next.outcome != 0) {
            rv = -EIO;
        }
        zone_result_clear(&page); /* It held op.to_name. */
        page = next;
        if (rv == 0) {
            rv = keep_page(&job->pairs, page.data);
            op.to_name = last_key(page.data);
        }
    } while (rv == 0 && !page.eof);
    job->index = page.index;
    job->base.rv = rv;
    zone_result_clear(&page);
}

static void done_pairs(struct job *base)
{
    struct pairs_job *job = (struct pairs_job *)base;

    job->done(job->arg, job->base.rv,
              job->pairs == NULL ? (struct slice){0}
                                 : slice_borrow(job->pairs->data, job->pairs->len),
              job->index);
    buf_unref(job->pairs);
    host_job_end(&job->base);
}

void host_read_pairs(struct host *host,
                     void (*done)(void *arg, int rv, struct slice pairs, uint64_t index),
                     void *arg)
{
    struct pairs_job *job = NULL;

    if (host->replica != NULL && !host->closing) {
        job = calloc(1, sizeof *job);
    }
    if (job == NULL) {
        done(arg, -EAGAIN, (struct slice){0}, 0);
        return;
    }
    job->done = done;
    job->arg = arg;
    host_post_zone(host, &job->base, run_pairs, done_pairs);
}

/* Zone: snapshot descriptor and compaction. */

struct snapshot_job {
    struct host_job base;
    struct zone_snapshot snapshot;
};

static void run_snapshot(struct job *job)
{
    struct snapshot_job *snapshot = (struct snapshot_job *)job;

    snapshot->base.rv =
        zone_snapshot(snapshot->base.host->disk.zone, &snapshot->snapshot);
}

static void done_snapshot(struct job *job)
{
    struct snapshot_job *snapshot = (struct snapshot_job *)job;
    struct replica_event event = {
        .type = REPLICA_EV_SNAPSHOT,
        .rv = snapshot->base.rv,
        .snapshot = {.index = snapshot->snapshot.index,
                     .term = snapshot->snapshot.term,
                     .conf_index = snapshot->snapshot.conf_index},
    };

    if (snapshot->snapshot.conf != NULL) {
        event.snapshot.conf = snapshot->snapshot.conf->data;
        event.snapshot.conf_len = snapshot->snapshot.conf->len;
    }
    (void)host_no_room(snapshot->base.host, snapshot->base.rv);
    host_step(snapshot->base.host, &event);
    buf_unref(snapshot->snapshot.conf);
    host_job_end(&snapshot->base);
}

void host_do_snapshot(struct host *host)
{
    struct snapshot_job *job = calloc(1, sizeof *job);

    if (job == NULL) {
        host_fault(host, -ENOMEM, "out of memory");
        return;
    }
    host_post_zone(host, &job->base, run_snapshot, done_snapshot);
}

struct compact_job {
    struct host_job base;
    uint64_t index; /* 0: only release. */
    uint64_t term;
    uint64_t segment;
};

static void run_compact(struct job *job)
{
    struct compact_job *compact = (struct compact_job *)job;
    struct host_disk *disk = &compact->base.host->disk;
    int rv = 0;

    if (compact->index > 0) {
        rv = journal_compact(disk->journal, compact->index, compact->term);
    }
    if (rv == 0) {
        rv = store_extent_floor(disk->store, &compact->segment);
    }
    if (rv == 0) {
        uint64_t now = journal_segment(disk->journal);

        rv = journal_release(disk->journal,
                             compact->segment < now ? compact->segment : now);
    }
    compact->base.rv = rv;
}

static void done_compact(struct job *job)
{
    struct compact_job *compact = (struct compact_job *)job;
    struct host *host = compact->base.host;

    if (host_no_room(host, compact->base.rv)) {
        if (compact->index > host->owed_index) {
            host->owed_index = compact->index;
            host->owed_term = compact->term;
        }
    } else if (compact->base.rv != 0) {
        host_fault(host, compact->base.rv, "journal compaction: %s",
                   host_fault_text(compact->base.rv));
    } else {
        host->journal_bytes = journal_bytes(host->disk.journal);
        host_report_disk(host, compact->segment);
    }
    host_job_end(&compact->base);
}

static void post_compact(struct host *host, uint64_t index, uint64_t term)
{
    struct compact_job *job = calloc(1, sizeof *job);

    if (job == NULL) {
        host_fault(host, -ENOMEM, "out of memory");
        return;
    }
    if (index < host->owed_index) {
        index = host->owed_index;
        term = host->owed_term;
    }
    host->owed_index = 0; /* Owed again if it fails again. */
    job->index = index;
    job->term = term;
    host_post_zone(host, &job->base, run_compact, done_compact);
}

void host_do_compact(struct host *host, const struct replica_action *action)
{
    post_compact(host, action->index, action->term);
}

/* Settling: plan and finish on the zone's thread, the writing on a pool thread. */

struct settle_job {
    struct host_job base;
    uv_work_t work;
    size_t bytes_max;
    struct store_settle *settle;
    enum settle_what what;
    bool unread;      /* Nobody is going to read it here. */
    bool settle_rest; /* There may be more of that, */
    bool settle_more; /* or there is for certain. */
    uint64_t begun_ms;
    uint64_t unsettled_bytes;
    struct store_want bad[HOST_BAD_LOOK];
    uint32_t n_bad;
};

static void run_finish(struct job *job)
{
    struct settle_job *settle = (struct settle_job *)job;
    struct store *store = settle->base.host->disk.store;

    if (settle->base.rv == 0) {
        settle->base.rv = store_settle_finish(store, settle->settle);
    } else {
        store_settle_abandon(store, settle->settle);
    }
    settle->unsettled_bytes = store_unsettled_bytes(store);
    settle->settle_rest = store_settle_rest(store);
    settle->settle_more = store_settle_more(store);
    settle->n_bad = host_heal_look(settle->base.host, settle->bad, HOST_BAD_LOOK);
}

/* No settle is at work: who waited for that goes on. */
static void settled(struct host *host)
{
    host_pull_settled(host);
    host_heal_settled(host);
}

static void done_finish(struct job *job)
{
    struct settle_job *settle = (struct settle_job *)job;
    struct host *host = settle->base.host;

    host->settling = false;
    if (settle->what == SETTLE_REST) {
        uint64_t now_ms = host_now_ms();

        host->rest_from_ms =
            now_ms + HOST_SETTLE_REST_SHARE * (now_ms - settle->begun_ms);
    }
    if (host_no_room(host, settle->base.rv)) {
        post_compact(host, 0, 0); /* What can go already, goes. */
    } else if (settle->base.rv < 0) {
        host_fault(host, settle->base.rv, "settling: %s",
                   host_fault_text(settle->base.rv));
    } else {
        host->unsettled_bytes = settle->unsettled_bytes;
        host->settle_rest = settle->settle_rest;
        host->settle_more = settle->settle_more;
        post_compact(host, 0, 0);
    }
    for (uint32_t i = 0; i < settle->n_bad; i++) {
        host_heal_want(host, &settle->bad[i]);
    }
    settled(host);
    host_job_end(&settle->base);
}

static void run_write(uv_work_t *work)
{
    struct settle_job *settle = work->data;

    settle->base.rv = store_settle_run(settle->settle);
}

static void done_write(uv_work_t *work, int status)
{
    struct settle_job *settle = work->data;
    struct host *host = settle->base.host;

    (void)status;
    host_post_zone(host, &settle->base, run_finish, done_finish);
    host->jobs--; /* It was counted for the pool's part. */
}

static void run_plan(struct job *job)
{
    struct settle_job *settle = (struct settle_job *)job;
    struct store *store = settle->base.host->disk.store;

    switch (settle->what) {
    case SETTLE_ALL:
        settle->base.rv = store_settle_plan(store, settle->bytes_max, &settle->settle);
        break;
    case SETTLE_REST:
        settle->base.rv =
            store_settle_plan_rest(store, settle->bytes_max, &settle->settle);
        break;
    case SETTLE_WAL:
        settle->base.rv = store_settle_plan_wal(store, &settle->settle);
        break;
    }
    if (settle->base.rv == 0 && settle->unread) {
        store_settle_unread(settle->settle);
    }
    settle->settle_rest = store_settle_rest(store);
    settle->settle_more = store_settle_more(store);
}

static void done_plan(struct job *job)
{
    struct settle_job *settle = (struct settle_job *)job;
    struct host *host = settle->base.host;

    if (settle->base.rv == 0) {
        settle->work.data = settle;
        /* The job stays counted until done_write hands it on. */
        uv_queue_work(host->config.loop, &settle->work, run_write, done_write);
        return;
    }
    host->settling = false;
    if (host_no_room(host, settle->base.rv) || host->owed_index > 0 ||
        (host->journal_bad && settle->base.rv == OUT_NOENT &&
         settle->what == SETTLE_ALL)) {
        post_compact(host, 0, 0);
    } else if (settle->base.rv < 0) {
        host_fault(host, settle->base.rv, "settling: %s",
                   host_fault_text(settle->base.rv));
    } else if (settle->what == SETTLE_REST || host->settle_rest != settle->settle_rest) {
        host->settle_rest = settle->settle_rest;
        host->settle_more = settle->settle_more;
        host_report_disk(host, UINT64_MAX);
    }
    settled(host);
    host_job_end(&settle->base);
}

static size_t settle_bytes(const struct host *host, enum settle_what what, bool quiet)
{
    if (host->told_full) {
        return HOST_SETTLE_BYTES_FULL;
    }
    return what == SETTLE_REST && quiet ? HOST_SETTLE_BYTES_QUIET : HOST_SETTLE_BYTES;
}

static void begin_settle(struct host *host, enum settle_what what,
                         const struct replica_action *action)
{
    bool quiet = action != NULL && action->quiet;
    struct settle_job *job;

    if (what == SETTLE_REST && !quiet && host_now_ms() < host->rest_from_ms) {
        return;
    }
    if (host->settling || host->closing || host_pull_waits(host) ||
        host_heal_waits(host) || host_now_ms() < host->settle_from_ms) {
        return;
    }
    job = calloc(1, sizeof *job);
    if (job == NULL) {
        return; /* Asked for again while the journal is past its mark. */
    }
    job->what = what;
    job->unread = action != NULL && action->unread;
    job->begun_ms = host_now_ms();
    job->bytes_max = settle_bytes(host, what, quiet);
    host->settling = true;
    host_post_zone(host, &job->base, run_plan, done_plan);
}

void host_do_settle(struct host *host, const struct replica_action *action)
{
    begin_settle(host, action->rest ? SETTLE_REST : SETTLE_ALL, action);
}
