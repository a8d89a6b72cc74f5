#include "base/assert.h"
#include "zone/codec.h"
#include "zone/state.h"

#include <errno.h>
#include <string.h>

int zone_get(struct zone *zone, struct zone_handle handle, struct store_inode *out)
{
    int rv = store_inode_get(zone->store, handle.ino, out);

    if (rv == OUT_NOENT || (rv == 0 && out->gen != handle.gen)) {
        return OUT_STALE;
    }
    return rv;
}

int zone_get_ino(struct zone *zone, uint64_t ino, struct store_inode *out)
{
    int rv = store_inode_get(zone->store, ino, out);

    return rv > 0 ? -EUCLEAN : rv;
}

int zone_get_dir(struct zone *zone, struct zone_handle handle, struct store_inode *out,
                 struct zone_wcc *wcc)
{
    int rv = zone_get(zone, handle, out);

    if (rv != 0) {
        return rv;
    }
    zone_wcc_begin(wcc, out);
    return out->type == ZONE_DIR ? 0 : OUT_NOTDIR;
}

int zone_child(struct zone *zone, uint64_t dir, struct slice name,
               struct store_inode *out)
{
    struct store_dirent entry;
    int rv = store_dirent_get(zone->store, dir, name, &entry);

    if (rv != 0) {
        return rv;
    }
    return zone_get_ino(zone, entry.ino, out);
}

int zone_name_check(struct slice name)
{
    if (name.len > ZONE_NAME_MAX) {
        return OUT_NAMETOOLONG;
    }
    if (name.len == 0 || memchr(name.data, '/', name.len) != NULL ||
        memchr(name.data, '\0', name.len) != NULL) {
        return OUT_INVAL;
    }
    return 0;
}

bool zone_name_is_dot(struct slice name)
{
    return name.len == 1 && name.data[0] == '.';
}

bool zone_name_is_dotdot(struct slice name)
{
    return name.len == 2 && name.data[0] == '.' && name.data[1] == '.';
}

struct zone_time zone_time_of(int64_t ns)
{
    struct zone_time time = {.sec = ns / (int64_t)ZONE_NSEC};
    int64_t rest = ns % (int64_t)ZONE_NSEC;

    if (rest < 0) {
        time.sec--;
        rest += ZONE_NSEC;
    }
    time.nsec = (uint32_t)rest;
    return time;
}

int zone_time_to_ns(struct zone_time time, int64_t *ns)
{
    int64_t value;

    if (__builtin_mul_overflow(time.sec, (int64_t)ZONE_NSEC, &value) ||
        __builtin_add_overflow(value, (int64_t)time.nsec, &value)) {
        return OUT_INVAL;
    }
    *ns = value;
    return 0;
}

void zone_attr_of(const struct store_inode *inode, struct zone_attr *out)
{
    bool dir = inode->type == ZONE_DIR;

    *out = (struct zone_attr){
        .type = (enum zone_type)inode->type,
        .mode = inode->mode,
        .nlink = inode->nlink,
        .uid = inode->uid,
        .gid = inode->gid,
        .rdev_major = inode->rdev_major,
        .rdev_minor = inode->rdev_minor,
        .size = dir ? ZONE_DIR_SIZE : inode->size,
        .used = dir ? ZONE_DIR_SIZE : inode->used,
        .ino = inode->ino,
        .gen = inode->gen,
        .change = inode->version,
        .atime = zone_time_of(inode->atime),
        .mtime = zone_time_of(inode->mtime),
        .ctime = zone_time_of(inode->ctime),
    };
}

void zone_show_obj(struct zone_result *result, const struct store_inode *inode)
{
    result->has_obj = true;
    zone_attr_of(inode, &result->obj);
}

void zone_wcc_begin(struct zone_wcc *wcc, const struct store_inode *inode)
{
    wcc->has_before = true;
    wcc->before_size = inode->type == ZONE_DIR ? ZONE_DIR_SIZE : inode->size;
    wcc->before_mtime = zone_time_of(inode->mtime);
    wcc->before_ctime = zone_time_of(inode->ctime);
    zone_wcc_end(wcc, inode);
}

void zone_wcc_end(struct zone_wcc *wcc, const struct store_inode *inode)
{
    wcc->has_after = true;
    zone_attr_of(inode, &wcc->after);
}
