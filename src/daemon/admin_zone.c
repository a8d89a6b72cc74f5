/*
 * admin_zone: making, changing and removing zones and their members.
 *
 * Each change is one compare-and-set of the zone's row in the directory; hosts and the
 * zone's leader make it so (node_zones, node_reconcile), and the call waits until they
 * have.
 */
#include "daemon/admin.h"

#include "base/assert.h"
#include "base/utf8.h"
#include "daemon/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAJORITY_HINT "is a majority of the nodes reachable?"
#define STEADY_WAIT_MS 8000u
/* Whom a row begins with: each has a pair beside it in one compare-and-set. */
#define ZONE_FIRST_MAX (ZONE_KV_MAX - 1u)

/* "NODE[:POOL]" taken apart. */
bool admin_member_parse(struct admin_call *call, const char *text,
                        struct directory_member *member)
{
    const struct directory_node *node;
    const char *colon = strchr(text, ':');
    size_t len = colon == NULL ? strlen(text) : (size_t)(colon - text);
    char name[DIRECTORY_NAME_MAX + 1];

    *member = (struct directory_member){0};
    if (len > DIRECTORY_NAME_MAX ||
        (colon != NULL && config_check_name(colon + 1) != 0)) {
        admin_error(call, "'%.80s' is no member: give NODE or NODE:POOL", text);
        return false;
    }
    memcpy(name, text, len);
    name[len] = '\0';
    node = directory_node_named(&call->node->directory, name);
    if (node == NULL) {
        if (!admin_may_yet_come(call)) {
            admin_error(call,
                        "there is no node '%s': gvraft node list shows those there are",
                        name);
        }
        return false;
    }
    member->node = node->peer.number;
    if (colon != NULL) {
        strcpy(member->pool, colon + 1);
    }
    return true;
}

static bool parse_members(struct admin_call *call, struct directory_zone *zone)
{
    const cJSON *members = cJSON_GetObjectItemCaseSensitive(call->args, "members");
    const cJSON *item;

    zone->n_members = 0; /* It may be the second time. */
    cJSON_ArrayForEach(item, members)
    {
        struct directory_member member;

        if (!cJSON_IsString(item) || zone->n_members == DIRECTORY_MEMBERS_MAX) {
            admin_error(call, "'members' must be a list of at most %u NODE[:POOL]",
                        DIRECTORY_MEMBERS_MAX);
            return false;
        }
        if (!admin_member_parse(call, item->valuestring, &member)) {
            return false;
        }
        if (directory_member(zone, member.node) != NULL) {
            admin_error(call, "node '%s' is named twice", item->valuestring);
            return false;
        }
        zone->members[zone->n_members++] = member;
    }
    return true;
}

/* Pools: what the members' nodes say of theirs. call->result maps "number" to answers. */

static void on_pools(struct admin_call *call, uint64_t from, const cJSON *answer)
{
    const cJSON *pools = cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(answer, "result"), "pools");
    char key[24];

    snprintf(key, sizeof key, "%llu", (unsigned long long)from);
    if (pools != NULL) {
        cJSON_AddItemToObject(call->result, key, cJSON_Duplicate(pools, true));
    }
}

static void own_pools(struct admin_call *call)
{
    struct node *node = call->node;
    cJSON *pools = cJSON_CreateArray();
    char key[24];

    for (uint32_t i = 0; i < node->config.n_pools; i++) {
        cJSON *item = cJSON_CreateObject();
        uint64_t free_bytes = 0;
        uint64_t total_bytes = 0;

        (void)node->disk->ops->space(node->disk, node->config.pools[i].path, &free_bytes,
                                     &total_bytes);
        cJSON_AddStringToObject(item, "name", node->config.pools[i].name);
        json_put_u64(item, "free_bytes", free_bytes);
        cJSON_AddItemToArray(pools, item);
    }
    snprintf(key, sizeof key, "%llu", (unsigned long long)node->number);
    if (call->result == NULL) {
        call->result = cJSON_CreateObject();
    }
    cJSON_AddItemToObject(call->result, key, pools);
}

