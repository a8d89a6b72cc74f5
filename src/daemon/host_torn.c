/*
 * host_torn: files that have a part of what a recovery loses (docs/adr/0006-recover.md).
 *
 * A member that had just pulled has blocks as of entries behind the end of its log. If it is
 * the one that goes on, and nobody has these entries, the newer bytes stay: somebody wrote
 * them and was told that they are safe. But such a file is of no one state, which only a
 * person can judge: before it is decided the names are asked for, and then they are kept
 * in a file in the dataset.
 */
#include "daemon/host_internal.h"

#include "daemon/event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 10000u /* Names in the file. */

static const char list_head[] =
    "This zone was recovered without the members that had the last of what was written. "
    "Of the\nfiles below this member had some blocks as of then, and everything else as "
    "of "
    "before: see\nwhether they are whole, or take them from a backup. Parts that cannot "
    "be "
    "read were cut off\nor deleted in what is lost. When you have looked at all of them "
    "remove this file.\n\n";

struct list {
    char *text;
    size_t len;
    size_t cap;
};

static int list_add(struct list *list, const char *text)
{
    size_t len = strlen(text);

    if (list->len + len + 1 > list->cap) {
        size_t cap = 2 * (list->len + len + 1);
        char *more = realloc(list->text, cap);

        if (more == NULL) {
            return -ENOMEM;
        }
        list->text = more;
        list->cap = cap;
    }
    memcpy(list->text + list->len, text, len + 1);
    list->len += len;
    return 0;
}

static int list_path(void *ctx, uint64_t ino, const char *path)
{
    int rv = list_add(ctx, path);

    (void)ino;
    return rv == 0 ? list_add(ctx, "\n") : rv;
}

int host_torn_write(struct host *host, uint64_t above, uint64_t *count)
{
    struct list list = {0};
    struct zone_torn torn = {.max = LIST_MAX, .each = list_path, .ctx = &list};
    char path[HOST_PATH_MAX + 8];
    char more[64];
    int rv = list_add(&list, list_head);

    if (rv == 0) {
        rv = zone_torn(host->disk.zone, above, &torn);
    }
    if (rv == 0 && torn.count > LIST_MAX) {
        snprintf(more, sizeof more, "and %" PRIu64 " more\n", torn.count - LIST_MAX);
        rv = list_add(&list, more);
    }
    if (rv == 0 && torn.count > 0) {
        host_torn_path(host, path, sizeof path);
        rv = disk_replace_file(host->config.disk, path, list.text, list.len);
    }
    free(list.text);
    *count = rv == 0 ? torn.count : 0;
    return rv;
}

void host_torn_path(const struct host *host, char *out, size_t cap)
{
    snprintf(out, cap, "%s/TORN", host->config.dir);
}

bool host_torn_listed(const struct host *host)
{
    struct disk *disk = host->config.disk;
    char path[HOST_PATH_MAX + 8];
    struct disk_file *file = NULL;

    host_torn_path(host, path, sizeof path);
    if (disk->ops->open(disk, path, DISK_READ, &file) != 0) {
        return false;
    }
    disk->ops->close(disk, file);
    return true;
}

/* What is told before it is decided. */

struct torn_job {
    struct host_job base;
    struct host_torn torn;
};

static int keep_path(void *ctx, uint64_t ino, const char *path)
{
    struct host_torn *torn = ctx;
    char *copy = strdup(path);

    (void)ino;
    if (copy == NULL) {
        return -ENOMEM;
    }
    torn->paths[torn->n++] = copy;
    return 0;
}

void host_torn_clear(struct host_torn *torn)
{
    for (uint32_t i = 0; i < torn->n; i++) {
        free(torn->paths[i]);
    }
    *torn = (struct host_torn){0};
}

static void run_torn(struct job *base)
{
    struct torn_job *job = (struct torn_job *)base;
    struct zone_torn torn = {.max = HOST_TORN_MAX, .each = keep_path, .ctx = &job->torn};

    job->base.rv = zone_torn(job->base.host->disk.zone, job->torn.above, &torn);
    job->torn.count = torn.count;
}

static void done_torn(struct job *base)
{
    struct torn_job *job = (struct torn_job *)base;
    struct host *host = job->base.host;

    host_torn_clear(&host->torn);
    host->torn = job->torn;
    host->torn.rv = job->base.rv;
    host->torn.known = true;
    host->torn_busy = false;
    host_job_end(&job->base);
}

const struct host_torn *host_torn(struct host *host, uint64_t above)
{
    struct torn_job *job;

    if (host->torn.known && host->torn.above == above) {
        return &host->torn;
    }
    if (host->torn_busy || host->closing || host->state != HOST_RUNNING) {
        return NULL;
    }
    job = calloc(1, sizeof *job);
    if (job == NULL) {
        return NULL;
    }
    job->torn.above = above;
    host->torn_busy = true;
    host_post_zone(host, &job->base, run_torn, done_torn);
    return NULL;
}
