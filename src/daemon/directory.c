#include "daemon/directory.h"

#include "base/log.h"
#include "base/wire.h"
#include "daemon/config.h"
#include "daemon/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void directory_deinit(struct directory *directory)
{
    free(directory->nodes);
    free(directory->zones);
    free(directory->gone);
    free(directory->tokens);
    *directory = (struct directory){0};
}

static bool parse_node(const cJSON *json, const char *name, struct directory_node *node)
{
    uint64_t port = 0;
    uint64_t life = 1;

    *node = (struct directory_node){0};
    if (config_check_name(name) != 0) {
        return false;
    }
    strcpy(node->name, name);
    if (!json_u64(json, "number", &node->peer.number) || node->peer.number == 0 ||
        node->peer.number >= 1ull << 47 ||
        !json_hex(json, "fingerprint", node->peer.fingerprint,
                  sizeof node->peer.fingerprint) ||
        !json_text(json, "host", node->peer.host, sizeof node->peer.host) ||
        !json_u64(json, "port", &port) || port > 65535) {
        return false;
    }
    if (cJSON_GetObjectItemCaseSensitive(json, "life") != NULL &&
        (!json_u64(json, "life", &life) || life == 0 || life > DIRECTORY_HOME_LIFE_MAX)) {
        return false;
    }
    node->peer.port = (uint16_t)port;
    node->life = (uint16_t)life;
    return true;
}

static bool parse_member(const cJSON *json, struct directory_member *member)
{
    *member = (struct directory_member){
        .leaving = json_flag(json, "leaving"),
    };
    return json_u64(json, "node", &member->node) && member->node != 0 &&
           json_u64(json, "raft_id", &member->raft_id) &&
           directory_raft_node(member->raft_id) == member->node &&
           json_text(json, "pool", member->pool, sizeof member->pool) &&
           config_check_name(member->pool) == 0 &&
           (!cJSON_HasObjectItem(json, "replaces") ||
            json_u64(json, "replaces", &member->replaces)) &&
           (!cJSON_HasObjectItem(json, "from") ||
            (json_u64(json, "from", &member->from) &&
             directory_raft_node(member->from) == member->node));
}

static bool parse_members(const cJSON *json, struct directory_zone *zone)
{
    const cJSON *members = cJSON_GetObjectItemCaseSensitive(json, "members");
    const cJSON *item;

    if (!cJSON_IsArray(members)) {
        return false;
    }
    cJSON_ArrayForEach(item, members)
    {
        struct directory_member member;

        /* A node is a member once, so its raft id, which holds its number, is too. */
        if (zone->n_members == DIRECTORY_MEMBERS_MAX || !parse_member(item, &member) ||
            directory_member(zone, member.node) != NULL) {
            return false;
        }
        zone->members[zone->n_members++] = member;
    }
    return true;
}

static bool parse_first(const cJSON *json, struct directory_genesis *genesis)
{
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(json, "first");
    int n = cJSON_GetArraySize(ids);

    if (!cJSON_IsArray(ids) || n < 1 || n > (int)DIRECTORY_MEMBERS_MAX) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (!json_u64_of(cJSON_GetArrayItem(ids, i), &genesis->first[i]) ||
            directory_raft_node(genesis->first[i]) == 0) {
            return false;
        }
        for (int k = 0; k < i; k++) { /* raft takes nobody twice. */
            if (genesis->first[k] == genesis->first[i]) {
                return false;
            }
        }
    }
    genesis->n_first = (uint32_t)n;
    return true;
}

