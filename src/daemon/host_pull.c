/*
 * host_pull: a member too far behind the log takes the state from another member.
 *
 * The puller asks: open a frozen view, its rows run by run, then the blocks it lacks; then
 * it switches and tells the replica. The next rows are on their way while it loads some,
 * and so many requests for blocks that neither the network nor the disk has to wait for
 * the other. A lost answer or connection ends the attempt; blocks already there are not
 * asked for again. The other side: host_source.c. Format: docs/formats/pull.md.
 */
#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "daemon/event.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum pull_phase {
    PULL_PHASE_OPEN = 1,
    PULL_PHASE_ROWS = 2,
    PULL_PHASE_BLOCKS = 3,
    PULL_PHASE_SWITCH = 4,
    PULL_PHASE_REST = 5, /* All blocks were asked for; are there more? */
};

struct pull {
    struct host *host;
    uint64_t index; /* At least this. */
    uint64_t from;
    enum pull_phase phase;
    uint64_t cursor;
    uint64_t number;            /* Of the last request. */
    uint64_t first_open_number; /* Answers below it belong to an older round. */
    uint32_t requests;          /* Under way; their answers may never come. */
    uint32_t jobs;              /* Under way; they always end. */
    bool looking;               /* One of them looks up what is wanted, */
    struct store_want after;    /* behind this. Zero: from the first on. */
    uint64_t heard_ms;
    uint64_t begun_ms;
    uint64_t blocks;
    uint64_t bytes; /* Of rows and blocks that came. */
    bool failed;
    bool waits_settle;           /* The switch comes when the settle in flight is done. */
    struct store_shadow *shadow; /* Zone thread. */
};

struct pull_job {
    struct host_job base;
    struct slice head;
    struct slice body;
    struct store_want after;
    struct store_want wants[HOST_PULL_WANTS];
    uint32_t n_wants;
    struct zone_snapshot snapshot;
    struct zone_usage usage;
    uint64_t dataset_bytes;
    uint64_t ahead_index;
};

static void pull_go_on(struct host *host);
static void pull_end(struct host *host, int rv, const struct zone_snapshot *snapshot);

static int pull_ask(struct host *host, enum pull_kind kind,
                    const struct store_want *wants, uint32_t n)
{
    struct pull *pull = host->pull;
    uint8_t bytes[PULL_HEAD_MAX];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);

    wire_put_u8(&enc, PULL_VERSION);
    wire_put_u8(&enc, (uint8_t)kind);
    wire_put_u64(&enc, ++pull->number);
    if (kind == PULL_NEXT || kind == PULL_CLOSE) {
        wire_put_u64(&enc, pull->cursor);
    }
    if (kind == PULL_BLOCKS) {
        wire_put_u32(&enc, n);
        for (uint32_t i = 0; i < n; i++) {
            wire_put_u64(&enc, wants[i].ino);
            wire_put_u64(&enc, wants[i].block);
            wire_put_u64(&enc, wants[i].version);
        }
    }
    ASSERT(!enc.failed);
    if (kind != PULL_CLOSE) {
        pull->requests++;
    }
    return host->callbacks.pull_send(host->callbacks.ctx, host, pull->from,
                                     slice_borrow(bytes, enc.len));
}

/* The source would keep its view, and with it its WAL, until the cursor was idle for long. */
static void close_cursor(struct host *host)
{
    if (host->pull->cursor != 0 && pull_ask(host, PULL_CLOSE, NULL, 0) != 0) {
        log_debug("daemon", "msg=\"the source forgets the cursor by itself\"");
    }
    host->pull->cursor = 0;
}

/* Give the attempt up. Answers that still come are of an older round. */
static void pull_fail(struct host *host, int rv)
{
    struct pull *pull = host->pull;

    pull->failed = true;
    close_cursor(host);
    pull->requests = 0;
    pull->first_open_number = pull->number + 1;
    if (pull->jobs == 0) {
        pull_end(host, rv, NULL);
    }
}

