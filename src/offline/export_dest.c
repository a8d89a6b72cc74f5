/* Where the export goes: an empty folder, and nowhere in what is exported. */
#include "offline/export_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANCESTORS_MAX 100000u
#define OPEN_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The destination, or if it is not there yet what it will be made in. */
static int open_nearest(const char *path)
{
    char copy[EXPORT_PATH_MAX];
    int fd = open(path, OPEN_FLAGS);

    if (fd >= 0 || errno != ENOENT) {
        return fd;
    }
    snprintf(copy, sizeof copy, "%s", path);
    return open(dirname(copy), OPEN_FLAGS);
}

/*
 * Whether folder @fd (taken) is @folder or below it. Seen by what the folders above it are,
 * not by their names: links, "..", and a file system that is mounted in the dataset are seen
 * through. 1, 0, or a fault.
 */
static int is_within(int fd, const struct stat *folder)
{
    struct stat before = {0};
    struct stat st;
    int rv = -ELOOP;
    int up;

    for (uint32_t i = 0; i < ANCESTORS_MAX; i++) {
        if (fstat(fd, &st) != 0) {
            rv = -errno;
            goto out;
        }
        if (is_same(&st, folder)) {
            rv = 1;
            goto out;
        }
        if (i > 0 && is_same(&st, &before)) { /* The root is what lies above it. */
            rv = 0;
            goto out;
        }
        up = openat(fd, "..", OPEN_FLAGS);
        if (up < 0) {
            rv = -errno;
            goto out;
        }
        before = st;
        close(fd);
        fd = up;
    }
out:
    close(fd);
    return rv;
}

/* Anything made in there would be taken for a part of the dataset, or lie in the way of it.
 * What cannot be opened here is left to those who say what is wrong with it. */
static int check_outside(struct export *export, const char *folder)
{
    const char *path = export->options.dest;
    struct stat st;
    int fd;
    int rv;

    if (stat(folder, &st) != 0 || (fd = open_nearest(path)) < 0) {
        return 0;
    }
    rv = is_within(fd, &st);
    if (rv == 0) {
        return 0;
    }
    if (rv < 0) {
        snprintf(export->error, EXPORT_ERROR_MAX, "%s: what it lies in: %s", path,
                 strerror(-rv));
        return rv;
    }
    snprintf(export->error, EXPORT_ERROR_MAX,
             "%s lies in %s, which is to be exported and only read: give a folder "
             "elsewhere, best on another disk",
             path, folder);
    return -EINVAL;
}

/* Open the folder, which is made if it is not there. */
static int open_empty(struct export *export, int *out)
{
    const char *path = export->options.dest;
    const struct dirent *entry;
    bool empty = true;
    DIR *dir;

    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        snprintf(export->error, EXPORT_ERROR_MAX, "%s: %s", path, strerror(errno));
        return -errno;
    }
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        empty = empty &&
                (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    }
    if (dir == NULL || !empty) {
        snprintf(export->error, EXPORT_ERROR_MAX, "%s: %s", path,
                 dir == NULL ? strerror(errno)
                             : "there is something in it: give an empty or new folder");
        if (dir != NULL) {
            closedir(dir);
        }
        return -ENOTEMPTY;
    }
    *out = dup(dirfd(dir));
    closedir(dir);
    return *out < 0 ? -errno : 0;
}

int export_dest(struct export *export, int *out)
{
    int rv;

    if (strlen(export->options.dest) >= EXPORT_PATH_MAX) {
        snprintf(export->error, EXPORT_ERROR_MAX, "the destination's path is too long");
        return -ENAMETOOLONG;
    }
    rv = check_outside(export, export->options.dataset);
    if (rv == 0) {
        rv = check_outside(export, export->journal_dir);
    }
    return rv == 0 ? open_empty(export, out) : rv;
}
