/*
 * node_zones: the hosts that this node runs, as the directory says.
 *
 * A dataset is only ever removed on positive evidence: the directory's tombstone of its
 * zone, or a later member list without this node. A view that is merely old never
 * removes anything.
 */
#include "daemon/node.h"

#include "base/assert.h"
#include "base/log.h"
#include "daemon/dataset.h"
#include "daemon/json.h"
#include "zone/zone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEARTBEAT_PART 8u /* Of an election timeout. */

#define DIRECTORY_QUOTA_BYTES (1ull << 30)

struct host *node_host(struct node *node, const uint8_t zone_id[16])
{
    if (node->home != NULL && memcmp(zone_id, node->grapevine_id, 16) == 0) {
        return node->home;
    }
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (memcmp(node->zones[i].id, zone_id, 16) == 0) {
            return node->zones[i].host;
        }
    }
    return NULL;
}

void node_each_host(struct node *node, void (*each)(struct node *node, struct host *host))
{
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (node->zones[i].host != NULL) {
            each(node, node->zones[i].host);
        }
    }
    if (node->home != NULL) {
        each(node, node->home);
    }
}

static void fill_config(struct node *node, struct host_config *config)
{
    *config = (struct host_config){
        .loop = node->loop,
        .inbox = &node->inbox,
        .disk = node->disk,
        .election_ms = node->config.election_ms,
        .heartbeat_ms = node->config.heartbeat_ms,
        .leases = node->config.leases != 0,
        .journal_bytes_max = node->config.journal_bytes,
        .scrub = {.rate_bytes = node->config.scrub_rate,
                  .every_s = node->config.scrub_every_days * 86400ull},
    };
    node_random(&config->seed, sizeof config->seed);
}

/* The first configuration of a group: all its first members vote. Empty if there can be
 * no such group. */
static struct slice first_conf(const struct rgroup_conf *conf)
{
    struct buf *buf = buf_new(RGROUP_CONF_BYTES_MAX);
    struct slice slice = {0};
    size_t len = 0;

    if (buf != NULL && rgroup_conf_encode(conf, buf->data, buf->cap, &len) == 0) {
        buf->len = len;
        slice = slice_of(buf, 0, len);
    }
    buf_unref(buf);
    return slice;
}

int node_home_open(struct node *node, bool initial)
{
    struct router_zone route = {0};
    struct host_callbacks callbacks;
    struct host_config config;
    struct slice bootstrap = {0};
    int rv;

    fill_config(node, &config);
    memcpy(config.zone_id, node->grapevine_id, sizeof config.zone_id);
    strcpy(config.label, "(grapevine)");
    strcpy(config.pool, "(state)");
    snprintf(config.dir, sizeof config.dir, "%s/directory", node->config.state);
    snprintf(config.journal, sizeof config.journal, "%s/directory/journal",
             node->config.state);
    config.raft_id = node_home_id(node, node->number);
    config.lost = node->home_lost;
    config.failure = node->home_failure;
    config.create = !node->home_created;
    node_marks_get(node, node->grapevine_id, &config.marks);
    config.genesis =
        (struct zone_genesis){.quota_bytes = DIRECTORY_QUOTA_BYTES, .root_mode = 0700};
    if (node->home_epoch != node->epoch) {
        config.recovery = (struct host_recovery){
            .carried = true,
            .lead = true,
            .term_above = node->home_term,
            .time_s = (uint64_t)time(NULL),
        };
    }
    if (node->epoch == 0 &&
        (initial || (node->number == 1 && !node->home_created && node->home_life == 1))) {
        struct rgroup_conf conf = {
            .n = 1, .servers = {{.id = config.raft_id, .role = RGROUP_VOTER}}};

        bootstrap = first_conf(&conf);
        config.bootstrap = bootstrap;
        if (bootstrap.len == 0) {
            return -ENOMEM;
        }
    }
    node_host_callbacks(node, &callbacks);
    rv = host_open(&config, &callbacks, &node->home);
    slice_unref(&bootstrap);
    if (rv == 0) {
        node->home_failure = (struct host_failure){0};
        memcpy(route.id, node->grapevine_id, sizeof route.id);
        route.n_members = 1;
        route.nodes[0] = node->number;
        /* A copy that is lost names nobody: whom it named before is known. */
        for (uint32_t i = 0; i < node->n_known && route.n_members < ROUTER_MEMBERS_MAX;
             i++) {
            if (node->known[i].number != node->number) {
                route.nodes[route.n_members++] = node->known[i].number;
            }
        }
        node_router_event(node,
                          &(struct router_event){.type = ROUTER_EV_ZONE, .zone = &route});
    }
    return rv;
}

