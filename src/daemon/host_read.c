/*
 * host_read: reads, asked of the replica and answered by what the replica knows of their
 * object, by the loop itself, or by the zone's thread.
 *
 * Waking a thread and being woken by it costs more than most reads. So while the zone's
 * thread has nothing to do the loop takes its place: whoever gives it jobs is the loop,
 * so nobody else looks at the zone meanwhile, and what the thread did before is seen
 * since its jobs have come back (worker.h). But the loop waits for no disk: what is not
 * in memory (disk_nowait) is left to the thread, and so is whatever is not plainly well.
 */
#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/disk.h"
#include "base/outcome.h"
#include "daemon/event.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READ_TRIES 32u /* A read may meet nine bad blocks; or the same one again. */
#define NOW_BYTES (64u << 10) /* Of a READ that the loop does itself: other calls wait. */
#define NOW_REST_MAX 64u

struct read_job {
    struct host_job base;
    struct slice op;
    uint64_t token;         /* The asker's. */
    struct zone_handle obj; /* Decides the answer; zero: anything may. */
    bool named;             /* See REPLICA_DO_READ. */
    uint64_t stamp;         /* Likewise. */
    bool again;
    struct zone_attr seen; /* Of its object; .ino 0: none. */
    bool bad;              /* It met the bad block .want, and .result says so. */
    uint32_t tries;
    struct store_want want;
    struct slice result;
    struct slice data;
};

/* Askers' tokens are even (pointers); a read's own token is its job's address, odd. */
static uint64_t read_token(const struct read_job *job)
{
    return (uint64_t)(uintptr_t)job | 1;
}

bool host_token_is_read(uint64_t token)
{
    return (token & 1) != 0;
}

static struct read_job *read_of(uint64_t token)
{
    return (struct read_job *)(uintptr_t)(token & ~1ull);
}

/* @obj decides the answer; none: anything may. */
static void read_begin(struct host *host, const struct host_bad_read *read,
                       struct zone_handle obj)
{
    struct slice op = read->op;
    uint64_t token = read->token;
    struct read_job *job = NULL;

    if (host->replica != NULL && host->state == HOST_RUNNING && !host->closing) {
        job = calloc(1, sizeof *job);
    }
    if (job == NULL) {
        host->callbacks.answer(
            host->callbacks.ctx,
            &(struct host_answer){
                .token = token, .outcome = OUT_NOT_LEADER, .leader = host_leader(host)});
        return;
    }
    job->base.host = host;
    job->op = slice_keep(op);
    job->token = token;
    job->obj = obj;
    job->tries = read->tries;
    host_step(host, &(struct replica_event){.type = REPLICA_EV_READ,
                                            .token = read_token(job),
                                            .ino = obj.ino,
                                            .gen = obj.gen});
    if (host->replica != NULL && replica_reads_waiting(host->replica) > 0) {
        host->dirty = true;
    }
}

static struct zone_handle decides(struct slice op)
{
    struct zone_op decoded;

    if (zone_op_decode(op.data, op.len, (struct slice){0}, &decoded) == 0) {
        return zone_op_reads(&decoded);
    }
    return (struct zone_handle){0};
}

void host_read(struct host *host, struct slice op, uint64_t token)
{
    ASSERT(!host_token_is_read(token));
    read_begin(host, &(struct host_bad_read){.op = op, .token = token}, decides(op));
}

void host_read_healed(struct host *host, struct host_bad_read *read, int outcome)
{
    if (outcome == 0) {
        read_begin(host, read, decides(read->op));
    } else {
        host->callbacks.answer(
            host->callbacks.ctx,
            &(struct host_answer){.token = read->token,
                                  .outcome = outcome == OUT_IO ? 0 : OUT_NOT_LEADER,
                                  .result = read->result});
    }
    slice_unref(&read->op);
    slice_unref(&read->result);
}

