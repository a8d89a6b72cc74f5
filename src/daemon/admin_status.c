/*
 * admin_status: what this node knows and what the others say of themselves.
 *
 * Each reachable node is asked for its own part ("local"); one that does not answer in
 * time is shown as not up. Format: docs/formats/control.md.
 */
#include "daemon/admin.h"

#include "daemon/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static cJSON *local_members(const struct host_report *report)
{
    cJSON *members = cJSON_CreateArray();

    for (uint32_t i = 0; i < report->replica.n_members; i++) {
        const struct replica_member *member = &report->replica.members[i];
        cJSON *item = cJSON_CreateObject();

        json_put_u64(item, "raft_id", member->id);
        cJSON_AddStringToObject(item, "role",
                                member->role == RGROUP_VOTER ? "voter" : "standby");
        json_put_u64(item, "match_index", member->match_index);
        json_put_u64(item, "lease_ms", member->lease_ms);
        if (member->clock_known && report->replica.n_clocks > 1) {
            cJSON_AddNumberToObject(item, "clock_off_ms", (double)member->clock_off_ms);
        }
        cJSON_AddItemToArray(members, item);
    }
    return members;
}

static cJSON *local_zone(const struct node *node, struct host *host)
{
    cJSON *json = cJSON_CreateObject();
    struct host_report report;
    cJSON *scrub = admin_scrub_json(node, host);

    host_report(host, &report);
    json_put_hex(json, "id", host_zone_id(host), 16);
    cJSON_AddStringToObject(json, "state", host_report_word(&report));
    cJSON_AddStringToObject(json, "reason", host_reason(host));
    json_put_u64(json, "raft_id", host_raft_id(host));
    cJSON_AddBoolToObject(json, "is_leader", report.replica.state == RGROUP_LEADER);
    json_put_u64(json, "leader", report.replica.leader);
    json_put_u64(json, "term", report.replica.term);
    json_put_u64(json, "commit_index", report.replica.commit_index);
    json_put_u64(json, "released_index", report.replica.released_index);
    json_put_u64(json, "applied_index", report.replica.applied_index);
    json_put_u64(json, "lease_ms", report.replica.lease_ms);
    json_put_u64(json, "read_lease_ms", report.replica.read_lease_ms);
    cJSON_AddBoolToObject(json, "slow", report.replica.slow);
    json_put_u64(json, "release_ms", report.replica.release_ms);
    json_put_u64(json, "own_ms", report.replica.own_ms);
    json_put_u64(json, "quota_bytes", report.usage.quota_bytes);
    json_put_u64(json, "used_bytes", report.usage.used_bytes);
    json_put_u64(json, "inodes", report.usage.inodes);
    json_put_u64(json, "disk_bytes", report.disk_bytes);
    json_put_u64(json, "journal_bytes", report.journal_bytes);
    json_put_u64(json, "blocks_healed", report.blocks_healed);
    json_put_u64(json, "blocks_given_up", report.blocks_given_up);
    if (scrub != NULL) {
        cJSON_AddItemToObject(json, "scrub", scrub);
    }
    cJSON_AddItemToObject(json, "members", local_members(&report));
    return json;
}

static cJSON *local_pools(struct node *node)
{
    cJSON *pools = cJSON_CreateArray();

    for (uint32_t i = 0; i < node->config.n_pools; i++) {
        const struct config_pool *pool = &node->config.pools[i];
        uint64_t free_bytes = 0;
        uint64_t total_bytes = 0;
        cJSON *item = cJSON_CreateObject();

        cJSON_AddStringToObject(item, "name", pool->name);
        (void)node->disk->ops->space(node->disk, pool->path, &free_bytes, &total_bytes);
        json_put_u64(item, "free_bytes", free_bytes);
        json_put_u64(item, "total_bytes", total_bytes);
        cJSON_AddItemToArray(pools, item);
    }
    return pools;
}

static int64_t wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static cJSON *local_part(struct node *node)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *zones;

    cJSON_AddStringToObject(json, "version", GV_VERSION);
    json_put_u64(json, "time_ns", (uint64_t)wall_ns());
    cJSON_AddBoolToObject(json, "sleeps", node->sleeps);
    cJSON_AddItemToObject(json, "pools", local_pools(node));
    zones = cJSON_AddArrayToObject(json, "zones");
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (node->zones[i].host != NULL) {
            cJSON_AddItemToArray(zones, local_zone(node, node->zones[i].host));
        }
    }
    return json;
}

void admin_local(struct admin_call *call)
{
    admin_done(call, local_part(call->node));
}

/* Merging. call->result is an object of parts, keyed by node number. */