void admin_pools_ask(struct admin_call *call)
{
    own_pools(call);
    for (uint32_t i = 0; i < call->zone.n_members; i++) {
        /* This node too: one way for all. Its own answer comes over no wire. */
        if (call->zone.members[i].node != call->node->number) {
            admin_ask(call, call->zone.members[i].node, "local", NULL, on_pools);
        }
    }
}

/* Choose or check the pool of @member. 0 unknown; *@free_bytes of it. False: told. */
static bool check_pool(struct admin_call *call, struct directory_member *member,
                       uint64_t *free_bytes)
{
    const char *name = node_name_of(call->node, member->node);
    const cJSON *pools;
    const cJSON *item;
    char key[24];

    snprintf(key, sizeof key, "%llu", (unsigned long long)member->node);
    pools = cJSON_GetObjectItemCaseSensitive(call->result, key);
    if (pools == NULL) {
        admin_error(call,
                    "node '%s' does not answer: it must be running to become a "
                    "member",
                    name);
        return false;
    }
    cJSON_ArrayForEach(item, pools)
    {
        char pool[DIRECTORY_NAME_MAX + 1];

        if (json_text(item, "name", pool, sizeof pool) &&
            (member->pool[0] == '\0' || strcmp(member->pool, pool) == 0)) {
            strcpy(member->pool, pool);
            (void)json_u64(item, "free_bytes", free_bytes);
            return true;
        }
    }
    admin_error(call,
                member->pool[0] == '\0'
                    ? "node '%s' has no pool: add a [pool NAME] to its configuration"
                    : "node '%s' has no pool '%s': its configuration names them",
                name, member->pool);
    return false;
}

/* All members' pools are checked and chosen; @warn: tell what is smaller than the quota. */
bool admin_pools_check(struct admin_call *call, bool warn)
{
    for (uint32_t i = 0; i < call->zone.n_members; i++) {
        struct directory_member *member = &call->zone.members[i];
        uint64_t free_bytes = 0;

        if (!check_pool(call, member, &free_bytes)) {
            return false;
        }
        if (warn && free_bytes < call->zone.quota_bytes) {
            admin_warn(call,
                       "node '%s' has %.1f GiB free in pool '%s', less than the quota of "
                       "%.1f GiB: the zone can fill that disk before its quota",
                       node_name_of(call->node, member->node),
                       (double)free_bytes / (1 << 30), member->pool,
                       (double)call->zone.quota_bytes / (1 << 30));
        }
    }
    return true;
}

/* The quota that a check is about: the argument, else the zone's own. */
static bool check_quota(struct admin_call *call)
{
    const struct directory_zone *zone;

    if (cJSON_GetObjectItemCaseSensitive(call->args, "quota") != NULL) {
        return admin_quota_parse(call, &call->zone.quota_bytes);
    }
    if (cJSON_GetObjectItemCaseSensitive(call->args, "slug") == NULL) {
        return true;
    }
    zone = admin_zone(call);
    if (zone != NULL) {
        call->zone.quota_bytes = zone->quota_bytes;
    }
    return zone != NULL;
}

/* Another quota for the members that there are. */
static bool is_quota_only(const struct admin_call *call)
{
    const cJSON *args = call->args;

    return cJSON_GetObjectItemCaseSensitive(args, "slug") != NULL &&
           cJSON_GetObjectItemCaseSensitive(args, "quota") != NULL &&
           cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(args, "members")) == 0;
}

void admin_zone_check(struct admin_call *call)
{
    if (is_quota_only(call)) {
        if (admin_quota_parse(call, &call->bytes)) {
            admin_room_check(call);
        }
        return;
    }
    if (call->phase == 0) {
        if (!check_quota(call) || !parse_members(call, &call->zone)) {
            return;
        }
        call->phase = 1;
        admin_pools_ask(call);
    }
    if (call->busy == 0 && admin_pools_check(call, true)) {
        admin_done(call, NULL);
    }
}

/* Writing the zone's row. */

/* Nodes that become members are there when they do: whoever removes a node changes its row
 * "taken", too. False: one is gone. */