static void read_free(struct read_job *job)
{
    slice_unref(&job->op);
    slice_unref(&job->result);
    slice_unref(&job->data);
}

void host_cancel_read(struct host *host, uint64_t token, int outcome)
{
    struct read_job *job = read_of(token);

    host->callbacks.answer(
        host->callbacks.ctx,
        &(struct host_answer){.token = job->token, .outcome = outcome});
    read_free(job);
    free(job);
}

/* @op, the job's, was decoded with @rv. */
static void read_zone(struct read_job *job, const struct zone_op *op, int rv)
{
    struct zone_result result = {0};
    struct buf *head = NULL;

    if (rv == 0 && zone_op_is_mutation(op->type)) {
        rv = -EPROTO;
    }
    if (rv == 0) {
        rv = zone_read(job->base.host->disk.zone, op, &result);
    }
    if (rv == 0 && result.outcome == OUT_TRY_LATER) {
        rv = -EAGAIN; /* This member is not ready; another may be. */
    }
    job->again = rv == 0 && job->named && result.has_obj && result.obj.nlink == 0;
    if (rv == 0 && !job->again) {
        rv = zone_result_encode(&result, &head);
    }
    if (rv == 0 && !job->again) {
        job->result = slice_of(head, 0, head->len);
        job->data = slice_ref(result.data);
    }
    if (rv == 0 && result.outcome == 0 && result.has_obj) {
        job->seen = result.obj;
    }
    job->bad = rv == 0 && result.outcome == OUT_IO && result.has_obj;
    job->want = (struct store_want){
        .ino = result.obj.ino, .block = result.bad_block, .version = result.index};
    buf_unref(head);
    zone_result_clear(&result);
    job->base.rv = rv;
}

static void run_read(struct job *base)
{
    struct read_job *job = (struct read_job *)base;
    struct zone_op op;
    int rv = zone_op_decode(job->op.data, job->op.len, (struct slice){0}, &op);

    read_zone(job, &op, rv);
}

static void tell_bad(struct host *host, const struct read_job *job)
{
    if (job->bad) {
        host_tell_bad(host, HOST_BAD_READ, &job->want);
    } else if (job->base.rv != 0 && job->base.rv != -EAGAIN &&
               seldom_tell(&host->told_bad, UINT64_MAX, (uint64_t)-job->base.rv,
                           host_now_ms(), HOST_TELL_EVERY_MS) > 0) {
        event_tell(EVENT_BLOCK_BAD, host->config.label,
                   "a read failed on this member: %s", strerror(-job->base.rv));
    }
}

/* It waits until the block is good again, or given up. */
static bool leave_to_heal(struct host *host, const struct read_job *job)
{
    struct host_bad_read read = {.token = job->token, .tries = job->tries + 1};

    if (!job->bad || job->tries >= READ_TRIES) {
        return false;
    }
    read.op = slice_ref(job->op);
    read.result = slice_ref(job->result);
    if (!host_heal_read(host, &job->want, &read)) {
        slice_unref(&read.op);
        slice_unref(&read.result);
        return false;
    }
    return true;
}

static void done_read(struct job *base)
{
    struct read_job *job = (struct read_job *)base;
    struct host *host = job->base.host;

    tell_bad(host, job);
    if (job->seen.ino != 0) {
        replica_attrs_seen(host->replica, job->stamp, &job->seen);
    }
    if (leave_to_heal(host, job)) {
        read_free(job);
        host_job_end(&job->base);
        return;
    }
    if (job->again) {
        /* A file without a name, which any op under way may purge: wait for all. */
        read_begin(host,
                   &(struct host_bad_read){
                       .op = job->op, .token = job->token, .tries = job->tries},
                   (struct zone_handle){0});
        read_free(job);
        host_job_end(&job->base);
        return;
    }
    /* A fault here is this member's alone: the router asks another one. */
    host->callbacks.answer(
        host->callbacks.ctx,
        &(struct host_answer){.token = job->token,
                              .outcome = job->base.rv == 0 ? 0 : OUT_NOT_LEADER,
                              .result = job->result,
                              .data = job->data});
    if (job->base.rv == -EUCLEAN && !host->closing) {
        host_fault(host, job->base.rv, "a read: %s", host_fault_text(job->base.rv));
    }
    read_free(job);
    host_job_end(&job->base);
}

