#include "nfs/mnt3_mounts.h"

#include "base/assert.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The one spelling of @path, malloc'ed; NULL without memory. */
static char *spell(struct slice path)
{
    char *out = malloc(path.len + 2);
    size_t len = 0;

    if (out == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < path.len;) {
        size_t n = 0;

        while (i + n < path.len && path.data[i + n] != '/') {
            n++;
        }
        if (n > 0 && !(n == 1 && path.data[i] == '.')) {
            out[len++] = '/';
            memcpy(out + len, path.data + i, n);
            len += n;
        }
        i += n + 1;
    }
    if (len == 0) {
        out[len++] = '/';
    }
    out[len] = '\0';
    return out;
}

static void mount_free(struct mnt3_mount *mount)
{
    if (mount != NULL) {
        free(mount->client);
        free(mount->path);
        free(mount);
    }
}

/* Remove what is the client's, and @path if it is not NULL. */
static void remove_if(struct mnt3_mounts *mounts, const char *client, const char *path)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < mounts->n; i++) {
        struct mnt3_mount *mount = mounts->items[i];

        if (strcmp(mount->client, client) == 0 &&
            (path == NULL || strcmp(mount->path, path) == 0)) {
            mount_free(mount);
        } else {
            mounts->items[kept++] = mount;
        }
    }
    mounts->n = kept;
}

void mnt3_mounts_add(struct mnt3_mounts *mounts, const char *client, struct slice path)
{
    struct mnt3_mount *mount = calloc(1, sizeof *mount);

    if (mount == NULL) {
        return;
    }
    mount->client = strdup(client);
    mount->path = spell(path);
    if (mount->client == NULL || mount->path == NULL) {
        mount_free(mount);
        return;
    }
    remove_if(mounts, client, mount->path);
    if (mounts->n == MNT3_MOUNTS_MAX) {
        mount_free(mounts->items[0]);
        mounts->n--;
        memmove(&mounts->items[0], &mounts->items[1],
                mounts->n * sizeof mounts->items[0]);
    }
    ASSERT(mounts->n < MNT3_MOUNTS_MAX);
    mounts->items[mounts->n++] = mount;
}

void mnt3_mounts_remove(struct mnt3_mounts *mounts, const char *client, struct slice path)
{
    char *spelled = spell(path);

    if (spelled != NULL) {
        remove_if(mounts, client, spelled);
    }
    free(spelled);
}

void mnt3_mounts_remove_all(struct mnt3_mounts *mounts, const char *client)
{
    remove_if(mounts, client, NULL);
}

void mnt3_mounts_deinit(struct mnt3_mounts *mounts)
{
    for (uint32_t i = 0; i < mounts->n; i++) {
        mount_free(mounts->items[i]);
    }
    mounts->n = 0;
}