static bool take_nodes(const struct admin_call *call, struct zone_op *op,
                       struct admin_keys *keys)
{
    ASSERT(call->zone.n_members <= ZONE_FIRST_MAX);
    for (uint32_t i = 0; i < call->zone.n_members; i++) {
        const struct directory_node *node =
            directory_node(&call->node->directory, call->zone.members[i].node);
        char *key = keys->key[op->n_kv];

        if (node == NULL) {
            return false;
        }
        snprintf(key, sizeof keys->key[0], "taken/%s", node->name);
        op->kv[op->n_kv++] = admin_pair(key, "{}", node->taken_version);
    }
    return true;
}

void admin_row_write(struct admin_call *call, const struct directory_zone *zone)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    char *text = directory_zone_json(zone);
    struct admin_keys keys;

    snprintf(keys.key[0], sizeof keys.key[0], "zone/%s", zone->slug);
    if (text == NULL) {
        admin_error(call, "out of memory");
    } else if (!take_nodes(call, &op, &keys)) {
        admin_error(call, "a node that was to be a member was removed meanwhile");
    } else {
        op.kv[0] = admin_pair(keys.key[0], text, zone->version);
        admin_op(call, call->node->grapevine_id, &op);
    }
    free(text);
}

/* The row was written; else the call was ended with why, or is in phase 1 again. */
bool admin_row_written(struct admin_call *call)
{
    if (call->outcome == OUT_MISMATCH && call->pair > 0 &&
        host_now_ms() < call->begun_ms + ADMIN_DIRECTORY_MS) {
        call->phase =
            1; /* A node joins another zone, too: once more, on the next view. */
    } else if (call->outcome == OUT_MISMATCH) {
        admin_error(call,
                    "the zone '%s', or a node of it, was changed by somebody else "
                    "meanwhile: look again",
                    call->slug);
    } else if (call->outcome != 0) {
        admin_error(call, "the directory could not be written (%s): " MAJORITY_HINT,
                    admin_outcome(call->outcome));
    }
    return call->outcome == 0;
}

/* Whose the zone's root is, and its mode. What is given has to be right: a default in its
 * place would give the zone to somebody else. */
static bool parse_root(const cJSON *args, struct directory_zone *zone)
{
    uint64_t uid = 0;
    uint64_t gid = 0;
    unsigned long bits = 0755;
    char mode[8];
    char *end = mode;

    if (cJSON_GetObjectItemCaseSensitive(args, "mode") != NULL) {
        if (!json_text(args, "mode", mode, sizeof mode) || mode[0] < '0' ||
            mode[0] > '7') {
            return false;
        }
        bits = strtoul(mode, &end, 8);
        if (*end != '\0') {
            return false;
        }
    }
    if ((cJSON_GetObjectItemCaseSensitive(args, "uid") != NULL &&
         !json_u64(args, "uid", &uid)) ||
        (cJSON_GetObjectItemCaseSensitive(args, "gid") != NULL &&
         !json_u64(args, "gid", &gid)) ||
        bits > 07777 || uid > UINT32_MAX || gid > UINT32_MAX) {
        return false;
    }
    zone->genesis.root_uid = (uint32_t)uid;
    zone->genesis.root_gid = (uint32_t)gid;
    zone->genesis.root_mode = (uint32_t)bits;
    return true;
}

/* The name that people see, which is printed on terminals and as JSON; the slug unless
 * given. */
static bool parse_display(struct admin_call *call, struct directory_zone *zone)
{
    if (cJSON_GetObjectItemCaseSensitive(call->args, "display") != NULL &&
        (!json_text(call->args, "display", zone->display, sizeof zone->display) ||
         !utf8_is_text(zone->display))) {
        admin_error(
            call,
            "the display name is not text in UTF-8, has control characters, or has "
            "more than %u bytes",
            DIRECTORY_DISPLAY_MAX);
        return false;
    }
    if (zone->display[0] == '\0') {
        strcpy(zone->display, zone->slug);
    }
    return true;
}

