/*
 * host_source: the other side of host_pull.c, which gives this member's state away.
 *
 * It answers from its zone thread and keeps nothing but a few cursors. Each is a frozen
 * view, and as long as there is one, the WAL of meta.db only grows: what nobody asks for
 * is closed, and if the WAL is long all the same, the oldest view goes. Its puller begins
 * anew, with the blocks that it has.
 */
#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <stdlib.h>
#include <string.h>

#define CURSOR_IDLE_MS 60000u
#define CURSOR_CHECK_MS 1000u
#define WAL_BYTES_MAX (512ull << 20) /* Eight times what is usual. */

struct source_job {
    struct host_job base;
    struct source_job *next; /* Waits behind it. */
    uint64_t to;
    uint64_t now_ms;
    struct host *digest_host; /* Of a DIGEST, which is no job of the zone's. */
    struct slice request;
    struct slice ahead; /* The request that comes next, of whatever kind. */
    struct store_want bad[HOST_PULL_BATCH]; /* Of a COPY or BLOCKS: bad here. */
    uint32_t n_bad;
    struct slice head;
    struct slice body;
    void (*reply)(void *ctx, uint64_t to, struct slice head, struct slice body);
    void *ctx;
};

static void cursor_drop(struct host *host, struct host_cursor *cursor)
{
    if (cursor->cursor != NULL) {
        store_cursor_close(cursor->cursor);
        atomic_fetch_sub(&host->n_cursors, 1);
    }
    *cursor = (struct host_cursor){0};
}

void host_cursors_close(struct host *host)
{
    for (uint32_t i = 0; i < HOST_CURSORS_MAX; i++) {
        cursor_drop(host, &host->cursors[i]);
    }
}

/* The puller's own; nobody goes on with, or closes, another's. */
static struct host_cursor *cursor_find(struct host *host, uint64_t puller, uint64_t id)
{
    for (uint32_t i = 0; i < HOST_CURSORS_MAX; i++) {
        struct host_cursor *cursor = &host->cursors[i];

        if (cursor->cursor != NULL && cursor->id == id && cursor->puller == puller) {
            return cursor;
        }
    }
    return NULL;
}

static bool is_idle(const struct host_cursor *cursor, uint64_t now_ms)
{
    return now_ms > cursor->used_ms + CURSOR_IDLE_MS;
}

/* The place that the puller has already, a free one, or that of a puller that went away.
 * NULL: all are busy. */
static struct host_cursor *cursor_place(struct host *host, uint64_t puller,
                                        uint64_t now_ms)
{
    struct host_cursor *place = NULL;

    for (uint32_t i = 0; i < HOST_CURSORS_MAX; i++) {
        struct host_cursor *cursor = &host->cursors[i];

        if (cursor->cursor != NULL && cursor->puller == puller) {
            place = cursor;
            break;
        }
        if (place == NULL && (cursor->cursor == NULL || is_idle(cursor, now_ms))) {
            place = cursor;
        }
    }
    if (place != NULL) {
        cursor_drop(host, place);
    }
    return place;
}

static int source_open(struct source_job *job, struct wire_enc *enc)
{
    struct host *host = job->base.host;
    struct host_cursor *cursor = cursor_place(host, job->to, job->now_ms);
    uint64_t index = 0;
    int rv;

    if (cursor == NULL) {
        return OUT_BUSY;
    }
    rv = store_cursor_open(host->disk.store, &cursor->cursor, &index);
    if (rv != 0) {
        cursor->cursor = NULL;
        return rv;
    }
    atomic_fetch_add(&host->n_cursors, 1);
    cursor->id = ++host->next_cursor;
    cursor->puller = job->to;
    cursor->used_ms = job->now_ms;
    wire_put_u64(enc, cursor->id);
    wire_put_u64(enc, index);
    return 0;
}

static int source_next(struct source_job *job, struct wire_dec *dec)
{
    struct host_cursor *cursor = cursor_find(job->base.host, job->to, wire_get_u64(dec));
    struct buf *rows = NULL;
    int rv;

    if (cursor == NULL || !wire_done(dec)) {
        return OUT_STALE;
    }
    cursor->used_ms = job->now_ms;
    rv = store_cursor_next(cursor->cursor, HOST_PULL_ROWS, &rows);
    if (rv == 0) {
        job->body = slice_of(rows, 0, rows->len);
    }
    buf_unref(rows);
    return rv;
}

static void note_bad(struct source_job *job, const struct store_want *want,
                     uint64_t applied)
{
    ASSERT(job->n_bad < HOST_PULL_BATCH);
    job->bad[job->n_bad] = *want;
    job->bad[job->n_bad++].version = applied;
}

