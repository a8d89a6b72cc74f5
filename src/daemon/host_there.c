/*
 * host_there: is the dataset that is open still the one in its place?
 *
 * Files stay open and take writes when their folder was removed, renamed or replaced, or its
 * disk unmounted with force. What is acknowledged then is gone with the process, and another
 * start would find something else in the folder. So the zone's thread looks at the folders
 * now and then, and the member stops when they are others than those it opened. It is then
 * closed, and what stands in the folder is looked at as at a start: node_retry.c.
 */
#include "daemon/host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct there_job {
    struct host_job base;
    bool journal; /* It is this folder that is another. */
};

/* The folders stay open: so what they are called by (FUSE gives numbers of its own) does not
 * change. -1: it could not be opened, and is not looked at. */
void host_there_open(struct host *host)
{
    host->folders[0] = open(host->config.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    host->folders[1] = open(host->config.journal, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void host_there_close(struct host *host)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (host->folders[i] >= 0) {
            (void)close(host->folders[i]);
        }
        host->folders[i] = -1;
    }
}

/* A fault of looking that is not its absence says nothing. */
static int compare(int fd, const char *path)
{
    struct stat was;
    struct stat now;

    if (fd < 0 || fstat(fd, &was) != 0) {
        return 0;
    }
    if (stat(path, &now) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? -ENOENT : 0;
    }
    return now.st_dev == was.st_dev && now.st_ino == was.st_ino ? 0 : -ENOENT;
}

static void run_look(struct job *job)
{
    struct there_job *look = (struct there_job *)job;
    struct host *host = look->base.host;

    look->base.rv = compare(host->folders[0], host->config.dir);
    if (look->base.rv == 0) {
        look->base.rv = compare(host->folders[1], host->config.journal);
        look->journal = look->base.rv != 0;
    }
}

static void done_look(struct job *job)
{
    struct there_job *look = (struct there_job *)job;
    struct host *host = look->base.host;

    host->looking_there = false;
    if (look->base.rv != 0 && !host->closing && host->state == HOST_RUNNING) {
        host_fault(host, look->base.rv,
                   "the folder %.120s was removed, replaced or unmounted while it was in "
                   "use: put it back, and it goes on by itself",
                   look->journal ? host->config.journal : host->config.dir);
    }
    host_job_end(&look->base);
}

void host_there_look(struct host *host)
{
    struct there_job *look;

    if (host->looking_there || host->state != HOST_RUNNING || host->closing) {
        return;
    }
    look = calloc(1, sizeof *look);
    if (look != NULL) {
        host->looking_there = true;
        host_post_zone(host, &look->base, run_look, done_look);
    }
}
