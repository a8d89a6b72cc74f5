#include "daemon/dataset.h"

#include "base/assert.h"
#include "daemon/config.h"
#include "daemon/json.h"
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES (2 * CONFIG_TEXT_MAX)
#define SIGN_BYTES_MAX 4096u
#define MAKING "making"
/* No name of a zone has a capital letter, as the stamp behind it does. */
#define ASIDE ".quarantine-"
#define ASIDE_MAX 64u

static void join_path(char *out, const char *folder, const char *name)
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", folder, name);

    ASSERT(n > 0 && n < (int)PATH_BYTES); /* A pool's path, and two names in it. */
}

static bool has_line(const char *text, const char *line)
{
    bool found = strncmp(text, line, strlen(line)) == 0;

    for (const char *at = strchr(text, '\n'); at != NULL && !found;
         at = strchr(at + 1, '\n')) {
        found = strncmp(at + 1, line, strlen(line)) == 0;
    }
    return found;
}

/* True if the file @name in @dir has the line "zone ID", as the store's marker does
 * (docs/formats/store.md), or had it before a bit or two flipped. */
static bool names_zone(struct disk *disk, const char *dir, const char *name,
                       const uint8_t id[16])
{
    char line[5 + 32 + 2] = "zone ";
    char mended[STORE_MARKER_MAX];
    char path[PATH_BYTES];
    char *text = NULL;
    size_t len = 0;
    bool found;

    join_path(path, dir, name);
    if (disk_read_file(disk, path, SIGN_BYTES_MAX, &text, &len) != 0) {
        return false;
    }
    hex_put(line + 5, id, 16);
    strcat(line, "\n");
    found = has_line(text, line) ||
            (store_marker_mend(text, len, mended) && has_line(mended, line));
    free(text);
    return found;
}

bool dataset_is_damaged(const char *pool, const char *slug)
{
    char mended[STORE_MARKER_MAX];
    char path[PATH_BYTES];
    char *text = NULL;
    size_t len = 0;
    bool damaged;
    int rv;

    if (config_check_name(slug) != 0) {
        return false;
    }
    snprintf(path, sizeof path, "%s/%s/marker", pool, slug);
    rv = disk_read_file(disk_posix(), path, SIGN_BYTES_MAX, &text, &len);
    if (rv != 0) {
        return rv == -EFBIG;
    }
    damaged = !store_marker_checks(text) && !store_marker_mend(text, len, mended) &&
              (!has_line(text, "zone ") || has_line(text, "check "));
    free(text);
    return damaged;
}

static int count_one(void *ctx, const char *name)
{
    int *count = ctx;

    /* A sign that a crash left half-written says nothing and harms nothing. */
    *count += strncmp(name, MAKING, strlen(MAKING)) == 0 ? 0 : 1;
    return 0;
}

static int check_empty(struct disk *disk, const char *dir)
{
    int count = 0;
    int rv = disk->ops->list(disk, dir, count_one, &count);

    if (rv != 0) {
        return rv == -ENOENT ? 0 : rv;
    }
    return count == 0 ? 0 : -ENOTEMPTY;
}

int dataset_make_begin(struct disk *disk, const char *dir, const char *journal,
                       const uint8_t id[16])
{
    char sign[5 + 32 + 2] = "zone ";
    char path[PATH_BYTES];
    int rv;

    if (names_zone(disk, dir, MAKING, id)) {
        return 0;
    }
    rv = check_empty(disk, dir);
    if (rv == 0) {
        rv = check_empty(disk, journal);
    }
    if (rv == 0) {
        rv = disk->ops->mkdir(disk, dir);
    }
    if (rv != 0) {
        return rv;
    }
    hex_put(sign + 5, id, 16);
    strcat(sign, "\n");
    join_path(path, dir, MAKING);
    return disk_replace_file(disk, path, sign, strlen(sign));
}

void dataset_make_end(struct disk *disk, const char *dir)
{
    char path[PATH_BYTES];

    join_path(path, dir, MAKING);
    (void)disk->ops->unlink(disk, path); /* If it stays, it says what the marker says. */
}