static void part_key(uint64_t number, char key[24])
{
    snprintf(key, 24, "%llu", (unsigned long long)number);
}

static void on_part(struct admin_call *call, uint64_t from, const cJSON *answer)
{
    const cJSON *part = cJSON_GetObjectItemCaseSensitive(answer, "result");
    char key[24];

    if (part != NULL) {
        cJSON *copy = cJSON_Duplicate(part, true);

        part_key(from, key);
        json_put_u64(copy, "heard_ns", (uint64_t)wall_ns());
        cJSON_AddItemToObject(call->result, key, copy);
    }
}

static const cJSON *part_of(const struct admin_call *call, uint64_t number)
{
    char key[24];

    part_key(number, key);
    return cJSON_GetObjectItemCaseSensitive(call->result, key);
}

/* What node @number says of the zone; NULL if it says nothing. */
static const cJSON *zone_part(const struct admin_call *call, uint64_t number,
                              const uint8_t zone_id[16])
{
    const cJSON *zones = cJSON_GetObjectItemCaseSensitive(part_of(call, number), "zones");
    const cJSON *item;

    cJSON_ArrayForEach(item, zones)
    {
        uint8_t id[16];

        if (json_hex(item, "id", id, sizeof id) && memcmp(id, zone_id, 16) == 0) {
            return item;
        }
    }
    return NULL;
}

static uint64_t number_in(const cJSON *json, const char *key)
{
    uint64_t value = 0;

    (void)json_u64(json, key, &value);
    return value;
}

/* The part of the zone's leader: of all that say they lead, the one of the highest term. */
static const cJSON *leader_part(const struct admin_call *call,
                                const struct directory_zone *zone)
{
    const cJSON *best = NULL;

    for (uint32_t i = 0; i < zone->n_members; i++) {
        const cJSON *part = zone_part(call, zone->members[i].node, zone->id);

        if (json_flag(part, "is_leader") &&
            (best == NULL || number_in(part, "term") > number_in(best, "term"))) {
            best = part;
        }
    }
    return best;
}

/* What the leader says of the member @raft_id; NULL if it does not have it. */
static const cJSON *leaders_view(const cJSON *leader, uint64_t raft_id)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(leader, "members"))
    {
        if (number_in(item, "raft_id") == raft_id) {
            return item;
        }
    }
    return NULL;
}

static const char *role_of(const struct directory_member *member, const cJSON *view)
{
    char role[16];

    if (member->leaving) {
        return "leaving";
    }
    if (view == NULL) {
        return "joining";
    }
    return json_text(view, "role", role, sizeof role) && strcmp(role, "voter") == 0
               ? "voter"
               : "standby";
}

static cJSON *merged_member(const struct admin_call *call,
                            const struct directory_zone *zone,
                            const struct directory_member *member, const cJSON *leader)
{
    const cJSON *own = zone_part(call, member->node, zone->id);
    const cJSON *view = leaders_view(leader, member->raft_id);
    const cJSON *scrub = cJSON_GetObjectItemCaseSensitive(own, "scrub");
    const cJSON *clock = cJSON_GetObjectItemCaseSensitive(view, "clock_off_ms");
    uint64_t commit = number_in(leader, "commit_index");
    uint64_t applied = number_in(own, "applied_index");
    cJSON *json = cJSON_CreateObject();
    char state[32] = "unknown";

    (void)json_text(own, "state", state, sizeof state);
    cJSON_AddStringToObject(json, "node", node_name_of(call->node, member->node));
    cJSON_AddStringToObject(json, "pool", member->pool);
    cJSON_AddStringToObject(json, "role",
                            leader == NULL ? "unknown" : role_of(member, view));
    cJSON_AddStringToObject(json, "state", state);
    cJSON_AddBoolToObject(json, "up", own != NULL);
    json_put_u64(json, "commit_index", number_in(own, "commit_index"));
    json_put_u64(json, "applied_index", applied);
    json_put_u64(json, "match_index", number_in(view, "match_index"));
    json_put_u64(json, "read_lease_ms", number_in(own, "read_lease_ms"));
    cJSON_AddBoolToObject(json, "slow",
                          cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(own, "slow")));
    json_put_u64(json, "release_ms", number_in(own, "release_ms"));
    json_put_u64(json, "own_ms", number_in(own, "own_ms"));
    json_put_u64(json, "lag", own != NULL && commit > applied ? commit - applied : 0);
    json_put_u64(json, "disk_bytes", number_in(own, "disk_bytes"));
    json_put_u64(json, "journal_bytes", number_in(own, "journal_bytes"));
    json_put_u64(json, "blocks_healed", number_in(own, "blocks_healed"));
    json_put_u64(json, "blocks_given_up", number_in(own, "blocks_given_up"));
    if (cJSON_IsNumber(clock)) {
        cJSON_AddNumberToObject(json, "clock_off_ms", clock->valuedouble);
    }
    if (scrub != NULL) {
        cJSON_AddItemToObject(json, "scrub", cJSON_Duplicate(scrub, true));
    }
    return json;
}