/* Opening and closing of zones. */

static void paths_of(struct node *node, const struct node_zone *zone,
                     const struct config_pool *pool, char *dir, char *journal)
{
    (void)node;
    snprintf(dir, HOST_PATH_MAX, "%s/%s", pool->path, zone->slug);
    if (pool->journal[0] != '\0') {
        snprintf(journal, HOST_PATH_MAX, "%s/%s", pool->journal, zone->slug);
    } else {
        snprintf(journal, HOST_PATH_MAX, "%s/%s/journal", pool->path, zone->slug);
    }
}

static void zone_conf(const struct directory_zone *zone, struct rgroup_conf *conf)
{
    *conf = (struct rgroup_conf){0};
    for (uint32_t i = 0; i < zone->genesis.n_first; i++) {
        conf->servers[conf->n++] =
            (struct rgroup_server){.id = zone->genesis.first[i], .role = RGROUP_VOTER};
    }
}

static void zone_host_open(struct node *node, struct node_zone *local,
                           const struct directory_zone *zone,
                           const struct directory_member *member)
{
    const struct config_pool *pool = config_pool(&node->config, local->pool);
    bool first = directory_is_first(zone, member->raft_id);
    struct host_callbacks callbacks;
    struct host_config config;
    struct slice bootstrap = {0};
    struct rgroup_conf conf;
    int rv;

    fill_config(node, &config);
    memcpy(config.zone_id, zone->id, sizeof config.zone_id);
    snprintf(config.label, sizeof config.label, "%s", zone->slug);
    snprintf(config.pool, sizeof config.pool, "%.63s", local->pool);
    if (pool == NULL) {
        /* The host shows it as a dataset that is not there. */
        snprintf(config.dir, sizeof config.dir, "(pool %s is not configured)",
                 local->pool);
        strcpy(config.journal, config.dir);
    } else {
        paths_of(node, local, pool, config.dir, config.journal);
        snprintf(config.mounted, sizeof config.mounted, "%s/" NODE_POOL_MARKER,
                 pool->path);
        if (pool->journal[0] != '\0') {
            snprintf(config.journal_mounted, sizeof config.journal_mounted,
                     "%s/" NODE_POOL_MARKER, pool->journal);
        }
    }
    config.lost = local->lost;
    config.failure = local->failure;
    node_marks_get(node, local->id, &config.marks);
    config.raft_id = member->raft_id;
    config.create = !local->created && pool != NULL;
    config.election_ms = node_election_ms(node, zone);
    config.heartbeat_ms = config.election_ms / HEARTBEAT_PART;
    node_recovery(local, zone, member, &config.recovery);
    config.genesis = (struct zone_genesis){
        .quota_bytes = zone->genesis.quota_bytes,
        .root_uid = zone->genesis.root_uid,
        .root_gid = zone->genesis.root_gid,
        .root_mode = zone->genesis.root_mode,
        .time_ns = zone->genesis.created_ns,
    };
    if (first) {
        zone_conf(zone, &conf);
        bootstrap = first_conf(&conf);
        config.bootstrap = bootstrap;
    }
    node_host_callbacks(node, &callbacks);
    rv = first && bootstrap.len == 0 ? -EINVAL
                                     : host_open(&config, &callbacks, &local->host);
    slice_unref(&bootstrap);
    if (rv != 0) {
        log_error("daemon", "msg=\"could not open a zone\" zone=%s error=\"%s\"",
                  zone->slug, strerror(-rv));
        return;
    }
    local->failure = (struct host_failure){0};
    if (node->twin) {
        host_twin(local->host);
    }
}

/* Removing a dataset, on a pool thread. */

