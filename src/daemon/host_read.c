/*
 * host_read: reads, asked of the replica and answered by the zone's thread.
 */
#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "daemon/event.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct read_job {
    struct host_job base;
    struct slice op;
    uint64_t token; /* The asker's. */
    bool named;     /* See REPLICA_DO_READ. */
    bool again;
    bool bad; /* What it asked for is damaged on this member: */
    uint64_t bad_ino;
    uint64_t bad_offset;
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
static void read_begin(struct host *host, struct slice op, uint64_t token,
                       struct zone_handle obj)
{
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
    host->dirty = true;
    host_step(host, &(struct replica_event){.type = REPLICA_EV_READ,
                                            .token = read_token(job),
                                            .ino = obj.ino,
                                            .gen = obj.gen});
}

void host_read(struct host *host, struct slice op, uint64_t token)
{
    struct zone_handle obj = {0};
    struct zone_op decoded;

    ASSERT(!host_token_is_read(token));
    if (zone_op_decode(op.data, op.len, (struct slice){0}, &decoded) == 0) {
        obj = zone_op_reads(&decoded);
    }
    read_begin(host, op, token, obj);
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

static void run_read(struct job *base)
{
    struct read_job *job = (struct read_job *)base;
    struct zone_result result = {0};
    struct buf *head = NULL;
    struct zone_op op;
    int rv;

    rv = zone_op_decode(job->op.data, job->op.len, (struct slice){0}, &op);
    if (rv == 0 && zone_op_is_mutation(op.type)) {
        rv = -EPROTO;
    }
    if (rv == 0) {
        rv = zone_read(job->base.host->disk.zone, &op, &result);
    }
    if (rv == 0 && result.outcome == OUT_TRY_LATER) {
        rv = -EAGAIN; /* This member is not ready; another may be. */
    }
    job->bad = rv == 0 && result.outcome == OUT_IO;
    job->bad_ino = job->bad ? op.obj.ino : 0;
    job->bad_offset = job->bad ? op.offset : 0;
    job->again = rv == 0 && job->named && result.has_obj && result.obj.nlink == 0;
    if (rv == 0 && !job->again) {
        rv = zone_result_encode(&result, &head);
    }
    if (rv == 0 && !job->again) {
        job->result = slice_of(head, 0, head->len);
        job->data = slice_ref(result.data);
    }
    buf_unref(head);
    zone_result_clear(&result);
    job->base.rv = rv;
}

static void tell_bad(const struct host *host, const struct read_job *job)
{
    if (job->bad) {
        event_tell(
            EVENT_BLOCK_BAD, host->config.label,
            "a read met damaged data on this member: inode %llu, from byte %llu on",
            (unsigned long long)job->bad_ino, (unsigned long long)job->bad_offset);
    } else if (job->base.rv != 0 && job->base.rv != -EAGAIN) {
        event_tell(EVENT_BLOCK_BAD, host->config.label,
                   "a read failed on this member: %s", strerror(-job->base.rv));
    }
}

static void done_read(struct job *base)
{
    struct read_job *job = (struct read_job *)base;
    struct host *host = job->base.host;

    if (job->again) {
        /* A file without a name, which any op under way may purge: wait for all. */
        read_begin(host, job->op, job->token, (struct zone_handle){0});
        read_free(job);
        host_job_end(&job->base);
        return;
    }
    tell_bad(host, job);
    /* A fault here is this member's alone: the router asks another one. */
    host->callbacks.answer(
        host->callbacks.ctx,
        &(struct host_answer){.token = job->token,
                              .outcome = job->base.rv == 0 ? 0 : OUT_NOT_LEADER,
                              .result = job->result,
                              .data = job->data});
    read_free(job);
    host_job_end(&job->base);
}

void host_do_read(struct host *host, uint64_t token, bool named)
{
    ASSERT(host_token_is_read(token));
    read_of(token)->named = named;
    host_post_zone(host, &read_of(token)->base, run_read, done_read);
}
