#include "nfs/nfs3_atime.h"

#include "nfs/nfs3_procs.h"

#include "base/crc32c.h"
#include "base/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAYS = 4, /* An object has this many places, so a lookup is bounded. */
    SETS = NFS3_ATIMES_MAX / WAYS,
    KEY_BYTES = 32,
};

struct atime {
    uint8_t key[KEY_BYTES]; /* Zone, inode, generation. */
    struct zone_time base;  /* The zone's atime when it was read. */
    struct zone_time last;  /* All zero: the place is free. */
};

struct nfs3_atimes {
    struct zone_time (*now)(void);
    struct atime sets[SETS][WAYS];
};

int nfs3_atimes_new(struct zone_time (*now)(void), struct nfs3_atimes **out)
{
    struct nfs3_atimes *atimes = calloc(1, sizeof *atimes);

    if (atimes == NULL) {
        return -ENOMEM;
    }
    atimes->now = now;
    *out = atimes;
    return 0;
}

void nfs3_atimes_free(struct nfs3_atimes *atimes)
{
    free(atimes);
}

static bool is_before(struct zone_time one, struct zone_time other)
{
    return one.sec != other.sec ? one.sec < other.sec : one.nsec < other.nsec;
}

static struct zone_time later(struct zone_time one, struct zone_time other)
{
    return is_before(one, other) ? other : one;
}

static uint32_t set_of(const uint8_t zone_id[16], struct zone_handle obj,
                       uint8_t key[KEY_BYTES])
{
    struct wire_enc enc = wire_enc(key, KEY_BYTES);

    wire_put_bytes(&enc, zone_id, 16);
    wire_put_u64(&enc, obj.ino);
    wire_put_u64(&enc, obj.gen);
    return crc32c(0, key, KEY_BYTES) % SETS;
}

static bool is_of(const struct atime *entry, const uint8_t key[KEY_BYTES])
{
    return memcmp(entry->key, key, KEY_BYTES) == 0;
}

void nfs3_atime_read(struct nfs3_atimes *atimes, const uint8_t zone_id[16],
                     const struct zone_attr *attr)
{
    struct zone_time now = later(atimes->now(), later(attr->mtime, attr->ctime));
    struct zone_handle obj = {.ino = attr->ino, .gen = attr->gen};
    uint8_t key[KEY_BYTES];
    struct atime *set = atimes->sets[set_of(zone_id, obj, key)];
    struct atime *place = &set[0];

    for (unsigned i = 0; i < WAYS; i++) {
        if (is_of(&set[i], key)) {
            place = &set[i];
            break;
        }
        if (is_before(set[i].last, place->last)) {
            place = &set[i];
        }
    }
    memcpy(place->key, key, KEY_BYTES);
    place->base = attr->atime;
    place->last = now;
}

void nfs3_atime_forget(struct nfs3_atimes *atimes, const uint8_t zone_id[16],
                       struct zone_handle obj)
{
    uint8_t key[KEY_BYTES];
    struct atime *set = atimes->sets[set_of(zone_id, obj, key)];

    for (unsigned i = 0; i < WAYS; i++) {
        if (is_of(&set[i], key)) {
            set[i] = (struct atime){0};
        }
    }
}

void nfs3_atime_show(const struct nfs3_atimes *atimes, const uint8_t zone_id[16],
                     struct zone_attr *attr)
{
    struct zone_handle obj = {.ino = attr->ino, .gen = attr->gen};
    uint8_t key[KEY_BYTES];
    const struct atime *set = atimes->sets[set_of(zone_id, obj, key)];

    for (unsigned i = 0; i < WAYS; i++) {
        /* With another base somebody set the atime since, through whatever node. */
        if (is_of(&set[i], key) && set[i].base.sec == attr->atime.sec &&
            set[i].base.nsec == attr->atime.nsec) {
            attr->atime = later(attr->atime, set[i].last);
        }
    }
}

/* What @request did to the atime of the object in @attr, which its zone does not know. */
static void note(const struct rpc_request *request, const struct zone_attr *attr)
{
    const struct nfs3_call *call = &request->nfs3;

    switch ((int)call->op.type) {
    case ZONE_OP_READ:
    case ZONE_OP_READDIR:
    case ZONE_OP_READLINK:
        nfs3_atime_read(request->atimes, call->zone.id, attr);
        break;
    case ZONE_OP_SETATTR:
        if (call->op.sattr.set_atime != ZONE_TIME_KEEP) {
            nfs3_atime_forget(request->atimes, call->zone.id, call->op.obj);
        }
        break;
    default:
        break;
    }
}

void nfs3_atime_pass(const struct rpc_request *request, struct zone_result *result)
{
    const struct nfs3_call *call = &request->nfs3;
    bool found_root = call->found_root || (call->root && call->found.fsid == 0);
    const struct nfs_zone *zone = call->found.fsid != 0 ? &call->found : &call->zone;

    if (request->atimes == NULL) {
        return;
    }
    /* The root folder, which no zone has, is not read. */
    if (result->outcome == 0 && result->has_obj && !found_root) {
        note(request, &result->obj);
    }
    if (result->has_obj && !found_root) {
        nfs3_atime_show(request->atimes, zone->id, &result->obj);
    }
    if (result->dir.has_after && !call->root) {
        nfs3_atime_show(request->atimes, zone->id, &result->dir.after);
    }
    if (result->to.has_after && !call->root) {
        nfs3_atime_show(request->atimes, zone->id, &result->to.after);
    }
}
