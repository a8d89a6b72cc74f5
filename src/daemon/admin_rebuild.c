/*
 * zone-rebuild: a person says that a member's data is gone for good (node_repair); and
 * zone-retry: that what it failed for is cured (node_retry).
 */
#include "daemon/admin.h"

#include "daemon/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_answer(struct admin_call *call, uint64_t from, const cJSON *answer)
{
    char error[512];

    if (answer == NULL) {
        admin_error(call, "node '%s' does not answer: it must be running",
                    node_name_of(call->node, from));
    } else if (json_flag(answer, "ok")) {
        admin_done(call, NULL);
    } else {
        admin_error(call, "%s: %s", node_name_of(call->node, from),
                    json_text(answer, "error", error, sizeof error) ? error : "refused");
    }
}

/* Nothing is made on the folder that lies under a disk that is not mounted. */
static bool has_marker(struct admin_call *call, const char *folder)
{
    char path[CONFIG_TEXT_MAX + 32];
    char *text = NULL;
    size_t len = 0;
    int rv;

    snprintf(path, sizeof path, "%s/" NODE_POOL_MARKER, folder);
    rv = disk_read_file(call->node->disk, path, 256, &text, &len);
    free(text);
    return rv == 0;
}

static bool is_mounted(struct admin_call *call, const struct node_zone *local)
{
    const struct config_pool *pool = config_pool(&call->node->config, local->pool);

    return pool != NULL && has_marker(call, pool->path) &&
           (pool->journal[0] == '\0' || has_marker(call, pool->journal));
}

static struct node_zone *local_zone(struct admin_call *call,
                                    const struct directory_zone *zone)
{
    for (uint32_t i = 0; i < call->node->n_zones; i++) {
        struct node_zone *local = &call->node->zones[i];

        if (memcmp(local->id, zone->id, sizeof local->id) == 0 && !local->removing) {
            return local;
        }
    }
    return NULL;
}

static void rebuild_here(struct admin_call *call, const struct directory_zone *zone)
{
    struct node_zone *local = local_zone(call, zone);

    if (local == NULL) {
        admin_error(call, "this node is no member of '%s'", call->slug);
    } else if (zone->n_members == 1) {
        admin_error(call,
                    "'%s' has no other member to copy from: see gvraft zone recover",
                    call->slug);
    } else if (!is_mounted(call, local)) {
        admin_error(call,
                    "the pool '%s' is not there: mount it; on a new disk make an empty "
                    "file " NODE_POOL_MARKER " in its folder first",
                    local->pool);
    } else if (!node_repair_give_up(call->node, local)) {
        admin_error(call,
                    "this member has its data and works: there is nothing to rebuild");
    } else {
        admin_done(call, NULL);
    }
}

static void retry_here(struct admin_call *call, const struct directory_zone *zone)
{
    struct node_zone *local = local_zone(call, zone);

    if (local == NULL) {
        admin_error(call, "this node is no member of '%s'", call->slug);
    } else if (local->closing || node_retry_now(call->node, local)) {
        admin_done(call, NULL);
    } else if (local->host == NULL || host_state(local->host) != HOST_FAILED) {
        admin_error(call, "this member did not fail: there is nothing to try again");
    } else if (call->node->twin) {
        admin_error(call,
                    "another daemon is this node: stop one of the two, then restart "
                    "the other");
    } else {
        admin_error(call, "its data is not used again: see gvraft zone show '%s'",
                    call->slug);
    }
}

/* Have it done where the member is. */
static void where_it_is(struct admin_call *call, const char *command,
                        void (*here)(struct admin_call *call,
                                     const struct directory_zone *zone))
{
    const struct directory_zone *zone = admin_zone(call);
    const struct directory_node *other = NULL;
    cJSON *args;

    if (zone == NULL) {
        return;
    }
    if (cJSON_GetObjectItemCaseSensitive(call->args, "node") != NULL) {
        other = admin_node(call, "node");
        if (other == NULL) {
            return;
        }
    }
    if (other == NULL || other->peer.number == call->node->number) {
        here(call, zone);
    } else if (call->phase == 0) {
        call->phase = 1;
        args = cJSON_CreateObject();
        cJSON_AddStringToObject(args, "slug", call->slug);
        admin_ask(call, other->peer.number, command, args, on_answer);
    }
}

void admin_zone_rebuild(struct admin_call *call)
{
    where_it_is(call, "zone-rebuild", rebuild_here);
}

void admin_zone_retry(struct admin_call *call)
{
    where_it_is(call, "zone-retry", retry_here);
}
