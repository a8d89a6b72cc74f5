/*
 * host_digest: the digest of what this member holds, for comparing members.
 *
 * A view is frozen on the zone's thread and read on a pool thread, so that the zone goes on
 * applying however large it is. As of an index that is still to come it is frozen between
 * two batches of entries: the replica ends one just there.
 */
#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <errno.h>
#include <stdlib.h>

#define FREEZE_WAIT_MS 4000u

struct digest_job {
    struct host_job base;
    uv_work_t work;
    uint64_t wanted; /* 0: as of now. */
    struct host_digest digest;
    struct store_cursor *cursor;
    void (*done)(void *arg, int rv, const struct host_digest *digest);
    void *arg;
};

static void run_close(struct job *base)
{
    store_cursor_close(((struct digest_job *)base)->cursor);
}

static void done_close(struct job *base)
{
    struct digest_job *job = (struct digest_job *)base;

    job->done(job->arg, job->base.rv, &job->digest);
    if (job->base.rv == -EUCLEAN && !job->base.host->closing) {
        host_fault(job->base.host, job->base.rv, "a row or page: %s",
                   host_fault_text(job->base.rv));
    }
    host_job_end(&job->base);
}

static void run_read(uv_work_t *work)
{
    struct digest_job *job = work->data;

    job->base.rv = store_cursor_digest(job->cursor, job->digest.bytes);
}

static void done_read(uv_work_t *work, int status)
{
    struct digest_job *job = work->data;
    struct host *host = job->base.host;

    (void)status;
    host_post_zone(host, &job->base, run_close, done_close);
    host->jobs--; /* It was counted for the pool's part. */
}

static void run_freeze(struct job *base)
{
    struct digest_job *job = (struct digest_job *)base;
    struct host_disk *disk = &job->base.host->disk;

    job->digest.index = zone_applied_index(disk->zone);
    if (job->wanted != 0 && job->wanted != job->digest.index) {
        job->base.rv = -ESTALE;
        return;
    }
    job->base.rv = store_cursor_open(disk->store, &job->cursor, &job->digest.index);
    if (job->base.rv == OUT_TRY_LATER) {
        job->base.rv = -EAGAIN;
    }
}

static void done_freeze(struct job *base)
{
    struct digest_job *job = (struct digest_job *)base;

    if (job->base.rv != 0) {
        done_close(base);
        return;
    }
    job->work.data = job;
    /* The job stays counted until done_read hands it on. */
    uv_queue_work(job->base.host->config.loop, &job->work, run_read, done_read);
}

static void freeze(struct host *host, const struct host_freeze *freeze)
{
    struct digest_job *job = NULL;

    if (host->state == HOST_RUNNING && !host->closing) {
        job = calloc(1, sizeof *job);
    }
    if (job == NULL) {
        freeze->done(freeze->arg, -EAGAIN, NULL);
        return;
    }
    job->wanted = freeze->index;
    job->done = freeze->done;
    job->arg = freeze->arg;
    host_post_zone(host, &job->base, run_freeze, done_freeze);
}

void host_digest(struct host *host,
                 void (*done)(void *arg, int rv, const struct host_digest *digest),
                 void *arg)
{
    freeze(host, &(struct host_freeze){.done = done, .arg = arg});
}

void host_digest_at(struct host *host, uint64_t index,
                    void (*done)(void *arg, int rv, const struct host_digest *digest),
                    void *arg)
{
    struct host_freeze wanted = {.index = index,
                                 .until_ms = host_now_ms() + FREEZE_WAIT_MS,
                                 .done = done,
                                 .arg = arg};
    struct replica_status status;

    if (host->replica == NULL || host->state != HOST_RUNNING || host->closing ||
        host->n_freezes == HOST_FREEZES_MAX) {
        done(arg, -EAGAIN, NULL);
        return;
    }
    replica_status(host->replica, host_now_ms(), &status);
    if (status.applied_index >= index) {
        freeze(host, &wanted);
        return;
    }
    host->freezes[host->n_freezes++] = wanted;
    host_step(host, &(struct replica_event){.type = REPLICA_EV_APPLY_TO, .index = index});
}

/* Those that are due: @index is applied and nothing after it yet, or it is too late. */
static void take_due(struct host *host, uint64_t index, uint64_t now_ms)
{
    uint32_t i = 0;

    while (i < host->n_freezes) {
        struct host_freeze due = host->freezes[i];

        if (due.index > index && now_ms < due.until_ms && !host->closing) {
            i++;
            continue;
        }
        host->freezes[i] = host->freezes[--host->n_freezes];
        if (due.index > index) {
            due.done(due.arg, -ETIMEDOUT, NULL);
        } else {
            freeze(host, &due);
        }
    }
}

void host_digest_applied(struct host *host, uint64_t index)
{
    take_due(host, index, host_now_ms());
}

void host_digest_tick(struct host *host, uint64_t now_ms)
{
    take_due(host, 0, now_ms);
}

void host_digest_stop(struct host *host)
{
    take_due(host, 0, UINT64_MAX);
}