struct removal {
    uv_work_t work;
    struct node *node;
    uint8_t zone_id[16];
    const struct config_pool *pool; /* NULL: it is not configured any more. */
    uint64_t keep_s;                /* Not 0: kept, under a name with this time. */
    char slug[DIRECTORY_NAME_MAX + 1];
    bool aside; /* Not removed, but kept until there is a new copy. */
    int rv;
    char dir[HOST_PATH_MAX];
    char journal[HOST_PATH_MAX];
};

static void run_removal(uv_work_t *work)
{
    struct removal *removal = work->data;

    if (removal->pool == NULL) {
        removal->rv = -ENODEV;
        return;
    }
    if (removal->keep_s == 0 &&
        (removal->aside || dataset_is_damaged(removal->pool->path, removal->slug))) {
        char stamp[32];

        node_repair_stamp(stamp, sizeof stamp);
        removal->rv = dataset_set_aside(removal->pool->path, removal->slug,
                                        removal->journal, removal->zone_id, stamp);
        return;
    }
    removal->rv = removal->keep_s != 0
                      ? dataset_keep(removal->pool->path, removal->slug, removal->journal,
                                     removal->zone_id, removal->keep_s)
                      : dataset_remove(removal->pool->path, removal->slug,
                                       removal->journal, removal->zone_id);
}

static void done_removal(uv_work_t *work, int status)
{
    struct removal *removal = work->data;
    struct node *node = removal->node;

    (void)status;
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (memcmp(node->zones[i].id, removal->zone_id, 16) == 0) {
            if (removal->rv != 0) {
                log_warn("daemon",
                         "msg=\"dataset not removed whole, remove the rest by hand\" "
                         "zone=%s dir=\"%s\" error=\"%s\"",
                         node->zones[i].slug, removal->dir,
                         removal->rv == -EEXIST ? "this folder is not that zone's"
                                                : strerror(-removal->rv));
            } else {
                log_info("daemon", "msg=\"dataset %s\" zone=%s",
                         removal->keep_s != 0 ? "kept aside"
                         : removal->aside     ? "set aside"
                                              : "removed",
                         node->zones[i].slug);
            }
            node_watch_free(node->zones[i].watch);
            node->zones[i] = node->zones[--node->n_zones];
            node_zones_save(node);
            break;
        }
    }
    free(removal);
    if (!node->stopping) {
        node_zones_refresh(node);
    }
    node_part_end(node);
}

static void on_zone_closed(void *arg)
{
    struct removal *removal = arg;
    int rv;

    removal->work.data = removal;
    rv = uv_queue_work(removal->node->loop, &removal->work, run_removal, done_removal);
    ASSERT(rv == 0);
}

static void zone_remove(struct node *node, struct node_zone *local)
{
    const struct directory_zone *zone = directory_zone(&node->directory, local->id);
    const struct config_pool *pool = config_pool(&node->config, local->pool);
    const struct directory_member *member;
    struct removal *removal = calloc(1, sizeof *removal);
    struct host *host = local->host;

    if (removal == NULL) {
        return; /* The next refresh tries again. */
    }
    log_info("daemon", "msg=\"this node is no longer a member\" zone=%s", local->slug);
    removal->node = node;
    removal->keep_s = node_keeps(node, local);
    member = zone == NULL ? NULL : directory_member(zone, node->number);
    /* One that was never whole, or is to go anyhow, nobody will ever want. Else it is kept
     * until there is a new one: the other members may be gone before that. */
    removal->aside =
        member != NULL && local->complete &&
        (local->lost != HOST_LOST_NOT || strcmp(member->pool, local->pool) == 0);
    memcpy(removal->zone_id, local->id, sizeof removal->zone_id);
    if (pool != NULL) {
        removal->pool = pool;
        strcpy(removal->slug, local->slug);
        paths_of(node, local, pool, removal->dir, removal->journal);
    } else {
        snprintf(removal->dir, sizeof removal->dir,
                 "%s of pool %s, which is not configured", local->slug, local->pool);
    }
    local->removing = true;
    local->host = NULL;
    node_part_begin(node);
    if (host != NULL) {
        host_close(host, on_zone_closed, removal);
    } else {
        on_zone_closed(removal);
    }
}