/* One folder, whose descriptor this takes; @deep: the folders in it too. */
static int check_folder(int fd, bool deep)
{
    DIR *dir = fdopendir(fd);
    int rv = 0;

    if (dir == NULL) {
        rv = -errno;
        (void)close(fd);
        return rv;
    }
    while (rv == 0) {
        struct dirent *entry;
        struct stat st;
        int sub;

        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            rv = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            continue; /* Removed meanwhile; or what opens it will say so. */
        }
        if (S_ISLNK(st.st_mode)) {
            rv = -ELOOP;
        } else if (deep && S_ISDIR(st.st_mode)) {
            sub = openat(fd, entry->d_name,
                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            rv = sub < 0 ? -errno : check_folder(sub, false);
        }
    }
    (void)closedir(dir);
    return rv;
}

int dataset_check_links(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    }
    return check_folder(fd, true);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* What is not there counts as removed. */
static int remove_tree(const char *path)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 ||
        errno == ENOENT) {
        return 0;
    }
    return errno > 0 ? -errno : -EIO;
}

static bool is_ours(const char *dir, const uint8_t id[16])
{
    return names_zone(disk_posix(), dir, "marker", id) ||
           names_zone(disk_posix(), dir, MAKING, id);
}

/* Move the folder @dir to @trash; an empty one is nobody's. */
static int put_aside(const char *dir, const char *trash)
{
    struct stat st;

    if (lstat(dir, &st) != 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (!S_ISDIR(st.st_mode)) {
        return -EEXIST;
    }
    if (remove(dir) == 0) {
        return 0;
    }
    if (rename(dir, trash) != 0) {
        return -errno;
    }
    return disk_sync_parent(disk_posix(), trash);
}

static bool is_below(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    return strncmp(path, folder, len) == 0 && path[len] == '/';
}

int dataset_remove(const char *pool, const char *slug, const char *journal,
                   const uint8_t id[16])
{
    char hex[2 * 16 + 1];
    char name[sizeof hex + 16];
    char trash[PATH_BYTES];
    char dir[PATH_BYTES];
    struct stat st;
    int rv;

    if (config_check_name(slug) != 0) {
        return -EEXIST;
    }
    hex_put(hex, id, 16);
    snprintf(name, sizeof name, ".removing-%s", hex);
    join_path(trash, pool, name);
    join_path(dir, pool, slug);
    /* What is there already is the rest of an earlier removal: @dir is another's. */
    if (lstat(trash, &st) != 0) {
        if (lstat(dir, &st) == 0 && !is_ours(dir, id) && rmdir(dir) != 0) {
            return -EEXIST;
        }
        rv = put_aside(dir, trash);
        if (rv != 0) {
            return rv;
        }
    }
    if (lstat(trash, &st) != 0) {
        return 0;
    }
    /* A journal elsewhere first: the dataset is what says whose it is. One inside went
     * along, and what has its path now is another's. */
    rv = is_below(journal, dir) ? 0 : remove_tree(journal);
    return rv != 0 ? rv : remove_tree(trash);
}

#define KEPT_TRIES 10
#define KEPT_NAME_BYTES (CONFIG_NAME_MAX + 48u)

static const char kept_text[] =
    "This was a copy of a zone on this node. The zone was recovered on another member\n"
    "(gvraft zone recover) and goes on without what stands here and not there.\n"
    "\n"
    "Nothing uses this folder any more, and nothing removes it: get out of it what is\n"
    "missing, then remove it by hand.\n";

/* A name that nothing has yet, in @out; false: there is none. */
static bool kept_name(const char *folder, const char *slug, uint64_t time_s, char *out)
{
    time_t seconds = (time_t)time_s;
    char stamp[32] = "";
    char path[PATH_BYTES];
    struct stat st;
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm) == 0) {
        return false;
    }
    for (int i = 1; i <= KEPT_TRIES; i++) {
        char tail[16] = "";

        if (i > 1) {
            snprintf(tail, sizeof tail, "-%d", i);
        }
        snprintf(out, KEPT_NAME_BYTES, "%s" DATASET_KEPT_MARK "%s%s", slug, stamp, tail);
        join_path(path, folder, out);
        if (lstat(path, &st) != 0 && errno == ENOENT) {
            return true;
        }
    }
    return false;
}

/* Move @from to @name in @folder. */
static int keep_as(const char *from, const char *folder, const char *name)
{
    char path[PATH_BYTES];

    join_path(path, folder, name);
    if (rename(from, path) != 0) {
        return -errno;
    }
    return disk_sync_parent(disk_posix(), path);
}

