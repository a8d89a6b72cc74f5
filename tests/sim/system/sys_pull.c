/*
 * Taking the state from another member: open a frozen view there, its rows run by run,
 * the blocks that are missing, then switch. One request at a time; silence ends the
 * attempt.
 */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SILENCE_US (1500 * SYS_US)
#define ROWS_BYTES 8192u
#define WANTS SYS_PULL_WANTS
#define CURSOR_IDLE_US (5000 * SYS_US)
#define BAD UINT32_MAX /* In place of a length. */

enum { OPEN = 1, NEXT = 2, BLOCKS = 3, SWITCH = 4 };

/* The source's side. A request: attempt, kind, then what the kind needs. */

static struct sys_cursor *cursor_find(struct sys_host *host, uint64_t id)
{
    for (unsigned i = 0; i < SYS_CURSORS; i++) {
        if (host->cursors[i].cursor != NULL && host->cursors[i].id == id) {
            return &host->cursors[i];
        }
    }
    return NULL;
}

static int source_open(struct sys_host *host, struct wire_enc *enc)
{
    uint64_t index = 0;
    int rv;

    for (unsigned i = 0; i < SYS_CURSORS; i++) {
        struct sys_cursor *cursor = &host->cursors[i];

        if (cursor->cursor != NULL &&
            cursor->used_us + CURSOR_IDLE_US < host->sys->now_us) {
            store_cursor_close(cursor->cursor);
            cursor->cursor = NULL;
        }
        if (cursor->cursor != NULL) {
            continue;
        }
        rv = store_cursor_open(host->store, &cursor->cursor, &index);
        if (rv != 0) {
            cursor->cursor = NULL;
            return rv;
        }
        cursor->id = ++host->node->next_cursor;
        cursor->used_us = host->sys->now_us;
        wire_put_u64(enc, cursor->id);
        wire_put_u64(enc, index);
        return 0;
    }
    return OUT_BUSY;
}

static int source_next(struct sys_host *host, struct wire_dec *dec, struct sys_job *job)
{
    struct sys_cursor *cursor = cursor_find(host, wire_get_u64(dec));
    struct buf *rows = NULL;
    int rv;

    if (cursor == NULL) {
        return OUT_STALE;
    }
    cursor->used_us = host->sys->now_us;
    rv = store_cursor_next(cursor->cursor, ROWS_BYTES, &rows);
    if (rv == 0) {
        job->body = slice_of(rows, 0, rows->len);
        buf_unref(rows);
    } else {
        store_cursor_close(cursor->cursor);
        cursor->cursor = NULL;
    }
    return rv;
}

static int source_blocks(struct sys_host *host, struct wire_dec *dec,
                         struct wire_enc *enc, struct sys_job *job)
{
    uint32_t n = wire_get_u32(dec);
    struct buf *body = buf_new((size_t)WANTS * STORE_BLOCK);
    int rv = 0;

    wire_put_u32(enc, n);
    for (uint32_t i = 0; i < n && rv == 0; i++) {
        struct buf *data = NULL;
        uint64_t ino = wire_get_u64(dec);
        uint64_t block = wire_get_u64(dec);
        uint64_t want = wire_get_u64(dec);
        uint64_t version = 0;
        bool bad = false;

        rv = store_pull_block(host->store, ino, block, &data, &version);
        bad = rv == OUT_IO;
        if (bad) {
            ASSERT(job->n_source_bad < WANTS);
            job->source_bad[job->n_source_bad++] = (struct store_want){
                .ino = ino, .block = block, .version = zone_applied_index(host->zone)};
            rv = OUT_NOENT;
        }
        if (rv != 0 && rv != OUT_NOENT) {
            break;
        }
        wire_put_u64(enc, ino);
        wire_put_u64(enc, block);
        wire_put_u64(enc, want);
        wire_put_u64(enc, version);
        wire_put_u32(enc, rv == 0 ? (uint32_t)data->len : bad ? BAD : 0);
        if (rv == 0) {
            memcpy(body->data + body->len, data->data, data->len);
            body->len += data->len;
        }
        rv = 0;
        buf_unref(data);
    }
    if (rv == 0) {
        job->body = slice_of(body, 0, body->len);
    }
    buf_unref(body);
    return rv;
}