/* How soon its leader is replaced: the same on all members, from this node unless given. */
static bool parse_election(struct admin_call *call, struct directory_zone *zone)
{
    uint64_t ms = call->node->config.election_ms;

    if (cJSON_GetObjectItemCaseSensitive(call->args, "election_ms") != NULL &&
        (!json_u64(call->args, "election_ms", &ms) || ms < CONFIG_ELECTION_MS_MIN ||
         ms > CONFIG_ELECTION_MS_MAX)) {
        admin_error(call, "election_ms is wrong: give a number from %u to %u",
                    CONFIG_ELECTION_MS_MIN, CONFIG_ELECTION_MS_MAX);
        return false;
    }
    zone->genesis.election_ms = (uint32_t)ms;
    return true;
}

static void create_parse(struct admin_call *call)
{
    struct directory_zone *zone = &call->zone;

    if (!admin_arg(call, "slug", call->slug, sizeof call->slug)) {
        return;
    }
    if (config_check_name(call->slug) != 0) {
        admin_error(call,
                    "'%s' is no zone name: use a-z, 0-9, '-', '.', '_', and --display "
                    "for a name with other letters",
                    call->slug);
        return;
    }
    if (directory_zone_named(&call->node->directory, call->slug) != NULL) {
        if (!admin_may_yet_come(call)) { /* It may have been deleted elsewhere. */
            admin_error(call,
                        "the name '%s' is taken: choose another, or use the zone that "
                        "is there",
                        call->slug);
        }
        return;
    }
    if (!admin_quota_parse(call, &zone->quota_bytes) || !parse_members(call, zone)) {
        return;
    }
    if (call->node->directory.n_zones >= DIRECTORY_ZONES_MAX) {
        admin_error(call, "the grapevine has %u zones, the most it can have",
                    call->node->directory.n_zones);
        return;
    }
    if (zone->n_members == 0 || zone->n_members > ZONE_FIRST_MAX) {
        admin_error(call, "a zone begins with 1 to %u members: give --member NODE[:POOL]",
                    ZONE_FIRST_MAX);
        return;
    }
    strcpy(zone->slug, call->slug);
    if (!parse_display(call, zone)) {
        return;
    }
    if (!parse_root(call->args, zone)) {
        admin_error(call, "mode or owner is wrong: give an octal mode and numbers");
        return;
    }
    if (!parse_election(call, zone)) {
        return;
    }
    call->phase = 1;
    admin_pools_ask(call);
}

/* The first thing that a user of it would meet is "permission denied". */
static void warn_owner(struct admin_call *call)
{
    const struct directory_genesis *genesis = &call->zone.genesis;

    if (genesis->root_uid == 0 && (genesis->root_mode & 02) == 0 &&
        !node_exports_root(call->node, call->zone.slug)) {
        admin_warn(call,
                   "the zone's root folder belongs to root, whom squash = root makes "
                   "nobody: no client can write there. Delete it and give --owner, "
                   "or let a client be root: [export] in grapevine.conf(5)");
    }
}

static void create_write(struct admin_call *call)
{
    struct directory_zone *zone = &call->zone;
    struct timespec now;

    if (!admin_pools_check(call, false)) {
        return;
    }
    warn_owner(call);
    clock_gettime(CLOCK_REALTIME, &now);
    node_random(zone->id, sizeof zone->id);
    zone->next_life = 2;
    zone->genesis.quota_bytes = zone->quota_bytes;
    zone->genesis.created_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    zone->genesis.n_first = zone->n_members;
    for (uint32_t i = 0; i < zone->n_members; i++) {
        zone->members[i].raft_id = directory_raft_id(zone->members[i].node, 1);
        zone->genesis.first[i] = zone->members[i].raft_id;
    }
    call->phase = 2;
    admin_row_write(call, zone);
}

/* Ready when a read through the router is answered, wherever the members are. */
static void create_wait(struct admin_call *call)
{
    struct zone_op op = {.type = ZONE_OP_GETATTR, .obj = {.ino = ZONE_ROOT_INO}};

    if (call->phase == 2) {
        if (!admin_row_written(call)) {
            return;
        }
        call->phase = 3;
        call->outcome = -1;
    }
    if (call->outcome >= 0 && call->outcome != OUT_TRY_LATER) {
        admin_done(call, NULL);
        return;
    }
    if (!admin_late(call, "the zone was made, but its members do not answer yet: see "
                          "gvraft status") &&
        admin_again(call)) {
        admin_op(call, call->zone.id, &op);
    }
}

