/*
 * What a replica asks for that needs a disk: jobs for the journal's and the zone's
 * thread and for the pool, each thread one job at a time, in order. A job is carried out
 * at one moment and reported at a later one; the power may go between or within.
 */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_BYTES (256u << 10)
#define STILL_STEP_US (20 * SYS_US)
#define CALM_US (20 * SYS_US)

enum { JOURNAL = 0, ZONE = 1, POOL = 2 };

static void job_free(struct sys_job *job)
{
    for (uint32_t i = 0; job->batch.entries != NULL && i < job->batch.n_entries; i++) {
        slice_unref(&job->batch.entries[i].head);
        slice_unref(&job->batch.entries[i].payload);
    }
    free(job->batch.entries);
    for (uint32_t i = 0; job->items != NULL && i < job->n; i++) {
        slice_unref(&job->items[i].head);
        slice_unref(&job->items[i].payload);
        zone_result_clear(&job->items[i].result);
        slice_unref(&job->results[i].result);
        slice_unref(&job->results[i].data);
    }
    free(job->items);
    free(job->results);
    for (uint32_t i = 0; job->fetched != NULL && i < job->got; i++) {
        slice_unref(&job->fetched[i].head);
        slice_unref(&job->fetched[i].payload);
    }
    free(job->fetched);
    buf_unref(job->snapshot.conf);
    slice_unref(&job->head);
    slice_unref(&job->body);
    if (job->settle != NULL) {
        store_settle_abandon(job->host->store, job->settle);
    }
    free(job);
}

void sys_jobs_drop(struct sys_host *host)
{
    for (unsigned t = 0; t < 3; t++) {
        while (host->threads[t].first != NULL) {
            struct sys_job *job = host->threads[t].first;

            host->threads[t].first = job->next;
            job_free(job);
        }
        host->threads[t] = (struct sys_thread){0};
    }
}

static uint64_t duration(struct sys_host *host, unsigned thread)
{
    struct sys *sys = host->sys;
    uint64_t us = 20;

    if (thread == JOURNAL) {
        us += 100 + sys_rand(sys, 800);
    } else {
        us += sys_rand(sys, thread == ZONE ? 200 : 4000);
    }
    if (host->node->slow_us > sys->now_us) {
        us += sys_rand(sys, (thread == JOURNAL ? 400 : 60) * SYS_US);
    }
    if (host->node->slower_us > 0) {
        us += host->node->slower_us / 2 + sys_rand(sys, host->node->slower_us);
    }
    return us;
}

static struct sys_host *host_of(struct sys *sys, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 16];

    struct sys_host *host = node->up ? node->hosts[a >> 8 & 0xff] : NULL;

    return host != NULL && host->serial == b ? host : NULL;
}

static uint64_t thread_name(const struct sys_host *host, unsigned thread)
{
    return host->node->number << 16 | host->zone_nr << 8 | thread;
}

static void job_start(struct sys_host *host, unsigned thread);

/* The head of the thread's queue is reported. */
static void job_end(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_host *host = host_of(sys, a, b);
    struct sys_thread *thread;
    struct sys_job *job;

    (void)ptr;
    if (host == NULL) {
        return;
    }
    if (host->node->asleep_us > sys->now_us) {
        sys_at(sys, host->node->asleep_us,
               (struct sys_event){.fn = job_end, .a = a, .b = b});
        return;
    }
    if (host->node->still_us > sys->now_us) {
        sys_in(sys, STILL_STEP_US, (struct sys_event){.fn = job_end, .a = a, .b = b});
        return;
    }
    thread = &host->threads[a & 0xff];
    job = thread->first;
    if (job->calm && sys_rand(sys, 4) == 0) {
        job->calm = false; /* The loop is told with something else, some time later. */
        sys_in(sys, sys_rand(sys, CALM_US),
               (struct sys_event){.fn = job_end, .a = a, .b = b});
        return;
    }
    thread->first = job->next;
    if (thread->first == NULL) {
        thread->last = NULL;
    }
    thread->busy = false;
    job_start(host, (unsigned)(a & 0xff));
    job->done(job);
    job_free(job);
}