/* A job of the pull has ended: go on, or clean up if the attempt failed meanwhile. */
static void pull_job_done(struct host *host, int rv)
{
    struct pull *pull = host->pull;

    pull->jobs--;
    pull->heard_ms = host_now_ms();
    if (rv != 0) {
        event_tell(EVENT_PULL_FAILED, host->config.label,
                   "what was pulled could not be kept: %s",
                   rv < 0 ? strerror(-rv) : outcome_name(rv));
        pull->failed = true;
    }
    if (pull->failed) {
        pull_fail(host, -EIO);
        return;
    }
    pull_go_on(host);
}

static void run_begin(struct job *base)
{
    struct host *host = ((struct host_job *)base)->host;

    ((struct host_job *)base)->rv =
        store_shadow_open(host->disk.store, &host->pull->shadow);
}

static void run_rows(struct job *base)
{
    struct pull_job *job = (struct pull_job *)base;

    job->base.rv =
        store_shadow_load(job->base.host->pull->shadow, job->body.data, job->body.len);
}

static void run_wants(struct job *base)
{
    struct pull_job *job = (struct pull_job *)base;

    job->base.rv = store_shadow_wants_after(job->base.host->pull->shadow, &job->after,
                                            job->wants, HOST_PULL_WANTS, &job->n_wants);
}

static void run_blocks(struct job *base)
{
    struct pull_job *job = (struct pull_job *)base;
    struct wire_dec dec = wire_dec(job->head.data, job->head.len);
    struct wire_dec data = wire_dec(job->body.data, job->body.len);
    uint32_t n;

    wire_get_view(&dec, 14);
    n = wire_get_u32(&dec);
    for (uint32_t i = 0; i < n && job->base.rv == 0; i++) {
        struct store_want want = {.ino = wire_get_u64(&dec)};
        uint64_t version;
        const uint8_t *bytes;
        uint32_t len;

        want.block = wire_get_u64(&dec);
        want.version = wire_get_u64(&dec);
        version = wire_get_u64(&dec);
        len = wire_get_u32(&dec);
        if (len == PULL_BAD && !dec.failed) {
            job->base.rv = store_shadow_lost(job->base.host->pull->shadow, &want);
            continue;
        }
        bytes = wire_get_view(&data, len);
        if (dec.failed || data.failed || len > STORE_BLOCK) {
            job->base.rv = -EPROTO;
            return;
        }
        job->base.rv = store_shadow_block(job->base.host->pull->shadow, &want, version,
                                          slice_borrow(bytes, len));
    }
}

static void run_switch(struct job *base)
{
    struct pull_job *job = (struct pull_job *)base;
    struct host *host = job->base.host;
    int rv = store_shadow_switch(host->disk.store, host->pull->shadow);

    if (rv == 0) {
        store_shadow_close(host->pull->shadow);
        host->pull->shadow = NULL;
        rv = zone_reload(host->disk.zone);
    }
    if (rv == 0) {
        rv = zone_snapshot_get(host->disk.zone, &job->snapshot);
    }
    if (rv == 0 && job->snapshot.conf == NULL) {
        rv = -EUCLEAN; /* The source left it out: each log begins with one. */
    }
    if (rv == 0) {
        rv = store_disk_bytes(host->disk.store, &job->dataset_bytes);
    }
    zone_usage(host->disk.zone, &job->usage);
    job->ahead_index = zone_ahead_index(host->disk.zone);
    job->base.rv = rv;
}

static void done_step(struct job *base)
{
    struct pull_job *job = (struct pull_job *)base;
    struct host *host = job->base.host;

    slice_unref(&job->head);
    slice_unref(&job->body);
    pull_job_done(host, job->base.rv);
    host_job_end(&job->base);
}

static void ask_for(struct host *host, const struct pull_job *job)
{
    struct pull *pull = host->pull;

    for (uint32_t i = 0; i < job->n_wants; i += HOST_PULL_BATCH) {
        uint32_t left = job->n_wants - i;

        if (pull_ask(host, PULL_BLOCKS, &job->wants[i],
                     left < HOST_PULL_BATCH ? left : HOST_PULL_BATCH) != 0) {
            pull->failed = true;
            return;
        }
    }
    pull->blocks += job->n_wants;
}

