/* Zone: the digest of what this member holds, for comparing members. */
#include "daemon/host_internal.h"

#include "base/outcome.h"

#include <errno.h>
#include <stdlib.h>

struct digest_job {
    struct host_job base;
    struct host_digest digest;
    void (*done)(void *arg, int rv, const struct host_digest *digest);
    void *arg;
};

static void run_digest(struct job *base)
{
    struct digest_job *job = (struct digest_job *)base;
    struct host_disk *disk = &job->base.host->disk;

    job->digest.index = zone_applied_index(disk->zone);
    job->base.rv = store_digest(disk->store, job->digest.bytes);
    if (job->base.rv == OUT_TRY_LATER) {
        job->base.rv = -EAGAIN;
    }
}

static void done_digest(struct job *base)
{
    struct digest_job *job = (struct digest_job *)base;

    job->done(job->arg, job->base.rv, &job->digest);
    host_job_end(&job->base);
}

void host_digest(struct host *host,
                 void (*done)(void *arg, int rv, const struct host_digest *digest),
                 void *arg)
{
    struct digest_job *job = NULL;

    if (host->state == HOST_RUNNING && !host->closing) {
        job = calloc(1, sizeof *job);
    }
    if (job == NULL) {
        done(arg, -EAGAIN, NULL);
        return;
    }
    job->done = done;
    job->arg = arg;
    host_post_zone(host, &job->base, run_digest, done_digest);
}
