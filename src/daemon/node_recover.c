/*
 * node_recover: zones whose row says that they were recovered.
 *
 * A recovered zone has new raft ids for all who go on (docs/adr/0006-recover.md). Their
 * data goes along, and what others of its members had is kept aside when they hear of it.
 */
#include "daemon/node.h"

#include "base/log.h"
#include "daemon/dataset.h"
#include "daemon/event.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool node_carries(const struct node_zone *local, const struct directory_member *member)
{
    return member->from != 0 && member->from == local->raft_id && local->created &&
           !local->stale;
}

void node_recovery(const struct node_zone *local, const struct directory_zone *zone,
                   const struct directory_member *member, struct host_recovery *out)
{
    *out = (struct host_recovery){
        .carried = local->raft_id != member->raft_id,
        .lead = zone->recovery.lead == member->raft_id,
        .term_above = zone->recovery.term,
        .index_max = zone->recovery.index,
        .time_s = zone->recovery.time_s,
    };
}

uint64_t node_keeps(const struct node *node, const struct node_zone *local)
{
    const struct directory_zone *zone = directory_zone(&node->directory, local->id);

    if (zone == NULL || directory_is_gone(&node->directory, local->id)) {
        return 0; /* A zone that was deleted is gone on purpose. */
    }
    if (local->epoch != node->epoch) {
        /* A directory that was recovered may have forgotten that it is a member. */
        return (uint64_t)time(NULL);
    }
    return (local->raft_id & 0xffff) < zone->recovery.life ? zone->recovery.time_s : 0;
}

struct reopening {
    struct node *node;
    uint8_t zone_id[16];
};

static void on_closed(void *arg)
{
    struct reopening *reopening = arg;
    struct node *node = reopening->node;

    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (memcmp(node->zones[i].id, reopening->zone_id, 16) == 0) {
            node->zones[i].closing = false;
        }
    }
    free(reopening);
    if (!node->stopping) {
        node_zones_refresh(node);
    }
    node_part_end(node);
}

void node_zone_reopen(struct node *node, struct node_zone *local)
{
    struct reopening *reopening = calloc(1, sizeof *reopening);
    struct host *host = local->host;

    if (reopening == NULL) {
        return; /* The next refresh tries again. */
    }
    reopening->node = node;
    memcpy(reopening->zone_id, local->id, sizeof reopening->zone_id);
    log_info("daemon",
             "msg=\"the zone was recovered: going on as another member\" zone=%s",
             local->slug);
    local->closing = true;
    local->host = NULL;
    node_part_begin(node);
    host_close(host, on_closed, reopening);
}

void node_recover_tick(struct node *node)
{
    bool found = false;

    for (uint32_t i = 0; i < node->n_zones; i++) {
        struct node_zone *local = &node->zones[i];

        if (local->host != NULL && host_is_stale(local->host) && !local->stale) {
            event_tell(EVENT_RECOVERED, local->slug,
                       "this member had more than the one with which the zone was "
                       "recovered: it begins anew, its data is kept");
            local->stale = true;
            found = true;
        }
    }
    if (found) {
        node_zones_refresh(node);
    }
}

struct keeping {
    const char *folder;
    uint32_t left;
    void (*each)(void *ctx, const char *path);
    void *ctx;
};

static int look_at(void *arg, const char *name)
{
    struct keeping *keeping = arg;
    char path[HOST_PATH_MAX];

    if (keeping->left > 0 && strstr(name, DATASET_KEPT_MARK) != NULL) {
        keeping->left--;
        snprintf(path, sizeof path, "%s/%s", keeping->folder, name);
        keeping->each(keeping->ctx, path);
    }
    return 0;
}

void node_each_kept(struct node *node, uint32_t max,
                    void (*each)(void *ctx, const char *path), void *ctx)
{
    struct keeping keeping = {.left = max, .each = each, .ctx = ctx};

    for (uint32_t i = 0; i < node->config.n_pools; i++) {
        keeping.folder = node->config.pools[i].path;
        (void)node->disk->ops->list(node->disk, keeping.folder, look_at, &keeping);
    }
}