static void run_source(struct sys_job *job)
{
    struct sys_host *host = job->host;
    struct wire_dec dec = wire_dec(job->head.data, job->head.len);
    struct buf *head = buf_new(1024);
    struct wire_enc enc = wire_enc(head->data, head->cap);
    uint64_t attempt = wire_get_u64(&dec);
    uint8_t kind = wire_get_u8(&dec);
    int rv = OUT_INVAL;

    wire_put_u64(&enc, attempt);
    wire_put_u8(&enc, kind);
    wire_put_u32(&enc, 0);
    if (kind == OPEN) {
        rv = source_open(host, &enc);
    } else if (kind == NEXT) {
        rv = source_next(host, &dec, job);
    } else if (kind == BLOCKS) {
        rv = source_blocks(host, &dec, &enc, job);
    }
    wire_store_u32(head->data + 9, (uint32_t)(rv < 0 ? OUT_IO : rv));
    if (rv < 0 && simdisk_is_on(host->node->disk)) {
        sys_host_fault(host, "pull source", rv);
    }
    head->len = enc.len;
    slice_unref(&job->head);
    job->head = slice_of(head, 0, head->len);
    buf_unref(head);
}

static void done_source(struct sys_job *job)
{
    /* A block that is bad here ends the attempt, unless nobody has a good one. */
    for (uint32_t i = 0; i < job->n_source_bad; i++) {
        if (!sys_heal_gave_up(job->host, &job->source_bad[i])) {
            wire_store_u32((uint8_t *)(uintptr_t)job->head.data + 9, OUT_IO);
        }
        sys_heal_want(job->host, &job->source_bad[i], false);
    }
    sys_net_send(job->host->sys, (struct sys_msg){.from = job->host->node->number,
                                                  .to = job->from,
                                                  .to_id = job->index,
                                                  .channel = 2,
                                                  .type = SYS_FRAME_PULLED,
                                                  .zone_nr = (uint8_t)job->host->zone_nr,
                                                  .head = slice_ref(job->head),
                                                  .body = slice_ref(job->body)});
}

void sys_pull_request(struct sys_host *host, const struct sys_msg *msg)
{
    sys_job_post(host, 1,
                 (struct sys_job){.run = run_source,
                                  .done = done_source,
                                  .point = SYS_AT_SOURCE,
                                  .from = msg->from,
                                  .index = msg->from_id,
                                  .head = slice_ref(msg->head)});
}

/* A member that failed gives nothing, and says so. */
void sys_pull_refuse(struct sys_node *node, const struct sys_msg *msg)
{
    struct wire_dec dec = wire_dec(msg->head.data, msg->head.len);
    struct buf *head = buf_new(16);
    struct wire_enc enc = wire_enc(head->data, head->cap);
    uint64_t attempt = wire_get_u64(&dec);

    wire_put_u64(&enc, attempt);
    wire_put_u8(&enc, wire_get_u8(&dec));
    wire_put_u32(&enc, OUT_TRY_LATER);
    head->len = enc.len;
    sys_net_send(node->sys, (struct sys_msg){.from = node->number,
                                             .to = msg->from,
                                             .to_id = msg->from_id,
                                             .channel = 2,
                                             .type = SYS_FRAME_PULLED,
                                             .zone_nr = msg->zone_nr,
                                             .head = slice_of(head, 0, head->len)});
    buf_unref(head);
}

/* The puller's side. */