/* What the peers that are up already mean to a host that has just begun to run. */
static void tell_links(struct node *node, struct host *host)
{
    const struct directory_zone *zone =
        directory_zone(&node->directory, host_zone_id(host));

    for (uint32_t i = 0; i < node->n_known; i++) {
        uint64_t number = node->known[i].number;
        const struct directory_member *member =
            zone == NULL ? NULL : directory_member(zone, number);
        uint64_t raft_id = host == node->home ? node_home_id(node, number)
                           : member != NULL   ? member->raft_id
                                              : 0;

        if (raft_id != 0 && node->link_up[i]) {
            host_peer(host, raft_id, true);
        }
    }
}

static struct node_zone *local_zone(struct node *node, const uint8_t id[16])
{
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (memcmp(node->zones[i].id, id, 16) == 0) {
            return &node->zones[i];
        }
    }
    return NULL;
}

/* True if another zone, perhaps one that is being removed, still has this one's folder:
 * whoever deletes a zone may at once make another of the same name. */
static bool folder_taken(const struct node *node, const struct node_zone *local)
{
    for (uint32_t i = 0; i < node->n_zones; i++) {
        const struct node_zone *other = &node->zones[i];

        if (other != local && strcmp(other->slug, local->slug) == 0 &&
            strcmp(other->pool, local->pool) == 0) {
            return true;
        }
    }
    return false;
}

/* The zone is this node's alone, under a later raft id than zones.json has. Then this node
 * had all of it when the last of the others left, and nobody else has anything: zones.json
 * is old (put back from a backup, say), and what lies here is not to go for that. Is it the
 * dataset that is old, it is no voter by its own log, and waits. */
static bool is_all_there_is(const struct node_zone *local,
                            const struct directory_zone *zone,
                            const struct directory_member *member)
{
    return zone->n_members == 1 && member->raft_id > local->raft_id &&
           local->lost == HOST_LOST_NOT && strcmp(member->pool, local->pool) == 0;
}

static void zone_adopt(struct node *node, const struct directory_zone *zone,
                       const struct directory_member *member)
{
    struct node_zone *local = local_zone(node, zone->id);

    if (local == NULL && node->n_zones < DIRECTORY_ZONES_MAX) {
        local = &node->zones[node->n_zones++];
        *local =
            (struct node_zone){.raft_id = member->raft_id,
                               .epoch = node->epoch,
                               .complete = directory_is_first(zone, member->raft_id)};
        memcpy(local->id, zone->id, sizeof local->id);
        strcpy(local->pool, member->pool);
        strcpy(local->slug, zone->slug);
        node_zones_save(node);
    }
    if (local != NULL && !local->removing && !node_carries(local, member) &&
        is_all_there_is(local, zone, member)) {
        log_warn(
            "daemon",
            "msg=\"zones.json is older than the directory: the dataset is kept, since "
            "the zone has no other member\" zone=%s",
            local->slug);
        local->raft_id = member->raft_id;
        node_zones_save(node);
    }
    if (local == NULL || local->removing || local->closing ||
        (local->raft_id != member->raft_id && !node_carries(local, member))) {
        return; /* An earlier membership is still being taken away. */
    }
    if (local->raft_id == member->raft_id && local->epoch != node->epoch) {
        local->epoch = node->epoch; /* This epoch's directory knows of it. */
        node_zones_save(node);
    }
    if (local->host != NULL && host_raft_id(local->host) != member->raft_id) {
        node_zone_reopen(node, local);
        return;
    }
    if (local->host == NULL && !node->stopping && !node->zones_unsaved &&
        !folder_taken(node, local)) {
        zone_host_open(node, local, zone, member);
    }
    if (local->host != NULL) {
        tell_links(node, local->host); /* Of members that are new too. */
    }
}

void node_zone_noted(struct node *node, struct host *host)
{
    struct node_zone *local = local_zone(node, host_zone_id(host));

    tell_links(node, host);
    if (host == node->home && !node->home_read && host_state(host) == HOST_RUNNING) {
        /* Whatever the rows were: zones that need nobody else begin without a quorum. */
        node->home_read = true;
        if (!node->home_created) {
            node->home_created = true; /* From now on its absence is a fault. */
            (void)node_state_save(node);
        }
        node_epoch_opened(node);
        node_directory_refresh(node);
    }
    if (local != NULL && local->host == host && host_state(host) == HOST_RUNNING &&
        (!local->created || local->raft_id != host_raft_id(host))) {
        local->created = true; /* From now on its absence is a fault. */
        local->raft_id = host_raft_id(host);
        node_zones_save(node);
    }
}