/* A journal elsewhere goes first: the dataset is what says whose it is. */
static int keep_journal(const char *journal, const char *slug, uint64_t time_s)
{
    char name[KEPT_NAME_BYTES];
    char folder[PATH_BYTES];
    struct stat st;
    char *slash;

    if (lstat(journal, &st) != 0) {
        return errno == ENOENT ? 0 : -errno; /* An earlier call moved it. */
    }
    snprintf(folder, sizeof folder, "%s", journal);
    slash = strrchr(folder, '/');
    if (slash == NULL) {
        return -EINVAL;
    }
    *slash = '\0';
    return kept_name(folder, slug, time_s, name) ? keep_as(journal, folder, name)
                                                 : -EEXIST;
}

int dataset_keep(const char *pool, const char *slug, const char *journal,
                 const uint8_t id[16], uint64_t time_s)
{
    struct disk *disk = disk_posix();
    char name[KEPT_NAME_BYTES];
    char path[PATH_BYTES];
    char dir[PATH_BYTES];
    struct stat st;
    int rv = 0;

    if (config_check_name(slug) != 0) {
        return -EEXIST;
    }
    join_path(dir, pool, slug);
    if (lstat(dir, &st) != 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (!S_ISDIR(st.st_mode) || !names_zone(disk, dir, "marker", id)) {
        /* Never used: there is nothing in it to be kept. */
        return dataset_remove(pool, slug, journal, id);
    }
    if (!is_below(journal, dir)) {
        rv = keep_journal(journal, slug, time_s);
    }
    if (rv == 0) {
        join_path(path, dir, "DISCARDED");
        rv = disk_replace_file(disk, path, kept_text, strlen(kept_text));
    }
    if (rv != 0) {
        return rv;
    }
    return kept_name(pool, slug, time_s, name) ? keep_as(dir, pool, name) : -EEXIST;
}

/* The journal first: the dataset is what says whose it is. */
int dataset_set_aside(const char *pool, const char *slug, const char *journal,
                      const uint8_t id[16], const char *stamp)
{
    char to[PATH_BYTES + 64];
    char dir[PATH_BYTES];
    struct stat st;
    int rv;

    if (config_check_name(slug) != 0) {
        return -EEXIST;
    }
    join_path(dir, pool, slug);
    if (lstat(dir, &st) == 0 && !is_ours(dir, id) && !dataset_is_damaged(pool, slug)) {
        return rmdir(dir) == 0 ? 0 : -EEXIST;
    }
    if (!is_below(journal, dir) && lstat(journal, &st) == 0) {
        snprintf(to, sizeof to, "%s" ASIDE "%s", journal, stamp);
        if (rename(journal, to) != 0) {
            return -errno;
        }
        rv = disk_sync_parent(disk_posix(), to);
        if (rv != 0) {
            return rv;
        }
    }
    snprintf(to, sizeof to, "%s" ASIDE "%s", dir, stamp);
    return put_aside(dir, to);
}

struct sweep {
    const char *slug;
    uint32_t n;
    char names[ASIDE_MAX][PATH_BYTES];
};

static int sweep_one(void *ctx, const char *name)
{
    struct sweep *sweep = ctx;
    size_t len = strlen(sweep->slug);

    if (sweep->n < ASIDE_MAX && strncmp(name, sweep->slug, len) == 0 &&
        strncmp(name + len, ASIDE, strlen(ASIDE)) == 0 && strlen(name) < PATH_BYTES) {
        strcpy(sweep->names[sweep->n++], name);
    }
    return 0;
}

int dataset_sweep(const char *pool, const char *slug, const char *journals,
                  const uint8_t id[16])
{
    struct sweep *sweep = calloc(1, sizeof *sweep);
    struct disk *disk = disk_posix();
    char path[PATH_BYTES];
    int n = 0;
    int rv;

    if (sweep == NULL || config_check_name(slug) != 0) {
        free(sweep);
        return sweep == NULL ? -ENOMEM : -EEXIST;
    }
    sweep->slug = slug;
    rv = disk->ops->list(disk, pool, sweep_one, sweep);
    for (uint32_t i = 0; rv == 0 && i < sweep->n; i++) {
        join_path(path, pool, sweep->names[i]);
        if (!is_ours(path, id)) {
            continue; /* Somebody's own. */
        }
        if (journals != NULL) {
            join_path(path, journals, sweep->names[i]);
            rv = remove_tree(path);
        }
        if (rv == 0) {
            join_path(path, pool, sweep->names[i]);
            rv = remove_tree(path);
            n++;
        }
    }
    free(sweep);
    return rv != 0 ? rv : n;
}