/* The head of the thread's queue is carried out. */
static void job_run(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_host *host = host_of(sys, a, b);
    struct sys_job *job;

    (void)ptr;
    if (host == NULL ||
        sys_node_sleeps(host->node, (struct sys_event){.fn = job_run, .a = a, .b = b})) {
        return;
    }
    job = host->threads[a & 0xff].first;
    sys_point_enter(host->node, job->point);
    job->run(job);
    if (host->node->ends) {
        host->node->ends = false;
        sys_node_halt(host->node, true);
        return;
    }
    if (!sys_node_lost_power(host->node)) {
        sys_point_enter(host->node, SYS_AT_REST);
        sys_in(sys, duration(host, (unsigned)(a & 0xff)),
               (struct sys_event){.fn = job_end, .a = a, .b = b});
    }
}

static void job_start(struct sys_host *host, unsigned thread)
{
    if (!host->threads[thread].busy && host->threads[thread].first != NULL) {
        host->threads[thread].busy = true;
        sys_in(host->sys, sys_rand(host->sys, 30),
               (struct sys_event){
                   .fn = job_run, .a = thread_name(host, thread), .b = host->serial});
    }
}

void sys_job_post(struct sys_host *host, unsigned thread, struct sys_job job)
{
    struct sys_job *copy = sys_alloc(1, sizeof *copy);
    struct sys_thread *queue = &host->threads[thread];

    *copy = job;
    copy->host = host;
    copy->thread = thread;
    copy->next = NULL;
    if (queue->last != NULL) {
        queue->last->next = copy;
    } else {
        queue->first = copy;
    }
    queue->last = copy;
    job_start(host, thread);
}

static void report_disk(struct sys_host *host, uint64_t segment)
{
    struct replica_event event = {.type = REPLICA_EV_DISK,
                                  .journal_bytes = journal_bytes(host->journal),
                                  .extent_segment = segment};

    event.bad = journal_bad(host->journal, &event.bad_index);
    sys_host_step(host, &event);
}

/* Journal. */

static void run_append(struct sys_job *job)
{
    const struct journal_batch *batch = &job->batch;

    job->rv = journal_append(job->host->journal, &job->batch);
    sys_trace(job->host->sys,
              "n%u z%u journal %u: meta %d base %d entries %u from %u: %d",
              (unsigned)job->host->node->number, job->host->zone_nr,
              (unsigned)job->ticket, batch->has_meta, batch->has_base, batch->n_entries,
              batch->n_entries > 0 ? (unsigned)batch->entries[0].index : 0, job->rv);
}

static void done_append(struct sys_job *job)
{
    struct replica_place *places = sys_alloc(job->batch.n_entries, sizeof *places);
    struct replica_event event = {.type = REPLICA_EV_JOURNALED,
                                  .ticket = job->ticket,
                                  .rv = job->rv,
                                  .places = places,
                                  .n_entries = job->batch.n_entries};

    for (uint32_t i = 0; i < job->batch.n_entries; i++) {
        places[i] = (struct replica_place){.segment = job->batch.entries[i].place.segment,
                                           .offset = job->batch.entries[i].place.offset,
                                           .crc = job->batch.entries[i].place.crc};
    }
    sys_host_step(job->host, &event);
    free(places);
}

void sys_do_journal(struct sys_host *host, struct replica_action *action)
{
    struct sys_job job = {.run = run_append,
                          .done = done_append,
                          .calm = action->calm,
                          .point = action->has_base ? SYS_AT_CUT : SYS_AT_APPEND,
                          .ticket = action->ticket};

    job.batch = (struct journal_batch){
        .has_meta = action->has_meta,
        .term = action->term,
        .vote = action->vote,
        .has_base = action->has_base,
        .unread = action->unread,
        .base_index = action->base_index,
        .base_term = action->base_term,
        .entries = sys_alloc(action->n, sizeof *job.batch.entries),
        .n_entries = action->n,
    };
    for (uint32_t i = 0; i < action->n; i++) {
        job.batch.entries[i] =
            (struct journal_entry){.index = action->entries[i].index,
                                   .term = action->entries[i].term,
                                   .type = (uint8_t)action->entries[i].type,
                                   .head = slice_ref(action->entries[i].head),
                                   .payload = slice_ref(action->entries[i].payload)};
    }
    sys_job_post(host, JOURNAL, job);
}

/* Zone: apply. */