static void ask(struct sys_host *host, uint8_t kind, const struct store_want *wants,
                uint32_t n)
{
    struct sys_pull *pull = &host->pull;
    struct buf *head = buf_new(256);
    struct wire_enc enc = wire_enc(head->data, head->cap);

    wire_put_u64(&enc, pull->number);
    wire_put_u8(&enc, kind);
    if (kind == NEXT) {
        wire_put_u64(&enc, pull->cursor);
    } else if (kind == BLOCKS) {
        wire_put_u32(&enc, n);
        for (uint32_t i = 0; i < n; i++) {
            wire_put_u64(&enc, wants[i].ino);
            wire_put_u64(&enc, wants[i].block);
            wire_put_u64(&enc, wants[i].version);
        }
    }
    ASSERT(!enc.failed);
    head->len = enc.len;
    sys_net_send(host->sys,
                 (struct sys_msg){
                     .from = host->node->number,
                     .to = pull->from,
                     .from_id = host->raft_id,
                     .to_id = sys_member_id(&host->sys->zones[host->zone_nr], pull->from),
                     .channel = 2,
                     .type = SYS_FRAME_PULL,
                     .zone_nr = (uint8_t)host->zone_nr,
                     .head = slice_of(head, 0, head->len)});
    buf_unref(head);
}

void sys_pull_close(struct sys_host *host)
{
    if (host->pull.shadow != NULL) {
        store_shadow_close(host->pull.shadow);
    }
    host->pull = (struct sys_pull){0};
    for (unsigned i = 0; i < SYS_CURSORS; i++) {
        if (host->cursors[i].cursor != NULL) {
            store_cursor_close(host->cursors[i].cursor);
            host->cursors[i].cursor = NULL;
        }
    }
}

static void run_drop(struct sys_job *job)
{
    if (job->host->pull.shadow != NULL) {
        store_shadow_close(job->host->pull.shadow);
        job->host->pull.shadow = NULL;
    }
}

static void done_drop(struct sys_job *job)
{
    struct replica_event event = {.type = REPLICA_EV_PULLED, .rv = -EIO};

    sys_trace(job->host->sys, "n%u z%u pull failed", (unsigned)job->host->node->number,
              job->host->zone_nr);
    job->host->pull = (struct sys_pull){0};
    sys_host_step(job->host, &event);
}

/* End the attempt; once. */
static void pull_fail(struct sys_host *host)
{
    if (host->pull.number != 0) {
        host->pull.number = 0;
        sys_job_post(host, 1, (struct sys_job){.run = run_drop, .done = done_drop});
    }
}

static void silence(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 8];
    struct sys_host *host = node->up ? node->hosts[a & 0xff] : NULL;

    (void)ptr;
    if (host != NULL && host->pull.active && host->pull.number == b &&
        host->pull.phase != SWITCH) {
        pull_fail(host);
    }
}

void sys_pull_lost(struct sys_host *host, uint64_t node)
{
    if (host->pull.active && host->pull.from == node && host->pull.phase != SWITCH) {
        pull_fail(host);
    }
}

static void done_begin(struct sys_job *job)
{
    struct sys_host *host = job->host;

    if (host->pull.number == 0) {
        return; /* Given up meanwhile. */
    }
    if (job->rv != 0) {
        sys_host_fault(host, "pull: shadow", job->rv);
        return;
    }
    ask(host, OPEN, NULL, 0);
}

static void run_begin(struct sys_job *job)
{
    job->rv = store_shadow_open(job->host->store, &job->host->pull.shadow);
}

