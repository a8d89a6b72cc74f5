#include "base/assert.h"
#include "zone/state.h"

#include <errno.h>

/* A directory that lost or got a name. */
static void dir_changed(struct apply *apply, struct store_inode *dir)
{
    dir->mtime = apply->now_ns;
    dir->ctime = apply->now_ns;
    dir->version = apply->index;
}

int zone_name_add(struct apply *apply, struct store_inode *dir, struct slice name,
                  uint64_t ino)
{
    uint64_t cookie = apply->zone->number[ZN_NEXT_COOKIE]++;

    return zone_name_put(apply, dir, name, ino, cookie);
}

int zone_name_put(struct apply *apply, struct store_inode *dir, struct slice name,
                  uint64_t ino, uint64_t cookie)
{
    struct zone *zone = apply->zone;
    struct store_dirent entry = {
        .dir = dir->ino,
        .name = name,
        .ino = ino,
        .cookie = cookie,
        .version = apply->index,
    };

    ASSERT(dir->type == ZONE_DIR);
    zone_charge(zone, 0, ZONE_CHARGE_ROW);
    dir->entries++;
    dir_changed(apply, dir);
    return store_dirent_put(zone->store, &entry);
}

int zone_name_del(struct apply *apply, struct store_inode *dir, struct slice name)
{
    int rv = store_dirent_del(apply->zone->store, dir->ino, name);

    if (rv != 0) {
        return rv > 0 ? -EUCLEAN : rv;
    }
    if (dir->entries == 0) {
        return -EUCLEAN;
    }
    dir->entries--;
    zone_charge(apply->zone, ZONE_CHARGE_ROW, 0);
    dir_changed(apply, dir);
    return 0;
}

/* The row, its data and its charge. */
static int inode_drop(struct zone *zone, const struct store_inode *inode)
{
    zone_charge(zone, inode->used + ZONE_CHARGE_ROW, 0);
    if (zone->number[ZN_INODES] == 0) {
        return -EUCLEAN;
    }
    zone->number[ZN_INODES]--;
    return store_inode_del(zone->store, inode->ino);
}

int zone_unlink(struct apply *apply, struct store_inode *inode)
{
    struct zone *zone = apply->zone;
    int rv;

    if (inode->type == ZONE_DIR) {
        ASSERT(inode->entries == 0);
        /* No name stands for the root: that row came from somebody else. */
        return inode->ino == ZONE_ROOT_INO ? -EUCLEAN : inode_drop(zone, inode);
    }
    if (inode->nlink == 0) {
        return -EUCLEAN;
    }
    inode->nlink--;
    if (inode->nlink == 0 && inode->type != ZONE_REG) {
        return inode_drop(zone, inode);
    }
    inode->ctime = apply->now_ns;
    inode->version = apply->index;
    if (inode->nlink == 0) {
        rv = store_orphan_put(zone->store, inode->ino, apply->now_ns);
        if (rv != 0) {
            return rv;
        }
        if (zone->orphan_ns == INT64_MAX) {
            zone->orphan_ns = apply->now_ns; /* Later ones are younger. */
        }
    }
    return store_inode_put(zone->store, inode);
}

struct orphans {
    uint64_t ino[ZONE_PURGE_MAX];
    uint32_t n;
    uint64_t keep; /* Not this one. */
};

static int collect(void *ctx, uint64_t ino)
{
    struct orphans *orphans = ctx;

    if (ino != orphans->keep) {
        orphans->ino[orphans->n++] = ino;
    }
    return orphans->n == ZONE_PURGE_MAX ? 1 : 0;
}

/* Delete the oldest orphans from before @before_ns; *@n says how many. */
static int purge(struct zone *zone, int64_t before_ns, uint64_t keep, uint32_t *n)
{
    struct orphans orphans = {.keep = keep};
    struct store_inode inode;
    int rv = store_orphan_each(zone->store, before_ns, collect, &orphans);

    if (rv < 0) {
        return rv;
    }
    for (uint32_t i = 0; i < orphans.n; i++) {
        rv = zone_get_ino(zone, orphans.ino[i], &inode);
        if (rv != 0) {
            return rv;
        }
        rv = inode_drop(zone, &inode);
        if (rv != 0) {
            return rv;
        }
        rv = store_orphan_del(zone->store, orphans.ino[i]);
        if (rv != 0) {
            return rv;
        }
    }
    zone->orphan_ns = orphans.n > 0 ? -1 : zone->orphan_ns;
    *n = orphans.n;
    return 0;
}

int zone_orphan_find(struct zone *zone)
{
    int rv;

    if (zone->orphan_ns >= 0) {
        return 0;
    }
    rv = store_orphan_oldest(zone->store, &zone->orphan_ns);
    if (rv == OUT_NOENT) {
        zone->orphan_ns = INT64_MAX;
        return 0;
    }
    return rv;
}

int zone_orphan_purge(struct zone *zone, int64_t now_ns)
{
    uint32_t n;
    int rv = purge(zone, now_ns - ZONE_ORPHAN_NS, 0, &n);

    if (rv == 0) {
        zone->number[ZN_PURGE_MORE] = n == ZONE_PURGE_MAX;
    }
    return rv;
}

int zone_room(struct zone *zone, uint64_t more, uint64_t keep)
{
    for (uint32_t i = 0; i <= ZONE_PURGE_STEPS_MAX; i++) {
        uint64_t quota = zone->number[ZN_QUOTA];
        uint64_t used = zone->number[ZN_USED];
        uint32_t n;
        int rv;

        if (more == 0 || (used <= quota && more <= quota - used)) {
            return 0;
        }
        /* Who deletes files to make room must not wait ten minutes for it. */
        rv = purge(zone, INT64_MAX, keep, &n);
        if (rv != 0) {
            return rv;
        }
        if (n == 0) {
            break;
        }
    }
    return OUT_DQUOT;
}