/* True if the directory says that the membership of @local is over. */
static bool is_over(struct node *node, const struct node_zone *local)
{
    const struct directory_zone *zone = directory_zone(&node->directory, local->id);
    const struct directory_member *member;

    if (directory_is_gone(&node->directory, local->id)) {
        return true;
    }
    if (zone == NULL) {
        return false;
    }
    member = directory_member(zone, node->number);
    if (member != NULL) {
        return member->raft_id > local->raft_id && !node_carries(local, member) &&
               !is_all_there_is(local, zone, member);
    }
    return zone->next_life > (local->raft_id & 0xffff);
}

static void route_zone(struct node *node, const struct directory_zone *zone)
{
    struct router_zone route = {0};

    memcpy(route.id, zone->id, sizeof route.id);
    for (uint32_t i = 0; i < zone->n_members; i++) {
        uint64_t number = zone->members[i].node;

        /* This node first, if it is a member: nobody is closer. */
        route.nodes[route.n_members++] = number;
        if (number == node->number) {
            route.nodes[route.n_members - 1] = route.nodes[0];
            route.nodes[0] = number;
        }
    }
    node_router_event(node,
                      &(struct router_event){.type = ROUTER_EV_ZONE, .zone = &route});
}

static void route_home(struct node *node)
{
    struct router_zone route = {.n_members = 1};

    memcpy(route.id, node->grapevine_id, sizeof route.id);
    route.nodes[0] = node->number;
    for (uint32_t i = 0;
         i < node->directory.n_nodes && route.n_members < ROUTER_MEMBERS_MAX; i++) {
        if (node->directory.nodes[i].peer.number != node->number) {
            route.nodes[route.n_members++] = node->directory.nodes[i].peer.number;
        }
    }
    node_router_event(node,
                      &(struct router_event){.type = ROUTER_EV_ZONE, .zone = &route});
}

void node_zones_refresh(struct node *node)
{
    const struct directory *directory = &node->directory;

    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (!node->zones[i].removing && !node->zones[i].closing &&
            is_over(node, &node->zones[i])) {
            zone_remove(node, &node->zones[i]);
        }
    }
    for (uint32_t i = 0; i < directory->n_zones; i++) {
        const struct directory_zone *zone = &directory->zones[i];
        const struct directory_member *member = directory_member(zone, node->number);

        if (memcmp(zone->id, node->grapevine_id, sizeof zone->id) == 0) {
            continue; /* No zone is the directory. */
        }
        route_zone(node, zone);
        if (member != NULL) {
            zone_adopt(node, zone, member);
        }
    }
    /* Rows of zones that are gone only become more: the router hears of them once. */
    for (uint32_t i = 0; i < directory->n_gone && directory->n_gone > node->n_gone_told;
         i++) {
        struct router_event event = {.type = ROUTER_EV_ZONE_GONE};

        memcpy(event.zone_id, directory->gone[i], 16);
        if (memcmp(event.zone_id, node->grapevine_id, 16) != 0) {
            node_router_event(node, &event);
        }
    }
    node->n_gone_told = directory->n_gone;
}

/* Reading the directory. It is small: every change reads it whole. */

static void directory_changed(struct node *node)
{
    node_net_refresh(node);
    tell_links(node, node->home);
    route_home(node);
    node_zones_refresh(node);
    node_exports_check(node);
}

static void on_directory(void *arg, int rv, struct slice pairs, uint64_t index)
{
    struct node *node = arg;

    node->reading_directory = false;
    if (rv == 0) {
        rv = directory_parse(&node->directory, pairs, index);
    }
    if (rv != 0) {
        log_error("daemon", "msg=\"could not read the directory\" error=\"%s\"",
                  strerror(-rv));
    } else if (!node->stopping) {
        directory_changed(node);
    }
    if (node->directory_stale && !node->stopping) {
        node_directory_refresh(node);
    }
}

void node_directory_refresh(struct node *node)
{
    if (node->home == NULL) {
        return; /* It begins anew, and is read then. */
    }
    if (node->reading_directory) {
        node->directory_stale = true;
        return;
    }
    node->reading_directory = true;
    node->directory_stale = false;
    host_read_pairs(node->home, on_directory, node);
}
