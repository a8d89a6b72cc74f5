/*
 * admin_room: has every member of a zone the room that another quota promises? Members that
 * do not answer are left out: a quota can be changed without them.
 */
#include "daemon/admin.h"

#include "daemon/json.h"

#include <string.h>

#define GIB ((double)(1ull << 30))

/* Of the array @key of @part: the item whose text @name is @value; or NULL. */
static const cJSON *item_with(const cJSON *part, const char *key, const char *name,
                              const char *value)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(part, key))
    {
        const cJSON *text = cJSON_GetObjectItemCaseSensitive(item, name);

        if (cJSON_IsString(text) && strcmp(text->valuestring, value) == 0) {
            return item;
        }
    }
    return NULL;
}

static void check_member(struct admin_call *call, const struct directory_zone *zone,
                         const struct directory_member *member)
{
    const cJSON *part = admin_status_part(call, member->node);
    const cJSON *pool = item_with(part, "pools", "name", member->pool);
    uint64_t free_bytes = 0;
    uint64_t disk_bytes = 0;
    char hex[33];

    if (!json_u64(pool, "free_bytes", &free_bytes)) {
        return;
    }
    hex_put(hex, zone->id, sizeof zone->id);
    (void)json_u64(item_with(part, "zones", "id", hex), "disk_bytes", &disk_bytes);
    if (free_bytes + disk_bytes < call->bytes) {
        admin_warn(
            call,
            "node '%s' has room for %.1f GiB of the zone in pool '%s', less than the "
            "quota of %.1f GiB: the zone can fill that disk before its quota",
            node_name_of(call->node, member->node),
            (double)(free_bytes + disk_bytes) / GIB, member->pool,
            (double)call->bytes / GIB);
    }
}

void admin_room_check(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);

    if (zone == NULL) {
        return;
    }
    if (call->phase == 0) {
        call->phase = 1;
        admin_status_ask(call);
    }
    if (call->busy > 0) {
        return;
    }
    for (uint32_t i = 0; i < zone->n_members; i++) {
        check_member(call, zone, &zone->members[i]);
    }
    admin_done(call, NULL);
}