void sys_do_pull(struct sys_host *host, const struct replica_action *action)
{
    struct sys *sys = host->sys;
    const struct sys_zone *zone = &sys->zones[host->zone_nr];
    uint64_t from = directory_raft_node(action->to);
    const struct directory_zone *row = &zone->row;

    ASSERT(!host->pull.active);
    while (row->n_members > 1 &&
           (from == 0 || from == host->node->number || sys_chance(sys, 4))) {
        from = row->members[sys_rand(sys, row->n_members)].node;
    }
    host->pull =
        (struct sys_pull){.active = true,
                          .number = host->node->epoch << 32 | ++host->node->next_pull,
                          .index = action->index,
                          .from = from,
                          .phase = OPEN};
    sys_trace(sys, "n%u z%u pulls %u from n%u", (unsigned)host->node->number,
              host->zone_nr, (unsigned)action->index, (unsigned)from);
    sys->counts.pulls++;
    sys_in(sys, 10 * SILENCE_US,
           (struct sys_event){.fn = silence,
                              .a = host->node->number << 8 | host->zone_nr,
                              .b = host->pull.number});
    if (from == 0 || from == host->node->number ||
        !sys_net_is_up(sys, host->node->number, from)) {
        pull_fail(host);
        return;
    }
    sys_job_post(
        host, 1,
        (struct sys_job){.run = run_begin, .done = done_begin, .point = SYS_AT_SHADOW});
}

static void run_switch(struct sys_job *job)
{
    struct sys_host *host = job->host;

    job->rv = store_shadow_switch(host->store, host->pull.shadow);
    if (job->rv == OUT_TRY_LATER || job->rv == -EAGAIN) {
        return;
    }
    if (job->rv == 0) {
        struct store_pulled pulled;

        store_shadow_pulled(host->pull.shadow, &pulled);
        host->sys->counts.placed += pulled.placed;
        host->sys->counts.beside += pulled.beside;
        host->sys->counts.kept += pulled.kept;
    }
    store_shadow_close(host->pull.shadow);
    host->pull.shadow = NULL;
    if (job->rv == 0) {
        job->rv = zone_reload(host->zone);
    }
    if (job->rv == 0) {
        job->rv = zone_snapshot_get(host->zone, &job->snapshot);
    }
}

static void pull_blocks(struct sys_host *host);

static void done_switch(struct sys_job *job)
{
    struct sys_host *host = job->host;
    struct replica_event event = {.type = REPLICA_EV_PULLED,
                                  .wall_ns = zone_time_ns(host->zone),
                                  .snapshot = {.index = job->snapshot.index,
                                               .term = job->snapshot.term,
                                               .conf_index = job->snapshot.conf_index}};

    if (job->rv == OUT_TRY_LATER) {
        host->pull.phase = BLOCKS;
        pull_blocks(host);
        return;
    }
    if (job->rv != 0) {
        sys_host_fault(host, "pull: switch", job->rv);
        return;
    }
    event.snapshot.conf = job->snapshot.conf->data;
    event.snapshot.conf_len = job->snapshot.conf->len;
    sys_trace(host->sys, "n%u z%u pulled to %u", (unsigned)host->node->number,
              host->zone_nr, (unsigned)job->snapshot.index);
    host->pull = (struct sys_pull){0};
    sys_host_step(host, &event);
}

static void run_wants(struct sys_job *job)
{
    struct store_want wants[WANTS];
    struct buf *head;
    uint32_t n = 0;

    if (job->host->pull.shadow == NULL) {
        job->rv = -EAGAIN;
        return;
    }
    job->rv = store_shadow_wants(job->host->pull.shadow, wants, WANTS, &n);
    job->n = n;
    head = buf_copy(wants, sizeof wants);
    job->head = slice_of(head, 0, head->len);
    buf_unref(head);
}

static void done_wants(struct sys_job *job)
{
    struct sys_host *host = job->host;
    struct store_want wants[WANTS];

    if (host->pull.number == 0) {
        return;
    }
    if (job->rv != 0) {
        sys_host_fault(host, "pull: wants", job->rv);
        return;
    }
    memcpy(wants, job->head.data, sizeof wants);
    if (job->n > 0) {
        ask(host, BLOCKS, wants, job->n);
        return;
    }
    host->pull.phase = SWITCH;
    sys_job_post(
        host, 1,
        (struct sys_job){.run = run_switch, .done = done_switch, .point = SYS_AT_SWITCH});
}