/* One block behind the others in @body. */
static int source_block(struct source_job *job, const struct store_want *want,
                        struct wire_enc *enc, struct buf *body)
{
    struct buf *data = NULL;
    uint64_t version = want->version;
    int rv = store_pull_block(job->base.host->disk.store, want->ino, want->block, &data,
                              &version);

    if (rv == OUT_IO) {
        note_bad(job, want, zone_applied_index(job->base.host->disk.zone));
        version = want->version;
    } else if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    wire_put_u64(enc, want->ino);
    wire_put_u64(enc, want->block);
    wire_put_u64(enc, want->version);
    wire_put_u64(enc, version);
    wire_put_u32(enc, rv == 0 ? (uint32_t)data->len : rv == OUT_IO ? PULL_BAD : 0);
    if (rv == 0) {
        ASSERT(data->len <= body->cap - body->len);
        memcpy(body->data + body->len, data->data, data->len);
        body->len += data->len;
    }
    buf_unref(data);
    return 0;
}

/* Have the disk read what a request for blocks names while others are at work. */
static void expect_blocks(struct store *store, struct slice request)
{
    struct wire_dec dec = wire_dec(request.data, request.len);
    uint8_t version = wire_get_u8(&dec);
    uint8_t kind = wire_get_u8(&dec);
    uint32_t n;

    wire_get_view(&dec, 8);
    n = wire_get_u32(&dec);
    if (version != PULL_VERSION || kind != PULL_BLOCKS || n > HOST_PULL_BATCH) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t ino = wire_get_u64(&dec);
        uint64_t block = wire_get_u64(&dec);

        wire_get_view(&dec, 8);
        if (dec.failed) {
            return;
        }
        store_pull_expect(store, ino, block);
    }
}

static int source_blocks(struct source_job *job, struct wire_dec *dec,
                         struct wire_enc *enc)
{
    uint32_t n = wire_get_u32(dec);
    struct buf *body;
    int rv = 0;

    if (n > HOST_PULL_BATCH) {
        return OUT_INVAL;
    }
    body = buf_new((size_t)HOST_PULL_BATCH * STORE_BLOCK);
    if (body == NULL) {
        return -ENOMEM;
    }
    wire_put_u32(enc, n);
    expect_blocks(job->base.host->disk.store, job->request);
    expect_blocks(job->base.host->disk.store, job->ahead);
    for (uint32_t i = 0; i < n && rv == 0; i++) {
        struct store_want want = {.ino = wire_get_u64(dec)};

        want.block = wire_get_u64(dec);
        want.version = wire_get_u64(dec);
        rv = dec->failed ? OUT_INVAL : source_block(job, &want, enc, body);
    }
    if (rv == 0) {
        job->body = slice_of(body, 0, body->len);
    }
    buf_unref(body);
    return rv;
}

/* A bad block's owner asks for ours. If it is bad too, it is healed like the other. */
static int source_copy(struct source_job *job, struct wire_dec *dec, struct wire_enc *enc)
{
    struct store_want want = {.ino = wire_get_u64(dec)};
    struct store_copied copied = {0};
    struct buf *data = NULL;
    int rv;

    want.block = wire_get_u64(dec);
    want.version = wire_get_u64(dec);
    if (!wire_done(dec)) {
        return OUT_INVAL;
    }
    rv = store_copy_get(job->base.host->disk.store, &want, &data, &copied);
    if (rv == OUT_IO) {
        note_bad(job, &want, copied.applied);
    }
    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    wire_put_u8(enc, rv == 0 ? 1 : 0);
    wire_put_u64(enc, copied.version);
    wire_put_u64(enc, copied.applied);
    wire_put_u32(enc, data == NULL ? 0 : (uint32_t)data->len);
    wire_put_u32(enc, data == NULL ? 0 : crc32c(0, data->data, data->len));
    if (data != NULL) {
        job->body = slice_of(data, 0, data->len);
    }
    buf_unref(data);
    return 0;
}

static int source_answer(struct source_job *job, struct wire_dec *dec, uint8_t kind,
                         struct wire_enc *enc)
{
    struct host_cursor *cursor;

    switch (kind) {
    case PULL_OPEN:
        return source_open(job, enc);
    case PULL_NEXT:
        return source_next(job, dec);
    case PULL_BLOCKS:
        return source_blocks(job, dec, enc);
    case PULL_COPY:
        return source_copy(job, dec, enc);
    case PULL_CLOSE:
        cursor = cursor_find(job->base.host, job->to, wire_get_u64(dec));
        if (cursor != NULL) {
            cursor_drop(job->base.host, cursor);
        }
        return 0;
    default:
        return OUT_INVAL;
    }
}