static void encode_results(struct sys_job *job)
{
    for (uint32_t i = 0; i < job->n; i++) {
        struct buf *head = NULL;
        const struct store_touched *touched = &job->items[i].touched;

        if (touched->n <= STORE_TOUCHED_MAX) {
            job->results[i].touched = touched->ino;
            job->results[i].n_touched = touched->n;
        }
        if (job->items[i].kind != ZONE_APPLY_COMMAND) {
            continue;
        }
        if (!job->items[i].duplicate) {
            job->results[i].own = &job->items[i].result;
        }
        ASSERT(zone_result_encode(&job->items[i].result, &head) == 0);
        job->results[i].result = slice_of(head, 0, head->len);
        job->results[i].data = slice_ref(job->items[i].result.data);
        buf_unref(head);
    }
}

static void run_apply(struct sys_job *job)
{
    job->rv = zone_apply(job->host->zone, job->items, job->n);
    if (job->rv == 0) {
        encode_results(job);
    }
    if (sys_rand(job->host->sys, 4) == 0) {
        (void)zone_flush(job->host->zone); /* As in a pause; a fault is the next job's. */
    }
    if (job->rv == 0) {
        job->rv = zone_due(job->host->zone, &job->due_ns);
    }
}

static void done_apply(struct sys_job *job)
{
    struct sys_host *host = job->host;
    struct replica_event event = {.type = REPLICA_EV_APPLIED,
                                  .rv = job->rv,
                                  .index = job->items[job->n - 1].index,
                                  .results = job->results,
                                  .due_ns = job->due_ns,
                                  .n_entries = job->n};

    sys_host_step(host, &event);
    if (!host->failed) {
        report_disk(host, UINT64_MAX);
        sys_heal_applied(host, event.index);
    }
}

static enum zone_apply_kind kind_of(enum rgroup_entry_type type)
{
    return type == RGROUP_COMMAND  ? ZONE_APPLY_COMMAND
           : type == RGROUP_CHANGE ? ZONE_APPLY_CHANGE
                                   : ZONE_APPLY_BARRIER;
}

void sys_do_apply(struct sys_host *host, struct replica_action *action)
{
    struct sys_job job = {
        .run = run_apply, .done = done_apply, .point = SYS_AT_APPLY, .n = action->n};

    job.items = sys_alloc(action->n, sizeof *job.items);
    job.results = sys_alloc(action->n, sizeof *job.results);
    for (uint32_t i = 0; i < action->n; i++) {
        const struct replica_entry *entry = &action->entries[i];

        sys_check_applied(host, entry);
        sys_clock_applied(host, entry);
        job.items[i] = (struct zone_apply_item){
            .index = entry->index,
            .term = entry->term,
            .kind = kind_of(entry->type),
            .head = slice_ref(entry->head),
            .payload = slice_ref(entry->payload),
            .place = {.segment = entry->segment,
                      .offset = entry->offset,
                      .crc = entry->crc},
        };
    }
    sys_job_post(host, ZONE, job);
}

/* Zone: read the log back. */

static void run_fetch(struct sys_job *job)
{
    job->rv = journal_fetch(job->host->journal, job->index, job->n, job->bytes,
                            job->fetched, &job->got);
}

static void done_fetch(struct sys_job *job)
{
    struct replica_entry *entries = sys_alloc(job->n, sizeof *entries);
    struct replica_event event = {.type = REPLICA_EV_FETCHED,
                                  .rv = job->rv,
                                  .index = job->index,
                                  .entries = entries,
                                  .n_entries = job->got};

    job->host->sys->counts.fetches++;
    for (uint32_t i = 0; i < job->got; i++) {
        entries[i] = (struct replica_entry){
            .index = job->fetched[i].index,
            .term = job->fetched[i].term,
            .type = (enum rgroup_entry_type)job->fetched[i].type,
            .head = job->fetched[i].head,
            .payload = job->fetched[i].payload,
            .segment = job->fetched[i].place.segment,
            .offset = job->fetched[i].place.offset,
            .crc = job->fetched[i].place.crc,
        };
    }
    sys_host_step(job->host, &event);
    free(entries);
}

void sys_do_fetch(struct sys_host *host, const struct replica_action *action)
{
    struct sys_job job = {.run = run_fetch,
                          .done = done_fetch,
                          .index = action->index,
                          .n = action->n,
                          .bytes = action->bytes};

    job.fetched = sys_alloc(action->n, sizeof *job.fetched);
    sys_job_post(host, ZONE, job);
}

/* Zone: answer a read. */