static bool parse_genesis(const cJSON *json, struct directory_genesis *genesis)
{
    uint64_t uid = 0;
    uint64_t gid = 0;
    uint64_t mode = 0;
    uint64_t created = 0;
    uint64_t election = 0;

    if (cJSON_GetObjectItemCaseSensitive(json, "election_ms") != NULL &&
        (!json_u64(json, "election_ms", &election) || election < CONFIG_ELECTION_MS_MIN ||
         election > CONFIG_ELECTION_MS_MAX)) {
        return false;
    }
    if (!json_u64(json, "quota", &genesis->quota_bytes) ||
        !json_u64(json, "root_uid", &uid) || uid > UINT32_MAX ||
        !json_u64(json, "root_gid", &gid) || gid > UINT32_MAX ||
        !json_u64(json, "root_mode", &mode) || mode > 07777 ||
        !json_u64(json, "created_ns", &created) || created > INT64_MAX) {
        return false;
    }
    genesis->root_uid = (uint32_t)uid;
    genesis->root_gid = (uint32_t)gid;
    genesis->root_mode = (uint32_t)mode;
    genesis->created_ns = (int64_t)created;
    genesis->election_ms = (uint32_t)election;
    return parse_first(json, genesis);
}

static bool parse_recovery(const cJSON *json, struct directory_recovery *recovery)
{
    return json == NULL ||
           (json_u64(json, "time", &recovery->time_s) && recovery->time_s > 0 &&
            recovery->time_s < 1ull << 40 && json_u64(json, "life", &recovery->life) &&
            json_u64(json, "lead", &recovery->lead) &&
            json_u64(json, "term", &recovery->term) &&
            json_u64(json, "index", &recovery->index));
}

static bool parse_zone(const cJSON *json, const char *slug, struct directory_zone *zone)
{
    *zone = (struct directory_zone){0};
    /* The slug becomes the name of a folder. */
    if (config_check_name(slug) != 0) {
        return false;
    }
    strcpy(zone->slug, slug);
    return json_hex(json, "id", zone->id, sizeof zone->id) &&
           json_text(json, "display", zone->display, sizeof zone->display) &&
           json_u64(json, "quota", &zone->quota_bytes) &&
           json_u64(json, "next_life", &zone->next_life) &&
           parse_genesis(cJSON_GetObjectItemCaseSensitive(json, "genesis"),
                         &zone->genesis) &&
           parse_recovery(cJSON_GetObjectItemCaseSensitive(json, "recovery"),
                          &zone->recovery) &&
           parse_members(json, zone);
}

static bool parse_token(const cJSON *json, const char *id, struct directory_token *token)
{
    *token = (struct directory_token){0};
    token->used = json_hex(json, "used_by", token->used_by, sizeof token->used_by);
    return hex_get(id, token->id, sizeof token->id) &&
           json_hex(json, "hash", token->hash, sizeof token->hash) &&
           json_u64(json, "expires", &token->expires_s);
}

static bool parse_counter(const cJSON *json, struct directory *directory)
{
    return cJSON_IsNumber(json) && json->valuedouble >= 0 &&
           json->valuedouble < (double)(1ull << 47) &&
           (directory->counter = (uint64_t)json->valuedouble) > 0;
}

static void parse_grapevine(const cJSON *json, struct directory *directory)
{
    directory->has_handle_key =
        json_hex(json, "handle_key", directory->handle_key, sizeof directory->handle_key);
}

/* True if @key begins with @prefix; *@rest is what follows, as text. */
static bool key_after(const struct zone_kv *pair, const char *prefix, char *rest)
{
    size_t len = strlen(prefix);
    size_t left;

    if (pair->key.len < len || memcmp(pair->key.data, prefix, len) != 0) {
        return false;
    }
    left = pair->key.len - len;
    if (left > DIRECTORY_NAME_MAX) {
        return false;
    }
    memcpy(rest, pair->key.data + len, left);
    rest[left] = '\0';
    return strlen(rest) == left;
}

/* The list doubles: most grapevines delete few zones. False without memory. */
static bool keep_gone(struct directory *directory, const uint8_t id[16])
{
    uint32_t n = directory->n_gone;

    if ((n & (n - 1)) == 0) {
        size_t room = n == 0 ? 1 : 2 * (size_t)n;
        void *more = realloc(directory->gone, room * sizeof *directory->gone);

        if (more == NULL) {
            return false;
        }
        directory->gone = more;
    }
    memcpy(directory->gone[n], id, sizeof directory->gone[n]);
    directory->n_gone++;
    return true;
}

