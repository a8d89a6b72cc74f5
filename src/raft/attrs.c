#include "raft/attrs.h"

#include "base/assert.h"

#include <stdlib.h>

_Static_assert(sizeof(struct attrs_known[ATTRS_SETS][ATTRS_WAYS]) <= 8u << 20, "bounded");

static uint64_t hash_of(uint64_t ino)
{
    return ino * 0x9e3779b97f4a7c15ull >> 32;
}

static uint64_t *place_of(struct attrs *attrs, uint64_t ino)
{
    return &attrs->touched[hash_of(ino) % ATTRS_PLACES];
}

void attrs_deinit(struct attrs *attrs)
{
    free(attrs->sets);
    attrs->sets = NULL;
}

uint64_t attrs_stamp(const struct attrs *attrs)
{
    return attrs->clock;
}

bool attrs_used(const struct attrs *attrs)
{
    return attrs->sets != NULL;
}

/* Where @ino is, whatever its generation; NULL: nowhere. */
static struct attrs_known *find(struct attrs *attrs, uint64_t ino)
{
    struct attrs_known *set;

    if (attrs->sets == NULL) {
        return NULL;
    }
    set = attrs->sets[hash_of(ino) % ATTRS_SETS];
    for (uint32_t i = 0; i < ATTRS_WAYS; i++) {
        if (set[i].stamp != 0 && set[i].attr.ino == ino) {
            return &set[i];
        }
    }
    return NULL;
}

/* What was read of @ino before @stamp is not right any more. */
static void forget_one(struct attrs *attrs, uint64_t stamp, uint64_t ino)
{
    struct attrs_known *known = find(attrs, ino);
    uint64_t *touched = place_of(attrs, ino);

    if (known != NULL && known->stamp < stamp) {
        known->stamp = 0;
    }
    *touched = *touched > stamp ? *touched : stamp;
}

void attrs_touch(struct attrs *attrs, const uint64_t *ino, uint32_t n)
{
    attrs->clock++;
    if (n == ZONE_TOUCH_ANY) {
        attrs->waits = true;
        return;
    }
    ASSERT(n <= ZONE_TOUCH_MAX);
    for (uint32_t i = 0; i < n && !attrs->keeps_stale; i++) {
        forget_one(attrs, attrs->clock, ino[i]);
    }
}

void attrs_told(struct attrs *attrs, uint64_t stamp, const uint64_t *ino, uint32_t n)
{
    ASSERT(stamp <= attrs->clock);
    if (attrs->keeps_stale || attrs->keeps_told) {
        return;
    }
    if (n == ZONE_TOUCH_ANY) {
        attrs->forgot = attrs->forgot > stamp ? attrs->forgot : stamp;
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        forget_one(attrs, stamp, ino[i]);
    }
}

void attrs_told_all(struct attrs *attrs)
{
    attrs->waits = false;
}

void attrs_forget(struct attrs *attrs)
{
    attrs->clock++;
    if (!attrs->keeps_stale) {
        attrs->forgot = attrs->clock;
    }
}

bool attrs_get(struct attrs *attrs, struct zone_handle obj, struct zone_attr *out)
{
    struct attrs_known *known = find(attrs, obj.ino);

    if (attrs->waits || known == NULL || known->stamp < attrs->forgot ||
        known->attr.gen != obj.gen) {
        return false;
    }
    known->stamp = attrs->clock; /* Right now, too; and the last to be given up. */
    *out = known->attr;
    return true;
}

void attrs_put(struct attrs *attrs, uint64_t stamp, const struct zone_attr *attr,
               bool first)
{
    struct attrs_known *place;
    struct attrs_known *set;

    ASSERT(stamp <= attrs->clock);
    if (attr->nlink == 0 || stamp == 0 || stamp < attrs->forgot ||
        stamp < *place_of(attrs, attr->ino)) {
        return;
    }
    if (attrs->sets == NULL && first) {
        attrs->sets = calloc(ATTRS_SETS, sizeof *attrs->sets);
    }
    if (attrs->sets == NULL) {
        return; /* No memory: the zone's thread knows. */
    }
    place = find(attrs, attr->ino);
    set = attrs->sets[hash_of(attr->ino) % ATTRS_SETS];
    for (uint32_t i = 0; i < ATTRS_WAYS && place == NULL; i++) {
        place = set[i].stamp == 0 ? &set[i] : NULL;
    }
    if (place == NULL) {
        place = &set[0];
        for (uint32_t i = 1; i < ATTRS_WAYS; i++) {
            place = set[i].stamp < place->stamp ? &set[i] : place;
        }
    }
    if (place->attr.ino == attr->ino && place->stamp > stamp) {
        return; /* That was read later. */
    }
    *place = (struct attrs_known){.stamp = stamp, .attr = *attr};
}