static void run_read(struct sys_job *job)
{
    struct zone_result result = {0};
    struct buf *head = NULL;
    struct zone_op op;

    job->rv = zone_op_decode(job->ask->op.data, job->ask->op.len, (struct slice){0}, &op);
    if (job->rv == 0) {
        job->rv = zone_read(job->host->zone, &op, &result);
    }
    sys_trace(job->host->sys, "n%u z%u read: op %u type %d at %u: %s",
              (unsigned)job->host->node->number, job->host->zone_nr,
              (unsigned)op.cred.groups[0], op.type, (unsigned)result.index,
              outcome_name(result.outcome));
    if (job->rv == 0 && result.outcome == OUT_IO && job->host->node->broken &&
        !job->host->node->damaged[job->host->zone_nr]) {
        job->rv = -EIO; /* The block is not bad, the disk is. */
    }
    if (job->rv == 0 && result.outcome == 0 && result.has_obj) {
        job->seen = result.obj;
    }
    job->is_bad = job->rv == 0 && result.outcome == OUT_IO && result.has_obj;
    job->bad = (struct store_want){
        .ino = result.obj.ino, .block = result.bad_block, .version = result.index};
    job->again = result.has_obj && result.obj.nlink == 0 && job->ask->named;
    if (job->rv == 0) {
        ASSERT(zone_result_encode(&result, &head) == 0);
        job->head = slice_of(head, 0, head->len);
        job->body = slice_ref(result.data);
    }
    buf_unref(head);
    zone_result_clear(&result);
}

static void done_read(struct sys_job *job)
{
    if (job->seen.ino != 0) {
        replica_attrs_seen(job->host->replica, job->stamp, &job->seen);
    }
    if (job->rv != 0) {
        sys_host_fault(job->host, "read", job->rv);
        sys_host_answer(job->ask, OUT_TRY_LATER, 0, (struct slice){0}, (struct slice){0});
        return;
    }
    if (job->is_bad && job->host->sys->rotten != 0) {
        sys_heal_read(job->ask, &job->bad);
        return;
    }
    if (job->again) {
        job->host->sys->counts.again++;
        sys_host_read(job->ask, false);
        return;
    }
    sys_host_answer(job->ask, 0, 0, job->head, job->body);
}

/* True if what the replica knows answers the read, and did. */
static bool answer_known(struct sys_host *host, struct sys_ask *ask)
{
    struct zone_result result;
    struct buf *head = NULL;
    struct slice bytes;
    struct zone_attr attr;
    struct zone_op op;
    uint64_t index;

    ASSERT(zone_op_decode(ask->op.data, ask->op.len, (struct slice){0}, &op) == 0);
    if (!replica_attrs_get(host->replica, op.obj, &attr, &index) ||
        !zone_read_attr(&op, &attr, index, &result)) {
        return false;
    }
    sys_trace(host->sys, "n%u z%u known: op %u type %d at %u",
              (unsigned)host->node->number, host->zone_nr, (unsigned)op.cred.groups[0],
              op.type, (unsigned)index);
    ASSERT(zone_result_encode(&result, &head) == 0);
    bytes = slice_of(head, 0, head->len);
    buf_unref(head);
    host->sys->counts.known++;
    sys_host_answer(ask, 0, 0, bytes, (struct slice){0});
    slice_unref(&bytes);
    return true;
}

/* True if the loop answered the read, as the daemon's does from memory while the zone's
 * thread has nothing to do. */
static bool answer_now(struct sys_host *host, struct sys_job *job)
{
    const struct sys_thread *thread = &host->threads[ZONE];

    if (thread->busy || thread->first != NULL || sys_rand(host->sys, 2) == 0) {
        return false;
    }
    job->host = host;
    disk_nowait(true);
    run_read(job);
    disk_nowait(false);
    if (job->rv == 0 && !job->is_bad && !job->again) {
        host->sys->counts.now++;
        done_read(job);
        slice_unref(&job->head);
        slice_unref(&job->body);
        return true;
    }
    slice_unref(&job->head);
    slice_unref(&job->body);
    job->seen.ino = 0;
    job->rv = 0;
    job->is_bad = false;
    job->again = false;
    return false;
}

void sys_do_read(struct sys_host *host, struct sys_ask *ask, uint64_t stamp)
{
    struct sys_job job = {.run = run_read, .done = done_read, .stamp = stamp, .ask = ask};

    if (answer_known(host, ask) || answer_now(host, &job)) {
        return;
    }
    sys_job_post(host, ZONE, job);
}

/* Zone: snapshot and compaction. */