static void note_taken(struct directory *directory, const char *name, uint64_t version)
{
    for (uint32_t i = 0; i < directory->n_nodes; i++) {
        if (strcmp(directory->nodes[i].name, name) == 0) {
            directory->nodes[i].taken_version = version;
        }
    }
}

/* One row into the view. False if it is malformed. */
static bool parse_pair(struct directory *directory, const struct zone_kv *pair)
{
    char rest[DIRECTORY_NAME_MAX + 1];
    uint8_t id[16];
    bool good = true;
    cJSON *json;

    json = json_parse((const char *)pair->value.data, pair->value.len);
    if (json == NULL) {
        return false;
    }
    if (key_after(pair, "node/", rest) && directory->n_nodes < DIRECTORY_NODES_MAX) {
        struct directory_node *node = &directory->nodes[directory->n_nodes];

        good = parse_node(json, rest, node);
        node->version = pair->version;
        directory->n_nodes += good ? 1 : 0;
    } else if (key_after(pair, "taken/", rest)) { /* Behind all of node/. */
        note_taken(directory, rest, pair->version);
    } else if (key_after(pair, "zone/", rest) &&
               directory->n_zones < DIRECTORY_ZONES_MAX) {
        struct directory_zone *zone = &directory->zones[directory->n_zones];

        good = parse_zone(json, rest, zone);
        zone->version = pair->version;
        directory->n_zones += good ? 1 : 0;
    } else if (key_after(pair, "gone/", rest) && directory->n_gone < DIRECTORY_GONE_MAX) {
        good = hex_get(rest, id, sizeof id) && keep_gone(directory, id);
    } else if (key_after(pair, "token/", rest) &&
               directory->n_tokens < DIRECTORY_TOKENS_MAX) {
        struct directory_token *token = &directory->tokens[directory->n_tokens];

        good = parse_token(json, rest, token);
        token->version = pair->version;
        directory->n_tokens += good ? 1 : 0;
    } else if (key_after(pair, "counter/node", rest) && rest[0] == '\0') {
        good = parse_counter(json, directory);
        directory->counter_version = pair->version;
    } else if (key_after(pair, "epoch", rest) && rest[0] == '\0') {
        good = json_u64(json, "epoch", &directory->epoch);
        directory->epoch_version = pair->version;
    } else if (key_after(pair, "grapevine", rest) && rest[0] == '\0') {
        parse_grapevine(json, directory);
    }
    cJSON_Delete(json);
    return good;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct directory_node *)a)->peer.number;
    uint64_t y = ((const struct directory_node *)b)->peer.number;

    return x < y ? -1 : x > y;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static int by_slug(const void *a, const void *b)
{
    return strcmp(((const struct directory_zone *)a)->slug,
                  ((const struct directory_zone *)b)->slug);
}

/* Of rows that claim to be one node or one zone, the one that was there first stays. */
static void drop_twin_nodes(struct directory *directory)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < directory->n_nodes; i++) {
        struct directory_node *node = &directory->nodes[i];
        struct directory_node *twin = n == 0 ? NULL : &directory->nodes[n - 1];

        if (twin == NULL || twin->peer.number != node->peer.number) {
            directory->nodes[n++] = *node;
            continue;
        }
        log_warn("daemon", "msg=\"two rows for one node number\" names=%s,%s", twin->name,
                 node->name);
        if (node->version < twin->version) {
            *twin = *node;
        }
    }
    directory->n_nodes = n;
}

static void drop_twin_zones(struct directory *directory)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < directory->n_zones; i++) {
        struct directory_zone *zone = &directory->zones[i];
        struct directory_zone *twin = NULL;

        for (uint32_t k = 0; k < n && twin == NULL; k++) {
            twin = memcmp(directory->zones[k].id, zone->id, sizeof zone->id) == 0
                       ? &directory->zones[k]
                       : NULL;
        }
        if (twin == NULL) {
            directory->zones[n++] = *zone;
            continue;
        }
        log_warn("daemon", "msg=\"two rows for one zone\" slugs=%s,%s", twin->slug,
                 zone->slug);
        if (zone->version < twin->version) {
            *twin = *zone;
        }
    }
    directory->n_zones = n;
}