static void run_source(struct job *base)
{
    struct source_job *job = (struct source_job *)base;
    struct wire_dec dec = wire_dec(job->request.data, job->request.len);
    struct buf *head = buf_new(PULL_HEAD_MAX);
    uint8_t version = wire_get_u8(&dec);
    uint8_t kind = wire_get_u8(&dec);
    uint64_t number = wire_get_u64(&dec);
    struct wire_enc enc;
    int rv;

    if (head == NULL) {
        return; /* The puller's patience ends and it asks again. */
    }
    enc = wire_enc(head->data, head->cap);
    wire_put_u8(&enc, PULL_VERSION);
    wire_put_u8(&enc, kind);
    wire_put_u64(&enc, number);
    wire_put_u32(&enc, 0); /* The outcome's place. */
    rv = version != PULL_VERSION || dec.failed ? OUT_INVAL
                                               : source_answer(job, &dec, kind, &enc);
    wire_store_u32(head->data + 10, (uint32_t)(rv < 0 ? OUT_IO : rv));
    if (rv != 0) {
        enc.len = 14;
    }
    head->len = enc.len;
    job->head = slice_of(head, 0, head->len);
    buf_unref(head);
}

/* A block that is bad here ends the puller's attempt: the next one may find it healed. Only
 * when it is given up the puller is told that there is none to be had. */
static void heal_bad(struct source_job *job)
{
    struct host *host = job->base.host;
    bool all = true;

    for (uint32_t i = 0; i < job->n_bad; i++) {
        all = all && host_heal_gave_up(host, &job->bad[i]);
        host_heal_want(host, &job->bad[i]);
    }
    if (!all && job->head.len > 14) {
        wire_store_u32((uint8_t *)(uintptr_t)job->head.data + 10, OUT_IO);
        job->head.len = 14;
        slice_unref(&job->body);
    }
}

static void answer(struct source_job *job)
{
    job->base.host->sources--;
    heal_bad(job);
    job->reply(job->ctx, job->to, job->head, job->body);
    slice_unref(&job->request);
    slice_unref(&job->ahead);
    slice_unref(&job->head);
    slice_unref(&job->body);
}

static void done_source(struct job *base);

static bool has_room(struct host *host, uint64_t to)
{
    return host->callbacks.pull_room == NULL ||
           host->callbacks.pull_room(host->callbacks.ctx, host, to);
}

/* A few on the zone's thread, so that it never waits for the loop; what clients ask for goes
 * before them. And none that the network would not take yet. */
static void source_go_on(struct host *host)
{
    while (host->sources_posted < HOST_SOURCES_POSTED && host->source_first != NULL) {
        struct source_job *job = host->source_first;

        host->source_first = job->next;
        if (host->closing) {
            answer(job);
            free(job);
            continue;
        }
        if (!has_room(host, job->to)) {
            host->source_first = job;
            return;
        }
        if (job->next != NULL) {
            job->ahead = slice_ref(job->next->request);
        }
        host->sources_posted++;
        host_post_zone_later(host, &job->base, run_source, done_source);
    }
}

static void done_source(struct job *base)
{
    struct source_job *job = (struct source_job *)base;
    struct host *host = job->base.host;

    host->sources_posted--;
    answer(job);
    source_go_on(host);
    host_job_end(&job->base);
}

/* A digest is not the zone thread's to read. */
static void on_digest(void *arg, int rv, const struct host_digest *digest)
{
    struct source_job *job = arg;
    struct buf *head = buf_new(PULL_HEAD_MAX);
    struct wire_dec dec = wire_dec(job->request.data, job->request.len);
    struct wire_enc enc;

    job->digest_host->sources--;
    wire_get_view(&dec, 2);
    if (head != NULL) {
        enc = wire_enc(head->data, head->cap);
        wire_put_u8(&enc, PULL_VERSION);
        wire_put_u8(&enc, PULL_DIGEST);
        wire_put_u64(&enc, wire_get_u64(&dec));
        wire_put_u32(&enc, rv == 0 ? 0 : OUT_TRY_LATER);
        if (rv == 0) {
            wire_put_u64(&enc, digest->index);
            wire_put_bytes(&enc, digest->bytes, sizeof digest->bytes);
        }
        head->len = enc.len;
        job->head = slice_of(head, 0, head->len);
    }
    buf_unref(head);
    job->reply(job->ctx, job->to, job->head, (struct slice){0});
    slice_unref(&job->request);
    slice_unref(&job->head);
    free(job);
}