void admin_zone_create(struct admin_call *call)
{
    if (call->phase == 0) {
        create_parse(call);
    }
    if (call->ended || call->busy > 0) {
        return;
    }
    if (call->phase == 1) {
        create_write(call);
    } else if (call->phase >= 2) {
        create_wait(call);
    }
}

void admin_zone_delete(struct admin_call *call)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 2};
    const struct directory_zone *zone;
    char key[DIRECTORY_NAME_MAX + 8];
    char gone[64] = "gone/";

    if (call->phase == 0) {
        zone = admin_zone(call);
        if (zone == NULL) {
            return;
        }
        if (call->node->directory.n_gone >= DIRECTORY_GONE_MAX) {
            admin_error(call,
                        "%u zones were deleted in this grapevine, the most it can "
                        "remember: members can still be removed",
                        DIRECTORY_GONE_MAX);
            return;
        }
        snprintf(key, sizeof key, "zone/%s", zone->slug);
        hex_put(gone + 5, zone->id, sizeof zone->id);
        op.kv[0] = admin_pair(key, NULL, zone->version);
        op.kv[1] = admin_pair(gone, "{}", ZONE_KV_ANY);
        call->phase = 1;
        admin_op(call, call->node->grapevine_id, &op);
        return;
    }
    if (call->phase == 1) {
        if (!admin_row_written(call)) {
            return;
        }
        call->phase = 2;
    }
    if (directory_zone_named(&call->node->directory, call->slug) == NULL) {
        admin_done(call, NULL);
    } else {
        (void)admin_late(call, "the zone is deleted, but this node has not heard it yet");
    }
}

/* Members. */

static const cJSON *one_member(struct admin_call *call)
{
    return cJSON_GetObjectItemCaseSensitive(call->args, "member");
}

static void add_parse(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    const cJSON *member = one_member(call);

    if (zone == NULL) {
        return;
    }
    if (!cJSON_IsString(member)) {
        admin_error(call, "the argument 'member' is missing: give NODE[:POOL]");
        return;
    }
    if (!admin_member_parse(call, member->valuestring, &call->zone.members[0])) {
        return;
    }
    if (directory_member(zone, call->zone.members[0].node) != NULL) {
        if (!admin_may_yet_come(call)) {
            admin_error(call, "'%s': that node is a member of '%s' already",
                        member->valuestring, call->slug);
        }
        return;
    }
    if (zone->n_members == DIRECTORY_MEMBERS_MAX) {
        admin_error(call, "a zone has at most %u members", DIRECTORY_MEMBERS_MAX);
        return;
    }
    call->zone.n_members = 1;
    call->phase = 1;
    admin_pools_ask(call);
}

/* The row may have changed while pools were asked for. False: the call was ended. */
bool admin_member_join(struct admin_call *call, struct directory_zone *zone,
                       const struct directory_member *member)
{
    int rv = directory_zone_join(zone, member);

    if (rv == OUT_EXIST) {
        admin_error(call, "node '%s' is a member of '%s' already",
                    node_name_of(call->node, member->node), call->slug);
    } else if (zone->n_members == DIRECTORY_MEMBERS_MAX) {
        admin_error(call, "a zone has at most %u members", DIRECTORY_MEMBERS_MAX);
    } else if (rv != 0) {
        admin_error(call, "'%s' has had %u members, the most that it ever can",
                    call->slug, UINT16_MAX);
    }
    return rv == 0;
}

static void add_write(struct admin_call *call)
{
    const struct directory_zone *now;
    struct directory_zone zone;

    if (!admin_pools_check(call, false)) {
        return;
    }
    now = admin_zone(call);
    if (now == NULL) {
        return;
    }
    zone = *now;
    if (!admin_member_join(call, &zone, &call->zone.members[0])) {
        return;
    }
    call->number = zone.members[zone.n_members - 1].raft_id;
    call->phase = 2;
    admin_row_write(call, &zone);
}