int directory_parse(struct directory *directory, struct slice pairs, uint64_t index)
{
    struct wire_dec dec = wire_dec(pairs.data, pairs.len);
    struct directory fresh = {.index = index};
    struct zone_kv pair;

    fresh.nodes = calloc(DIRECTORY_NODES_MAX, sizeof *fresh.nodes);
    fresh.zones = calloc(DIRECTORY_ZONES_MAX, sizeof *fresh.zones);
    fresh.tokens = calloc(DIRECTORY_TOKENS_MAX, sizeof *fresh.tokens);
    if (fresh.nodes == NULL || fresh.zones == NULL || fresh.tokens == NULL) {
        directory_deinit(&fresh);
        return -ENOMEM;
    }
    while (zone_kv_get(&dec, &pair)) {
        if (!parse_pair(&fresh, &pair)) {
            fresh.bad_row = true;
            log_warn("daemon", "msg=\"directory row does not parse\" key=\"%.*s\"",
                     (int)pair.key.len, (const char *)pair.key.data);
        }
    }
    qsort(fresh.nodes, fresh.n_nodes, sizeof *fresh.nodes, by_number);
    drop_twin_nodes(&fresh);
    drop_twin_zones(&fresh);
    qsort(fresh.zones, fresh.n_zones, sizeof *fresh.zones, by_slug);
    if (fresh.n_gone > 0) {
        qsort(fresh.gone, fresh.n_gone, sizeof *fresh.gone, by_id);
    }
    directory_deinit(directory);
    *directory = fresh;
    return 0;
}

const struct directory_node *directory_node(const struct directory *directory,
                                            uint64_t number)
{
    for (uint32_t i = 0; i < directory->n_nodes; i++) {
        if (directory->nodes[i].peer.number == number) {
            return &directory->nodes[i];
        }
    }
    return NULL;
}

const struct directory_node *directory_node_named(const struct directory *directory,
                                                  const char *name)
{
    for (uint32_t i = 0; i < directory->n_nodes; i++) {
        if (strcmp(directory->nodes[i].name, name) == 0) {
            return &directory->nodes[i];
        }
    }
    return NULL;
}

const struct directory_zone *directory_zone(const struct directory *directory,
                                            const uint8_t id[16])
{
    for (uint32_t i = 0; i < directory->n_zones; i++) {
        if (memcmp(directory->zones[i].id, id, 16) == 0) {
            return &directory->zones[i];
        }
    }
    return NULL;
}

const struct directory_zone *directory_zone_named(const struct directory *directory,
                                                  const char *slug)
{
    for (uint32_t i = 0; i < directory->n_zones; i++) {
        if (strcmp(directory->zones[i].slug, slug) == 0) {
            return &directory->zones[i];
        }
    }
    return NULL;
}

bool directory_is_gone(const struct directory *directory, const uint8_t id[16])
{
    return directory->n_gone > 0 && bsearch(id, directory->gone, directory->n_gone,
                                            sizeof *directory->gone, by_id) != NULL;
}

const struct directory_member *directory_member(const struct directory_zone *zone,
                                                uint64_t node)
{
    for (uint32_t i = 0; i < zone->n_members; i++) {
        if (zone->members[i].node == node) {
            return &zone->members[i];
        }
    }
    return NULL;
}

int directory_zone_join(struct directory_zone *zone,
                        const struct directory_member *member)
{
    struct directory_member *joining = &zone->members[zone->n_members];

    if (directory_member(zone, member->node) != NULL) {
        return OUT_EXIST;
    }
    if (zone->n_members == DIRECTORY_MEMBERS_MAX || zone->next_life > UINT16_MAX) {
        return OUT_FULL;
    }
    *joining = *member;
    joining->raft_id = directory_raft_id(member->node, (uint16_t)zone->next_life);
    zone->n_members++;
    zone->next_life++;
    return 0;
}

bool directory_is_first(const struct directory_zone *zone, uint64_t raft_id)
{
    for (uint32_t i = 0; i < zone->genesis.n_first; i++) {
        if (zone->genesis.first[i] == raft_id) {
            return true;
        }
    }
    return false;
}