/* Nothing is wanted behind what was asked for. If that is nothing, the pull is complete;
 * else what is under way comes first, and then what has become wanted meanwhile. */
static void no_more_wants(struct pull *pull, const struct pull_job *job)
{
    if (job->after.ino == 0) {
        pull->phase = PULL_PHASE_SWITCH;
    } else {
        pull->phase = PULL_PHASE_REST;
    }
}

static void done_wants(struct job *base)
{
    struct pull_job *job = (struct pull_job *)base;
    struct host *host = job->base.host;
    struct pull *pull = host->pull;

    pull->looking = false;
    if (job->base.rv == 0 && !pull->failed) {
        if (job->n_wants == 0) {
            no_more_wants(pull, job);
        } else {
            pull->after = job->wants[job->n_wants - 1];
            ask_for(host, job);
        }
    }
    pull_job_done(host, job->base.rv);
    host_job_end(&job->base);
}

/* A settle is in flight, or blocks that were taken over from the live store changed and
 * are wanted after all: all that was pulled is still there. */
static void switch_later(struct host *host)
{
    host->pull->phase = PULL_PHASE_BLOCKS;
    host->pull->after = (struct store_want){0};
    host->pull->heard_ms = host_now_ms();
    host->pull->waits_settle = host->settling;
    if (!host->settling) {
        pull_go_on(host);
    }
}

void host_pull_settled(struct host *host)
{
    if (host->pull != NULL && host->pull->waits_settle && !host->closing) {
        host->pull->waits_settle = false;
        pull_go_on(host);
    }
}

bool host_pull_waits(const struct host *host)
{
    return host->pull != NULL && host->pull->waits_settle;
}

static void done_switch(struct job *base)
{
    struct pull_job *job = (struct pull_job *)base;
    struct host *host = job->base.host;

    host->pull->jobs--;
    if (job->base.rv == OUT_TRY_LATER && host->pull->shadow != NULL) {
        switch_later(host);
        host_job_end(&job->base);
        return;
    }
    host->usage = job->usage;
    host->dataset_bytes = job->dataset_bytes;
    host->ahead_index = job->ahead_index;
    if (job->base.rv != 0 && host->pull->shadow == NULL) {
        /* It was switched to, and cannot be read: neither state can be gone on with. */
        host_fault(host, job->base.rv, "could not read the pulled state: %s",
                   host_fault_text(job->base.rv));
    }
    pull_end(host, job->base.rv, &job->snapshot);
    buf_unref(job->snapshot.conf);
    host_job_end(&job->base);
}

static void pull_post(struct host *host, void (*run)(struct job *job),
                      void (*done)(struct job *job), struct slice head, struct slice body)
{
    struct pull_job *job = calloc(1, sizeof *job);

    ASSERT(job != NULL);
    job->head = slice_keep(head);
    job->body = slice_keep(body);
    host->pull->jobs++;
    host_post_zone(host, &job->base, run, done);
}

static void look_for_wants(struct host *host)
{
    struct pull *pull = host->pull;
    struct pull_job *job;

    /* Each job but this one writes what a request brought. */
    if (pull->looking || pull->requests + pull->jobs + HOST_PULL_WANTS / HOST_PULL_BATCH >
                             HOST_PULL_WINDOW) {
        return;
    }
    job = calloc(1, sizeof *job);
    ASSERT(job != NULL);
    job->after = pull->after;
    pull->looking = true;
    pull->jobs++;
    host_post_zone(host, &job->base, run_wants, done_wants);
}