/* The role that the zone's leader gives the member; asked through a status. */
static void on_role(struct admin_call *call, uint64_t from, const cJSON *answer)
{
    const cJSON *zones = cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(answer, "result"), "zones");
    const cJSON *zone;
    const cJSON *item;

    (void)from;
    cJSON_ArrayForEach(zone, zones)
    {
        if (!json_flag(zone, "is_leader")) {
            continue;
        }
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(zone, "members"))
        {
            uint64_t raft_id = 0;
            char role[16];

            if (json_u64(item, "raft_id", &raft_id) && raft_id == call->number &&
                json_text(item, "role", role, sizeof role) &&
                strcmp(role, "voter") == 0) {
                call->bytes = 1; /* Seen as a voter. */
            }
        }
    }
}

static void add_wait(struct admin_call *call)
{
    const struct directory_zone *zone;
    struct host *host;

    if (call->bytes == 1) {
        admin_done(call, NULL);
        return;
    }
    if (host_now_ms() > call->begun_ms + STEADY_WAIT_MS) {
        admin_warn(call, "the new member is still catching up: gvraft status shows how "
                         "far it is");
        admin_done(call, NULL);
        return;
    }
    if (!admin_again(call)) {
        return;
    }
    zone = directory_zone_named(&call->node->directory, call->slug);
    for (uint32_t i = 0; zone != NULL && i < zone->n_members; i++) {
        uint64_t number = zone->members[i].node;

        host = node_host(call->node, zone->id);
        if (number != call->node->number) {
            admin_ask(call, number, "local", NULL, on_role);
        } else if (host != NULL && host_is_leader(host)) {
            struct host_report report;

            host_report(host, &report);
            for (uint32_t m = 0; m < report.replica.n_members; m++) {
                if (report.replica.members[m].id == call->number &&
                    report.replica.members[m].role == RGROUP_VOTER) {
                    call->bytes = 1;
                }
            }
        }
    }
}

void admin_zone_add(struct admin_call *call)
{
    if (call->phase == 0) {
        add_parse(call);
    }
    if (call->ended || call->busy > 0) {
        return;
    }
    if (call->phase == 1) {
        add_write(call);
    } else if (call->phase == 2) {
        if (admin_row_written(call)) {
            call->phase = 3;
            call->begun_ms = host_now_ms();
        }
    } else if (call->phase == 3) {
        add_wait(call);
    }
}

static void remove_write(struct admin_call *call)
{
    const struct directory_zone *now = admin_zone(call);
    const struct directory_node *node;
    struct directory_zone zone;
    uint32_t staying = 0;
    bool found = false;

    if (now == NULL) {
        return;
    }
    node = admin_node(call, "node");
    if (node == NULL) {
        return;
    }
    zone = *now;
    for (uint32_t i = 0; i < zone.n_members; i++) {
        if (zone.members[i].node == node->peer.number) {
            zone.members[i].leaving = true;
            found = true;
        }
        staying += zone.members[i].leaving ? 0 : 1;
    }
    if ((!found || staying == 0) && admin_may_yet_come(call)) {
        return;
    }
    if (!found) {
        admin_error(call, "node '%s' is no member of '%s'", node->name, call->slug);
        return;
    }
    if (staying == 0) {
        admin_error(call,
                    "'%s' is the last member of '%s': its data would be gone. "
                    "Delete the zone if you mean that",
                    node->name, call->slug);
        return;
    }
    call->number = node->peer.number;
    call->phase = 1;
    admin_row_write(call, &zone);
}

void admin_zone_remove(struct admin_call *call)
{
    const struct directory_zone *zone;

    if (call->phase == 0) {
        remove_write(call);
        return;
    }
    if (call->phase == 1) {
        if (!admin_row_written(call)) {
            return;
        }
        call->phase = 2;
    }
    zone = directory_zone_named(&call->node->directory, call->slug);
    if (zone == NULL || directory_member(zone, call->number) == NULL) {
        admin_done(call, NULL);
    } else {
        (void)admin_late(call, "the member is marked as leaving and goes as soon as it "
                               "can; now it cannot, perhaps since too few of the others "
                               "answer: see gvraft status");
    }
}