const struct directory_token *directory_token(const struct directory *directory,
                                              const uint8_t id[DIRECTORY_TOKEN_BYTES])
{
    for (uint32_t i = 0; i < directory->n_tokens; i++) {
        if (memcmp(directory->tokens[i].id, id, DIRECTORY_TOKEN_BYTES) == 0) {
            return &directory->tokens[i];
        }
    }
    return NULL;
}

/* Takes @json. */
static char *print_and_free(cJSON *json)
{
    char *text = cJSON_PrintUnformatted(json);

    cJSON_Delete(json);
    return text;
}

char *directory_node_json(const struct directory_node *node)
{
    cJSON *json = cJSON_CreateObject();

    json_put_u64(json, "number", node->peer.number);
    json_put_hex(json, "fingerprint", node->peer.fingerprint,
                 sizeof node->peer.fingerprint);
    cJSON_AddStringToObject(json, "host", node->peer.host);
    json_put_number(json, "port", node->peer.port);
    if (node->life > 1) {
        json_put_u64(json, "life", node->life);
    }
    return print_and_free(json);
}

static cJSON *genesis_json(const struct directory_genesis *genesis)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *first;

    json_put_u64(json, "quota", genesis->quota_bytes);
    json_put_number(json, "root_uid", genesis->root_uid);
    json_put_number(json, "root_gid", genesis->root_gid);
    json_put_number(json, "root_mode", genesis->root_mode);
    json_put_u64(json, "created_ns", (uint64_t)genesis->created_ns);
    if (genesis->election_ms != 0) {
        json_put_number(json, "election_ms", genesis->election_ms);
    }
    first = cJSON_AddArrayToObject(json, "first");
    for (uint32_t i = 0; i < genesis->n_first; i++) {
        char text[24];

        snprintf(text, sizeof text, "%llu", (unsigned long long)genesis->first[i]);
        cJSON_AddItemToArray(first, cJSON_CreateString(text));
    }
    return json;
}

char *directory_token_json(const struct directory_token *token)
{
    cJSON *json = cJSON_CreateObject();

    json_put_hex(json, "hash", token->hash, sizeof token->hash);
    json_put_u64(json, "expires", token->expires_s);
    if (token->used) {
        json_put_hex(json, "used_by", token->used_by, sizeof token->used_by);
    }
    return print_and_free(json);
}

static cJSON *recovery_json(const struct directory_recovery *recovery)
{
    cJSON *json = cJSON_CreateObject();

    json_put_u64(json, "time", recovery->time_s);
    json_put_u64(json, "life", recovery->life);
    json_put_u64(json, "lead", recovery->lead);
    json_put_u64(json, "term", recovery->term);
    json_put_u64(json, "index", recovery->index);
    return json;
}

char *directory_zone_json(const struct directory_zone *zone)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *members;

    json_put_hex(json, "id", zone->id, sizeof zone->id);
    cJSON_AddStringToObject(json, "display", zone->display);
    json_put_u64(json, "quota", zone->quota_bytes);
    json_put_u64(json, "next_life", zone->next_life);
    cJSON_AddItemToObject(json, "genesis", genesis_json(&zone->genesis));
    if (zone->recovery.time_s != 0) {
        cJSON_AddItemToObject(json, "recovery", recovery_json(&zone->recovery));
    }
    members = cJSON_AddArrayToObject(json, "members");
    for (uint32_t i = 0; i < zone->n_members; i++) {
        const struct directory_member *member = &zone->members[i];
        cJSON *item = cJSON_CreateObject();

        json_put_u64(item, "node", member->node);
        json_put_u64(item, "raft_id", member->raft_id);
        cJSON_AddStringToObject(item, "pool", member->pool);
        cJSON_AddBoolToObject(item, "leaving", member->leaving);
        if (member->replaces != 0) {
            json_put_u64(item, "replaces", member->replaces);
        }
        if (member->from != 0) {
            json_put_u64(item, "from", member->from);
        }
        cJSON_AddItemToArray(members, item);
    }
    return print_and_free(json);
}
