/*
 * The names of files that have something of entries that are not there: see zone_torn.
 * Names are found by one walk over all of them, since no row says where an inode's is.
 */
#include "zone/state.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64u
#define ESCAPED 4u /* Bytes that one byte of a name may take. */

struct found {
    uint64_t ino;
    uint64_t dir; /* 0: no name was found yet. */
    char name[ZONE_NAME_MAX + 1];
};

struct torn {
    struct found *all; /* In rising order. */
    uint32_t n;
    uint32_t max;
    uint64_t count;
};

static int note(void *ctx, uint64_t ino)
{
    struct torn *torn = ctx;

    torn->count++;
    if (torn->n < torn->max) {
        torn->all[torn->n++].ino = ino;
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = ((const struct found *)a)->ino;
    uint64_t right = ((const struct found *)b)->ino;

    return left < right ? -1 : left > right;
}

static int note_name(void *ctx, const struct store_dirent *entry)
{
    const struct found key = {.ino = entry->ino};
    struct torn *torn = ctx;
    struct found *found = bsearch(&key, torn->all, torn->n, sizeof torn->all[0], compare);

    if (found != NULL && found->dir == 0 && entry->name.len <= ZONE_NAME_MAX) {
        found->dir = entry->dir;
        memcpy(found->name, entry->name.data, entry->name.len);
        found->name[entry->name.len] = '\0';
    }
    return 0;
}

struct looking {
    uint64_t ino;
    struct found found;
};

static int look_at(void *ctx, const struct store_dirent *entry)
{
    struct looking *looking = ctx;

    if (entry->ino != looking->ino || entry->name.len > ZONE_NAME_MAX) {
        return 0;
    }
    memcpy(looking->found.name, entry->name.data, entry->name.len);
    looking->found.name[entry->name.len] = '\0';
    return OUT_EXIST; /* Ends the walk. */
}

/* A list is text with one name a line, whatever bytes a name has. */
static size_t escape(const char *name, char out[ESCAPED * ZONE_NAME_MAX + 1])
{
    const char *at = name;
    size_t len = 0;

    while (*at != '\0') {
        size_t n = *at == '\\' ? 0 : utf8_char(at);

        if (n == 0) {
            len += (size_t)sprintf(out + len, "\\x%02x", (unsigned char)*at);
            at++;
            continue;
        }
        memcpy(out + len, at, n);
        len += n;
        at += n;
    }
    out[len] = '\0';
    return len;
}

/* Put "/@name" before what is in @path from *@at on. False: there is no room. */
static bool prepend(char path[ZONE_PATH_MAX], size_t *at, const char *name)
{
    char text[ESCAPED * ZONE_NAME_MAX + 1];
    size_t len = escape(name, text);

    if (len + 1 > *at) {
        return false;
    }
    *at -= len + 1;
    path[*at] = '/';
    memcpy(path + *at + 1, text, len);
    return true;
}

/* The path of @found in *@out, which points into @path; what does not fit begins with "...". */
static int path_of(struct zone *zone, const struct found *found, char path[ZONE_PATH_MAX],
                   const char **out)
{
    struct looking looking = {.found = *found, .ino = found->dir};
    size_t at = ZONE_PATH_MAX - 1;
    bool fits;

    path[at] = '\0';
    fits = prepend(path, &at, found->name);
    for (uint32_t depth = 0; fits && looking.ino != ZONE_ROOT_INO; depth++) {
        struct store_inode dir;
        int rv = zone_get_ino(zone, looking.ino, &dir);

        if (rv == 0) {
            rv = store_dirent_each(zone->store, dir.parent, 0, look_at, &looking);
        }
        if (rv != OUT_EXIST) {
            return rv < 0 ? rv : -EUCLEAN;
        }
        fits = depth < DEPTH_MAX && prepend(path, &at, looking.found.name);
        looking.ino = dir.parent;
    }
    if (!fits && at >= 3) {
        at -= 3;
        memcpy(path + at, "...", 3);
    }
    *out = path + at;
    return 0;
}

int zone_torn(struct zone *zone, uint64_t above, struct zone_torn *out)
{
    struct torn torn = {.max = out->max};
    char path[ZONE_PATH_MAX];
    const char *text = NULL;
    int rv;

    torn.all = calloc(torn.max, sizeof *torn.all);
    if (torn.all == NULL) {
        return -ENOMEM;
    }
    rv = store_torn_each(zone->store, above, note, &torn);
    if (rv == 0) {
        rv = store_dirent_all(zone->store, note_name, &torn);
    }
    for (uint32_t i = 0; rv == 0 && i < torn.n; i++) {
        if (torn.all[i].dir == 0) {
            torn.count--; /* It was unlinked, and nobody finds it any more. */
            continue;
        }
        rv = path_of(zone, &torn.all[i], path, &text);
        if (rv == 0) {
            rv = out->each(out->ctx, torn.all[i].ino, text);
        }
    }
    free(torn.all);
    out->count = torn.count;
    return rv;
}