static cJSON *merged_zone(const struct admin_call *call,
                          const struct directory_zone *zone)
{
    const cJSON *own = zone_part(call, call->node->number, zone->id);
    const cJSON *leader = leader_part(call, zone);
    uint64_t quota = number_in(leader, "quota_bytes");
    cJSON *json = cJSON_CreateObject();
    char reason[HOST_REASON_MAX] = "";
    char state[32] = "remote";
    cJSON *members;

    (void)json_text(own, "state", state, sizeof state);
    (void)json_text(own, "reason", reason, sizeof reason);
    cJSON_AddStringToObject(json, "slug", zone->slug);
    cJSON_AddStringToObject(json, "display", zone->display);
    json_put_hex(json, "id", zone->id, sizeof zone->id);
    cJSON_AddStringToObject(json, "state", state);
    cJSON_AddStringToObject(json, "reason", reason);
    json_put_u64(json, "quota_bytes", quota != 0 ? quota : zone->quota_bytes);
    json_put_number(json, "election_ms", node_election_ms(call->node, zone));
    json_put_u64(json, "used_bytes", number_in(leader, "used_bytes"));
    json_put_u64(json, "inodes", number_in(leader, "inodes"));
    cJSON_AddStringToObject(
        json, "leader",
        leader == NULL ? ""
                       : node_name_of(call->node,
                                      directory_raft_node(number_in(leader, "raft_id"))));
    json_put_u64(json, "term", number_in(leader, "term"));
    json_put_u64(json, "commit_index", number_in(leader, "commit_index"));
    json_put_u64(json, "leader_lease_ms", number_in(leader, "lease_ms"));
    members = cJSON_AddArrayToObject(json, "members");
    for (uint32_t i = 0; i < zone->n_members; i++) {
        cJSON_AddItemToArray(members,
                             merged_member(call, zone, &zone->members[i], leader));
    }
    return json;
}

static cJSON *nodes_json(const struct admin_call *call)
{
    struct node *node = call->node;
    cJSON *nodes = cJSON_CreateArray();

    for (uint32_t i = 0; i < node->directory.n_nodes; i++) {
        const struct directory_node *row = &node->directory.nodes[i];
        bool self = row->peer.number == node->number;
        cJSON *json = cJSON_CreateObject();

        cJSON_AddStringToObject(json, "name", row->name);
        json_put_u64(json, "number", row->peer.number);
        cJSON_AddStringToObject(json, "host", row->peer.host);
        json_put_number(json, "port", row->peer.port);
        cJSON_AddBoolToObject(json, "up", self || node_link_up(node, row->peer.number));
        json_put_u64(
            json, "rtt_us",
            self || node->peers == NULL ? 0 : peer_rtt_us(node->peers, row->peer.number));
        cJSON_AddBoolToObject(json, "self", self);
        cJSON_AddBoolToObject(json, "sleeps",
                              json_flag(part_of(call, row->peer.number), "sleeps"));
        cJSON_AddItemToArray(nodes, json);
    }
    return nodes;
}

static void ask_all(struct admin_call *call)
{
    struct node *node = call->node;
    char key[24];

    call->result = cJSON_CreateObject();
    part_key(node->number, key);
    cJSON_AddItemToObject(call->result, key, local_part(node));
    for (uint32_t i = 0; i < node->directory.n_nodes; i++) {
        uint64_t number = node->directory.nodes[i].peer.number;

        if (number != node->number && node_link_up(node, number)) {
            admin_ask(call, number, "local", NULL, on_part);
        }
    }
}

/* Where this node's NFS is, as HOST:PORT. */
static void put_nfs(cJSON *json, const struct node *node)
{
    char text[CONFIG_TEXT_MAX];

    snprintf(text, sizeof text,
             strchr(node->config.nfs.host, ':') == NULL ? "%s:%u" : "[%s]:%u",
             node->config.nfs.host, nfs_front_port(node->front));
    cJSON_AddStringToObject(json, "nfs", text);
}