static void pull_blocks(struct sys_host *host)
{
    sys_job_post(
        host, 1,
        (struct sys_job){.run = run_wants, .done = done_wants, .point = SYS_AT_BLOCKS});
}

static void run_load(struct sys_job *job)
{
    if (job->host->pull.shadow == NULL) {
        job->rv = -EAGAIN;
        return;
    }
    job->rv = store_shadow_load(job->host->pull.shadow, job->body.data, job->body.len);
}

static void done_load(struct sys_job *job)
{
    if (job->host->pull.number == 0) {
        return;
    }
    if (job->rv != 0) {
        sys_host_fault(job->host, "pull: load", job->rv);
        return;
    }
    ask(job->host, NEXT, NULL, 0);
}

static void run_put(struct sys_job *job)
{
    struct wire_dec dec = wire_dec(job->head.data, job->head.len);
    struct wire_dec data = wire_dec(job->body.data, job->body.len);
    uint32_t n;

    (void)wire_get_view(&dec, 13);
    n = wire_get_u32(&dec);
    for (uint32_t i = 0; i < n && job->rv == 0 && job->host->pull.shadow != NULL; i++) {
        struct store_want want = {.ino = wire_get_u64(&dec)};
        uint64_t version;
        uint32_t len;
        const uint8_t *bytes;

        want.block = wire_get_u64(&dec);
        want.version = wire_get_u64(&dec);
        version = wire_get_u64(&dec);
        len = wire_get_u32(&dec);
        if (len == BAD) {
            job->rv = store_shadow_lost(job->host->pull.shadow, &want);
            continue;
        }
        bytes = wire_get_view(&data, len);
        ASSERT(!dec.failed && !data.failed);
        job->rv = store_shadow_block(job->host->pull.shadow, &want, version,
                                     slice_borrow(bytes, len));
    }
    /* Loading no records commits, which else comes after more blocks than a run has. */
    if (job->rv == 0 && job->host->pull.shadow != NULL && sys_chance(job->host->sys, 3)) {
        job->rv = store_shadow_load(job->host->pull.shadow, NULL, 0);
    }
}

static void done_put(struct sys_job *job)
{
    if (job->host->pull.number == 0) {
        return;
    }
    if (job->rv != 0) {
        sys_host_fault(job->host, "pull: block", job->rv);
        return;
    }
    pull_blocks(job->host);
}

void sys_pull_answer(struct sys_host *host, struct slice head, struct slice body)
{
    struct sys_pull *pull = &host->pull;
    struct wire_dec dec = wire_dec(head.data, head.len);
    uint64_t number = wire_get_u64(&dec);
    uint8_t kind = wire_get_u8(&dec);
    int outcome = (int)wire_get_u32(&dec);

    if (!pull->active || number != pull->number || number == 0) {
        return;
    }
    if (kind == NEXT && outcome == OUT_NOENT) {
        pull->phase = BLOCKS;
        pull_blocks(host);
    } else if (outcome != 0) {
        pull_fail(host);
    } else if (kind == OPEN) {
        pull->cursor = wire_get_u64(&dec);
        if (wire_get_u64(&dec) < pull->index) {
            pull_fail(host);
        } else {
            pull->phase = NEXT;
            ask(host, NEXT, NULL, 0);
        }
    } else if (kind == NEXT) {
        sys_job_post(host, 1,
                     (struct sys_job){.run = run_load,
                                      .done = done_load,
                                      .point = SYS_AT_ROWS,
                                      .body = slice_ref(body)});
    } else {
        sys_job_post(host, 1,
                     (struct sys_job){.run = run_put,
                                      .done = done_put,
                                      .point = SYS_AT_PLACE,
                                      .head = slice_ref(head),
                                      .body = slice_ref(body)});
    }
}