/* What comes next? */
static void pull_go_on(struct host *host)
{
    struct pull *pull = host->pull;
    bool idle = pull->requests == 0 && pull->jobs == 0;
    int rv = 0;

    if (pull->phase == PULL_PHASE_REST && idle) {
        pull->phase = PULL_PHASE_BLOCKS;
        pull->after = (struct store_want){0};
    }
    switch (pull->phase) {
    case PULL_PHASE_OPEN:
        rv = idle ? pull_ask(host, PULL_OPEN, NULL, 0) : 0;
        break;
    case PULL_PHASE_ROWS:
        if (pull->requests == 0 && pull->jobs < HOST_PULL_ROWS_AHEAD) {
            rv = pull_ask(host, PULL_NEXT, NULL, 0);
        }
        break;
    case PULL_PHASE_BLOCKS:
        look_for_wants(host);
        break;
    case PULL_PHASE_REST:
        break;
    case PULL_PHASE_SWITCH:
        if (idle) {
            pull_post(host, run_switch, done_switch, (struct slice){0},
                      (struct slice){0});
        }
        break;
    }
    if (rv != 0) {
        pull_fail(host, -EHOSTUNREACH);
    }
}

static void answer_open(struct host *host, struct wire_dec *dec)
{
    struct pull *pull = host->pull;
    uint64_t index;

    pull->cursor = wire_get_u64(dec);
    index = wire_get_u64(dec);
    if (!wire_done(dec) || index < pull->index) {
        pull_fail(host, -EAGAIN); /* It is behind too: ask somebody else, later. */
        return;
    }
    pull->phase = PULL_PHASE_ROWS;
    pull_go_on(host);
}

static void answer_rows(struct host *host, int outcome, struct slice body)
{
    if (outcome == OUT_NOENT) {
        close_cursor(host);
        host->pull->phase = PULL_PHASE_BLOCKS;
    } else {
        pull_post(host, run_rows, done_step, (struct slice){0}, body);
    }
    pull_go_on(host);
}

void host_pull_answer(struct host *host, uint64_t from, struct slice head,
                      struct slice body)
{
    struct wire_dec dec = wire_dec(head.data, head.len);
    struct pull *pull = host->pull;
    uint8_t version = wire_get_u8(&dec);
    uint8_t kind = wire_get_u8(&dec);
    uint64_t number = wire_get_u64(&dec);
    int outcome = (int)wire_get_u32(&dec);

    if (version == PULL_VERSION && !dec.failed && kind == PULL_COPY) {
        host_heal_answer(host, from, head, body);
        return;
    }
    if (version == PULL_VERSION && !dec.failed && kind == PULL_DIGEST) {
        host_scrub_answer(host, from, head);
        return;
    }
    if (pull == NULL || pull->from != from || host->closing || version != PULL_VERSION ||
        dec.failed || kind == PULL_CLOSE || number < pull->first_open_number ||
        number > pull->number || pull->requests == 0) {
        return;
    }
    pull->requests--;
    pull->heard_ms = host_now_ms();
    pull->bytes += body.len;
    if (pull->failed || (outcome != 0 && !(kind == PULL_NEXT && outcome == OUT_NOENT))) {
        pull_fail(host, -EIO);
    } else if (kind == PULL_OPEN) {
        answer_open(host, &dec);
    } else if (kind == PULL_NEXT) {
        answer_rows(host, outcome, body);
    } else {
        pull_post(host, run_blocks, done_step, head, body);
    }
}

static void run_drop(struct job *base)
{
    struct host *host = ((struct host_job *)base)->host;

    store_shadow_close(host->pull->shadow);
    host->pull->shadow = NULL;
}

static void pull_tell(const struct host *host, int rv)
{
    const struct pull *pull = host->pull;
    double seconds = (double)(host_now_ms() - pull->begun_ms) / 1e3;
    double mib = (double)pull->bytes / (double)(1 << 20);

    if (rv == 0) {
        event_tell(EVENT_PULL_ENDED, host->config.label,
                   "pulled %llu blocks, %.1f MiB with the rows, in %.1f s",
                   (unsigned long long)pull->blocks, mib, seconds);
    } else {
        event_tell(EVENT_PULL_FAILED, host->config.label,
                   "gave up after %llu blocks, %.1f MiB, %.1f s: %s; it is tried again "
                   "and goes on from there",
                   (unsigned long long)pull->blocks, mib, seconds,
                   rv < 0 ? strerror(-rv) : outcome_name(rv));
    }
}