static cJSON *status_json(const struct admin_call *call, const char *only)
{
    struct node *node = call->node;
    cJSON *json = cJSON_CreateObject();
    cJSON *zones;

    json_put_number(json, "version", 1);
    cJSON_AddStringToObject(json, "node", node->config.name);
    put_nfs(json, node);
    json_put_hex(json, "grapevine", node->grapevine_id, sizeof node->grapevine_id);
    cJSON_AddItemToObject(json, "nodes", nodes_json(call));
    zones = cJSON_AddArrayToObject(json, "zones");
    for (uint32_t i = 0; i < node->directory.n_zones; i++) {
        const struct directory_zone *zone = &node->directory.zones[i];

        if (only == NULL || strcmp(only, zone->slug) == 0) {
            cJSON_AddItemToArray(zones, merged_zone(call, zone));
        }
    }
    return json;
}

static void warn_of_exports(struct admin_call *call)
{
    const struct node *node = call->node;
    const char *zone;
    uint32_t line;

    for (uint32_t i = 0; i < EXPORT_SECTIONS_MAX; i++) {
        if (node_export_unknown(node, i, &zone, &line)) {
            admin_warn(call, "%s:%u: [export %s] is for a zone that there is not (yet)",
                       node->config.path, line, zone);
        }
    }
}

static void warn_of_one(void *ctx, const char *path)
{
    admin_warn(
        ctx,
        "%s is what this node had of a zone before that was recovered: take out of "
        "it what is missing, then remove it",
        path);
}

static void warn_of_recoveries(struct admin_call *call)
{
    struct node *node = call->node;

    if (node->epoch_foreign != 0) {
        admin_warn(
            call,
            "node '%s' and this one were recovered apart from each other: they are "
            "two grapevines now, see docs/adr/0006-recover.md",
            node_name_of(node, node->epoch_foreign));
    }
    node_each_kept(node, ADMIN_WARNINGS_MAX, warn_of_one, call);
    for (uint32_t i = 0; i < node->n_zones; i++) {
        const struct host *host = node->zones[i].host;
        char path[HOST_PATH_MAX + 8];

        if (host != NULL && host_torn_listed(host)) {
            host_torn_path(host, path, sizeof path);
            admin_warn(call,
                       "files of zone '%s' have a part of what was lost when it was "
                       "recovered: look at those that %s names, then remove that file",
                       node->zones[i].slug, path);
        }
    }
}

void admin_status_ask(struct admin_call *call)
{
    ask_all(call);
}

cJSON *admin_status_json(const struct admin_call *call)
{
    return status_json(call, NULL);
}

const cJSON *admin_status_part(const struct admin_call *call, uint64_t number)
{
    return part_of(call, number);
}

/* Without its copy of the directory a node does not even know its zones. */
static void warn_of_home(struct admin_call *call)
{
    struct host *home = call->node->home;

    if (home == NULL) {
        admin_warn(call, "this node's copy of the directory begins anew");
    } else if (host_state(home) == HOST_FAILED || host_state(home) == HOST_NO_DATA) {
        admin_warn(call, "this node's copy of the directory: %s", host_reason(home));
    }
}

void admin_status(struct admin_call *call)
{
    if (!call->node->initialised) {
        cJSON *json = cJSON_CreateObject();

        json_put_number(json, "version", 1);
        cJSON_AddStringToObject(json, "node", call->node->config.name);
        cJSON_AddBoolToObject(json, "uninitialised", true);
        admin_done(call, json);
        return;
    }
    if (call->phase == 0) {
        call->phase = 1;
        ask_all(call);
    }
    if (call->busy == 0) {
        warn_of_home(call);
        warn_of_exports(call);
        warn_of_recoveries(call);
        admin_done(call, status_json(call, NULL));
    }
}

void admin_zone_show(struct admin_call *call)
{
    cJSON *whole;
    cJSON *zone;

    if (call->phase == 0) {
        if (admin_zone(call) == NULL) {
            return;
        }
        call->phase = 1;
        ask_all(call);
    }
    if (call->busy > 0) {
        return;
    }
    whole = status_json(call, call->slug);
    zone = cJSON_DetachItemFromArray(cJSON_GetObjectItemCaseSensitive(whole, "zones"), 0);
    cJSON_Delete(whole);
    admin_done(call, zone);
}

void admin_node_list(struct admin_call *call)
{
    cJSON *json = cJSON_CreateObject();

    cJSON_AddItemToObject(json, "nodes", nodes_json(call));
    admin_done(call, json);
}

void admin_zone_list(struct admin_call *call)
{
    cJSON *whole;
    cJSON *json;

    if (call->phase == 0) {
        call->phase = 1;
        ask_all(call);
    }
    if (call->busy > 0) {
        return;
    }
    whole = status_json(call, NULL);
    json = cJSON_CreateObject();
    cJSON_AddItemToObject(json, "zones",
                          cJSON_DetachItemFromObjectCaseSensitive(whole, "zones"));
    cJSON_Delete(whole);
    admin_done(call, json);
}