/* True if what is known of its object answers the read, and did. */
static bool answer_known(struct host *host, struct read_job *job)
{
    struct zone_result result;
    struct zone_attr attr;
    struct buf *head = NULL;
    struct zone_op op;
    uint64_t index;

    if (job->obj.ino == 0 || !replica_attrs_get(host->replica, job->obj, &attr, &index) ||
        zone_op_decode(job->op.data, job->op.len, (struct slice){0}, &op) != 0 ||
        !zone_read_attr(&op, &attr, index, &result) ||
        zone_result_encode(&result, &head) != 0) {
        return false;
    }
    job->result = slice_of(head, 0, head->len);
    buf_unref(head);
    host->callbacks.answer(
        host->callbacks.ctx,
        &(struct host_answer){.token = job->token, .result = job->result});
    read_free(job);
    free(job);
    return true;
}

static bool is_of_data(const struct zone_op *op)
{
    return op->type == ZONE_OP_READ || op->type == ZONE_OP_READLINK;
}

/* May the loop try? After some that it had to give away, one after the other, ever fewer. */
static bool try_now(struct host *host, const struct zone_op *op)
{
    uint32_t *rest = &host->now[is_of_data(op)].rest;

    switch ((int)op->type) {
    case ZONE_OP_GETATTR:
    case ZONE_OP_LOOKUP:
    case ZONE_OP_ACCESS:
    case ZONE_OP_COMMIT:
    case ZONE_OP_READLINK:
        break;
    case ZONE_OP_READ:
        if (op->count > NOW_BYTES) {
            return false;
        }
        break;
    default:
        return false;
    }
    if (*rest > 0) {
        (*rest)--;
        return false;
    }
    return true;
}

static void tried(struct host *host, const struct zone_op *op, bool missed)
{
    uint32_t n = missed ? 2 * host->now[is_of_data(op)].missed + 1 : 0;

    n = n < NOW_REST_MAX ? n : NOW_REST_MAX;
    host->now[is_of_data(op)].missed = n;
    host->now[is_of_data(op)].rest = n;
}

/* True if the loop could answer the read from memory, and did. */
static bool answer_now(struct host *host, struct read_job *job)
{
    struct zone_op op;

    if (host->zone_jobs > 0 || host->closing ||
        zone_op_decode(job->op.data, job->op.len, (struct slice){0}, &op) != 0 ||
        !try_now(host, &op)) {
        return false;
    }
    disk_nowait(true);
    read_zone(job, &op, 0);
    disk_nowait(false);
    tried(host, &op, job->base.rv == -EAGAIN);
    if (job->base.rv != 0 || job->bad || job->again) {
        slice_unref(&job->result);
        slice_unref(&job->data);
        job->seen.ino = 0;
        return false;
    }
    if (job->seen.ino != 0) {
        replica_attrs_seen(host->replica, job->stamp, &job->seen);
    }
    host->callbacks.answer(
        host->callbacks.ctx,
        &(struct host_answer){
            .token = job->token, .result = job->result, .data = job->data});
    read_free(job);
    free(job);
    return true;
}

void host_do_read(struct host *host, const struct replica_action *action)
{
    struct read_job *job = read_of(action->token);

    ASSERT(host_token_is_read(action->token));
    job->named = action->named;
    job->stamp = action->stamp;
    if (answer_known(host, job) || answer_now(host, job)) {
        return;
    }
    host_post_zone(host, &job->base, run_read, done_read);
}
