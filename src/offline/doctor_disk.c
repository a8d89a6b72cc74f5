/*
 * doctor_disk: one folder, looked at by a child process: whatever hangs on a dying disk,
 * the doctor does not.
 */
#include "offline/doctor_impl.h"

#include "daemon/json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 5000
#define SYNCS 8u
#define SYNC_BYTES 4096u

struct look {
    int fault; /* errno of looking at the folder. */
    uint64_t free_bytes;
    uint64_t total_bytes;
    bool read_only;
    bool writable;
    int rotational; /* -1: unknown. */
    int sync_fault;
    uint64_t sync_us; /* The longest of a few. */
};

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int read_flag(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char c = 0;

    if (fd < 0) {
        return -1;
    }
    if (read(fd, &c, 1) != 1) {
        c = 0;
    }
    close(fd);
    return c == '1' ? 1 : c == '0' ? 0 : -1;
}

/* Of the disk, or the disk that it is a partition of. */
static int rotational(dev_t device)
{
    char path[128];
    int flag;

    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/queue/rotational", major(device),
             minor(device));
    flag = read_flag(path);
    if (flag < 0) {
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/../queue/rotational",
                 major(device), minor(device));
        flag = read_flag(path);
    }
    return flag;
}

static void measure(const char *path, struct look *look)
{
    char name[CONFIG_TEXT_MAX + 64];
    char bytes[SYNC_BYTES];
    int fd;

    snprintf(name, sizeof name, "%s/.gvraft-doctor-%d", path, (int)getpid());
    memset(bytes, 0xa5, sizeof bytes);
    fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        look->sync_fault = errno;
        return;
    }
    for (uint32_t i = 0; i < SYNCS && look->sync_fault == 0; i++) {
        uint64_t begun = now_us();
        uint64_t took;

        if (pwrite(fd, bytes, sizeof bytes, (off_t)(i * SYNC_BYTES)) !=
                (ssize_t)sizeof bytes ||
            fdatasync(fd) != 0) {
            look->sync_fault = errno != 0 ? errno : EIO;
        }
        took = now_us() - begun;
        look->sync_us = took > look->sync_us ? took : look->sync_us;
    }
    close(fd);
    unlink(name);
}

static void look_at(const char *path, struct look *look)
{
    struct statvfs vfs;
    struct stat st;

    *look = (struct look){.rotational = -1};
    if (stat(path, &st) != 0 || statvfs(path, &vfs) != 0) {
        look->fault = errno;
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        look->fault = ENOTDIR;
        return;
    }
    look->free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    look->total_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize;
    look->read_only = (vfs.f_flag & ST_RDONLY) != 0;
    look->writable = access(path, W_OK | X_OK) == 0;
    look->rotational = rotational(st.st_dev);
    if (look->writable && !look->read_only) {
        measure(path, look);
    }
}

/* 0, or a fault: -ETIMEDOUT if the folder hangs. */
static int look_bounded(const char *path, struct look *look)
{
    struct pollfd poll_fd = {.events = POLLIN};
    int ends[2];
    pid_t child;
    int rv = -EIO;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    child = fork();
    if (child == 0) {
        struct look seen;

        look_at(path, &seen);
        _exit(write(ends[1], &seen, sizeof seen) == (ssize_t)sizeof seen ? 0 : 1);
    }
    close(ends[1]);
    poll_fd.fd = ends[0];
    if (child < 0) {
        rv = -EAGAIN;
    } else if (poll(&poll_fd, 1, WAIT_MS) == 0) {
        rv = -ETIMEDOUT;
        (void)kill(child, SIGKILL);
    } else if (read(ends[0], look, sizeof *look) == (ssize_t)sizeof *look) {
        rv = 0;
    }
    close(ends[0]);
    if (child > 0) {
        (void)waitpid(child, NULL, rv == -ETIMEDOUT ? WNOHANG : 0);
    }
    return rv;
}

cJSON *doctor_folder(const char *path)
{
    cJSON *json = cJSON_CreateObject();
    struct look look;
    int rv = look_bounded(path, &look);

    cJSON_AddStringToObject(json, "path", path);
    if (rv == -ETIMEDOUT) {
        cJSON_AddBoolToObject(json, "hangs", true);
    } else if (rv != 0 || look.fault != 0) {
        cJSON_AddStringToObject(json, "fault", strerror(rv != 0 ? -rv : look.fault));
    } else {
        json_put_u64(json, "free_bytes", look.free_bytes);
        json_put_u64(json, "total_bytes", look.total_bytes);
        cJSON_AddBoolToObject(json, "read_only", look.read_only);
        cJSON_AddBoolToObject(json, "writable", look.writable);
        if (look.rotational >= 0) {
            cJSON_AddBoolToObject(json, "rotational", look.rotational == 1);
        }
        if (look.sync_fault != 0) {
            cJSON_AddStringToObject(json, "sync_fault", strerror(look.sync_fault));
        } else if (look.sync_us > 0) {
            json_put_number(json, "sync_us", look.sync_us);
        }
    }
    return json;
}