static void pull_report(struct host *host, int rv, const struct zone_snapshot *snapshot)
{
    struct replica_event event = {.type = REPLICA_EV_PULLED, .rv = rv};

    pull_tell(host, rv);
    free(host->pull);
    host->pull = NULL;
    if (rv == 0) {
        event.wall_ns = zone_time_ns(host->disk.zone);
        event.snapshot = (struct rgroup_snapshot){
            .index = snapshot->index,
            .term = snapshot->term,
            .conf_index = snapshot->conf_index,
            .conf = snapshot->conf->data,
            .conf_len = snapshot->conf->len,
        };
    }
    if (host->state == HOST_PULLING) {
        host->state = HOST_RUNNING;
    }
    host_step(host, &event);
}

static void done_drop(struct job *base)
{
    struct host_job *job = (struct host_job *)base;
    struct host *host = job->host;

    pull_report(host, -EIO, NULL);
    host_job_end(job);
}

static void pull_end(struct host *host, int rv, const struct zone_snapshot *snapshot)
{
    if (rv != 0 && host->pull->shadow != NULL) {
        struct host_job *job = calloc(1, sizeof *job);

        ASSERT(job != NULL);
        host->pull->jobs++; /* No tick ends it a second time. */
        host_post_zone(host, job, run_drop, done_drop);
        return;
    }
    pull_report(host, rv, snapshot);
}

void host_do_pull(struct host *host, uint64_t index, uint64_t from)
{
    struct host_job *job;

    if (host->low) { /* A second copy does not fit: the replica asks again in a while. */
        host_step(host,
                  &(struct replica_event){.type = REPLICA_EV_PULLED, .rv = -ENOSPC});
        return;
    }
    job = calloc(1, sizeof(struct pull_job));
    if (host->pull != NULL || job == NULL) {
        free(job);
        return;
    }
    host->pull = calloc(1, sizeof *host->pull);
    if (host->pull == NULL) {
        free(job);
        host_fault(host, -ENOMEM, "out of memory");
        return;
    }
    event_tell(
        EVENT_PULL_BEGUN, host->config.label,
        "%s: pulling the state of entry %llu or later from node %llu",
        host->told_unreadable == 0 ? "too far behind the log" : "an entry cannot be read",
        (unsigned long long)index, (unsigned long long)(from >> 16));
    *host->pull = (struct pull){
        .host = host,
        .index = index,
        .from = from,
        .phase = PULL_PHASE_OPEN,
        .begun_ms = host_now_ms(),
        .heard_ms = host_now_ms(),
        .number = host_now_ms() << 20, /* Answers to an older attempt do not fit. */
        .jobs = 1,
    };
    host->pull->first_open_number = host->pull->number + 1;
    host->state = HOST_PULLING;
    host->callbacks.note(host->callbacks.ctx, host);
    host_post_zone(host, job, run_begin, done_step);
}

static bool is_waiting(const struct pull *pull)
{
    return pull != NULL && !pull->failed && pull->requests > 0;
}

void host_pull_lost(struct host *host, uint64_t raft_id)
{
    if (is_waiting(host->pull) && host->pull->from == raft_id) {
        log_warn("daemon", "msg=\"pull source is gone\" zone=%s", host->config.label);
        pull_fail(host, -ECONNRESET);
    }
}

void host_pull_tick(struct host *host, uint64_t now_ms)
{
    struct pull *pull = host->pull;

    if (is_waiting(pull) && now_ms > pull->heard_ms + HOST_PULL_SILENCE_MS) {
        log_warn("daemon", "msg=\"pull source is silent\" zone=%s", host->config.label);
        pull_fail(host, -ETIMEDOUT);
    }
}

void host_pull_free(struct host *host)
{
    if (host->pull != NULL && host->pull->shadow != NULL) {
        store_shadow_close(host->pull->shadow);
    }
    free(host->pull);
    host->pull = NULL;
}