static void run_snapshot(struct sys_job *job)
{
    job->rv = zone_snapshot(job->host->zone, &job->snapshot);
}

static void done_snapshot(struct sys_job *job)
{
    struct replica_event event = {.type = REPLICA_EV_SNAPSHOT,
                                  .rv = job->rv,
                                  .snapshot = {.index = job->snapshot.index,
                                               .term = job->snapshot.term,
                                               .conf_index = job->snapshot.conf_index}};

    job->host->sys->counts.snapshots++;
    if (job->snapshot.conf != NULL) {
        event.snapshot.conf = job->snapshot.conf->data;
        event.snapshot.conf_len = job->snapshot.conf->len;
    }
    sys_host_step(job->host, &event);
}

void sys_do_snapshot(struct sys_host *host)
{
    sys_job_post(
        host, ZONE,
        (struct sys_job){
            .run = run_snapshot, .done = done_snapshot, .point = SYS_AT_SNAPSHOT});
}

static void run_compact(struct sys_job *job)
{
    struct sys_host *host = job->host;
    uint64_t now;

    if (job->index > 0) {
        job->rv = journal_compact(host->journal, job->index, job->term);
    }
    if (job->rv == 0) {
        job->rv = store_extent_floor(host->store, &job->segment);
    }
    if (job->rv == 0) {
        now = journal_segment(host->journal);
        job->rv = journal_release(host->journal, job->segment < now ? job->segment : now);
    }
}

static void done_compact(struct sys_job *job)
{
    if (job->rv == -ENOSPC) {
        return; /* The next one does it. */
    }
    if (job->rv != 0) {
        sys_host_fault(job->host, "compaction", job->rv);
        return;
    }
    report_disk(job->host, job->segment);
}

void sys_do_compact(struct sys_host *host, uint64_t index, uint64_t term)
{
    sys_job_post(host, ZONE,
                 (struct sys_job){.run = run_compact,
                                  .done = done_compact,
                                  .point = SYS_AT_COMPACT,
                                  .index = index,
                                  .term = term});
}

/* Settling: plan and finish on the zone's thread, the writing in the pool. */

static void run_finish(struct sys_job *job)
{
    struct store_settle *settle = job->settle;

    job->settle = NULL;
    if (job->rv == 0) {
        job->rv = store_settle_finish(job->host->store, settle);
    } else {
        store_settle_abandon(job->host->store, settle);
    }
}

static void done_finish(struct sys_job *job)
{
    struct sys_host *host = job->host;

    host->settling = false;
    if (job->rv == -ENOSPC) {
        return;
    }
    if (job->rv < 0) {
        sys_host_fault(host, "settling", job->rv);
        return;
    }
    host->sys->counts.settles++;
    sys_do_compact(host, 0, 0);
    sys_heal_settled(host);
}

static void run_write(struct sys_job *job)
{
    job->rv = store_settle_run(job->settle);
}

static void done_write(struct sys_job *job)
{
    sys_job_post(job->host, ZONE,
                 (struct sys_job){.run = run_finish,
                                  .done = done_finish,
                                  .point = SYS_AT_FINISH,
                                  .rv = job->rv,
                                  .settle = job->settle});
    job->settle = NULL;
}

static void run_plan(struct sys_job *job)
{
    job->rv = store_settle_plan(job->host->store, SETTLE_BYTES, &job->settle);
    if (job->rv == 0 && job->unread) {
        store_settle_unread(job->settle);
    }
}

static void done_plan(struct sys_job *job)
{
    struct sys_host *host = job->host;

    if (job->rv == 0) {
        sys_job_post(host, POOL,
                     (struct sys_job){.run = run_write,
                                      .done = done_write,
                                      .point = SYS_AT_SETTLE,
                                      .settle = job->settle});
        job->settle = NULL;
        return;
    }
    host->settling = false;
    if (job->rv < 0 && job->rv != -ENOSPC) {
        sys_host_fault(host, "settle plan", job->rv);
    } else if (journal_bad(host->journal, &(uint64_t){0})) {
        sys_do_compact(host, 0, 0); /* What is bad goes as soon as it can. */
    }
}

void sys_do_settle(struct sys_host *host, bool unread)
{
    if (!host->settling) {
        host->settling = true;
        sys_job_post(host, ZONE,
                     (struct sys_job){.run = run_plan,
                                      .done = done_plan,
                                      .point = SYS_AT_PLAN,
                                      .unread = unread});
    }
}