/* True if the request is for a digest, as of an index: then it is under way. */
static bool source_digest(struct source_job *job, struct host *host)
{
    struct wire_dec dec = wire_dec(job->request.data, job->request.len);
    uint8_t version = wire_get_u8(&dec);
    uint8_t kind = wire_get_u8(&dec);
    uint64_t index;

    wire_get_view(&dec, 8);
    index = wire_get_u64(&dec);
    if (!wire_done(&dec) || version != PULL_VERSION || kind != PULL_DIGEST ||
        index == 0) {
        return false;
    }
    job->digest_host = host;
    host_digest_at(host, index, on_digest, job);
    return true;
}

/* A member that gives nothing says so, and the puller need not wait for it in silence. */
static struct slice refusal(struct slice request)
{
    struct wire_dec dec = wire_dec(request.data, request.len);
    struct buf *head = buf_new(PULL_HEAD_MAX);
    struct slice slice = {0};
    struct wire_enc enc;
    uint8_t kind;

    wire_get_u8(&dec);
    kind = wire_get_u8(&dec);
    if (head != NULL) {
        enc = wire_enc(head->data, head->cap);
        wire_put_u8(&enc, PULL_VERSION);
        wire_put_u8(&enc, kind);
        wire_put_u64(&enc, wire_get_u64(&dec));
        wire_put_u32(&enc, OUT_TRY_LATER);
        head->len = enc.len;
        slice = slice_of(head, 0, dec.failed ? 0 : head->len);
    }
    buf_unref(head);
    return slice;
}

void host_pull_request(struct host *host, uint64_t from, struct slice request,
                       void (*reply)(void *ctx, uint64_t to, struct slice head,
                                     struct slice body),
                       void *ctx)
{
    struct source_job *job = NULL;

    if (!host->closing && host->state == HOST_RUNNING &&
        host->sources < HOST_SOURCES_MAX) {
        job = calloc(1, sizeof *job);
    }
    if (job == NULL) {
        struct slice head =
            host->state == HOST_RUNNING ? (struct slice){0} : refusal(request);

        reply(ctx, from, head, (struct slice){0});
        slice_unref(&head);
        return;
    }
    host->sources++;
    job->base.host = host;
    job->to = from;
    job->now_ms = host_now_ms();
    job->request = slice_keep(request);
    job->reply = reply;
    job->ctx = ctx;
    if (source_digest(job, host)) {
        return;
    }
    if (host->source_first == NULL) {
        host->source_first = job;
    } else {
        host->source_last->next = job;
    }
    host->source_last = job;
    source_go_on(host);
}

void host_pull_room(struct host *host)
{
    source_go_on(host);
}

/* Close the views that nobody asks for, and the oldest if the WAL is too long. */
struct sweep_job {
    struct host_job base;
    uint64_t now_ms;
};

static void run_sweep(struct job *base)
{
    struct sweep_job *job = (struct sweep_job *)base;
    struct host *host = job->base.host;
    struct host_cursor *oldest = NULL;

    for (uint32_t i = 0; i < HOST_CURSORS_MAX; i++) {
        struct host_cursor *cursor = &host->cursors[i];

        if (cursor->cursor != NULL && is_idle(cursor, job->now_ms)) {
            log_info("daemon", "msg=\"closed a view that no puller asks for\" zone=%s",
                     host->config.label);
            cursor_drop(host, cursor);
        }
        if (cursor->cursor != NULL && (oldest == NULL || cursor->id < oldest->id)) {
            oldest = cursor;
        }
    }
    if (oldest != NULL && store_wal_bytes(host->disk.store) > WAL_BYTES_MAX) {
        log_warn("daemon", "msg=\"closed a puller's view, it holds too much\" zone=%s",
                 host->config.label);
        cursor_drop(host, oldest);
    }
}

static void done_sweep(struct job *base)
{
    struct host_job *job = (struct host_job *)base;

    job->host->sweeping = false;
    host_job_end(job);
}

void host_source_tick(struct host *host, uint64_t now_ms)
{
    struct sweep_job *job;

    source_go_on(host);
    if (host->sweeping || host->closing || atomic_load(&host->n_cursors) == 0 ||
        now_ms < host->swept_ms + CURSOR_CHECK_MS) {
        return;
    }
    job = calloc(1, sizeof *job);
    if (job == NULL) {
        return; /* The next tick tries again. */
    }
    host->sweeping = true;
    host->swept_ms = now_ms;
    job->now_ms = now_ms;
    host_post_zone(host, &job->base, run_sweep, done_sweep);
}
