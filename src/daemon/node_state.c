/*
 * node_state: what a node remembers below its state folder, and the pools' markers.
 */
#include "daemon/node.h"

#include "base/assert.h"
#include "base/disk.h"
#include "base/log.h"
#include "daemon/event.h"
#include "daemon/json.h"
#include "daemon/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#define FILE_MAX (4u << 20)
#define ROTTEN_BITS_MAX 16u
#define BEYOND_MENDING "and its copy are damaged: see the runbook, Damaged state folder"

void node_random(void *out, size_t len)
{
    ASSERT(getrandom(out, len, 0) == (ssize_t)len);
}

int node_state_lock(struct node *node, char error[CONFIG_ERROR_MAX])
{
    char path[CONFIG_TEXT_MAX + 32];

    snprintf(path, sizeof path, "%s/lock", node->config.state);
    node->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (node->lock_fd < 0) {
        int rv = -errno;

        snprintf(error, CONFIG_ERROR_MAX, "%s cannot be written: %s", path,
                 strerror(-rv));
        return rv;
    }
    if (flock(node->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "[node] state %s: another daemon is using it: stop that one, or give "
                 "this one a folder of its own",
                 node->config.state);
        close(node->lock_fd);
        return -EBUSY;
    }
    return 0; /* The kernel gives it back when the process ends, however it does. */
}

static void path_of(const struct node *node, const char *name, char *out, size_t cap)
{
    snprintf(out, cap, "%s/%s", node->config.state, name);
}

/* The parsed file, or NULL with @rv: -ENOENT, -EUCLEAN or the errno of reading. *@again:
 * it should be written anew. */
static cJSON *load(struct node *node, const char *name, bool *again, int *rv)
{
    char path[CONFIG_TEXT_MAX + 32];
    struct state_file file;
    cJSON *json;

    path_of(node, name, path, sizeof path);
    *rv = state_file_read(node->disk, path, FILE_MAX, &file);
    if (*rv != 0) {
        return NULL;
    }
    json = json_parse(file.text, file.len);
    free(file.text);
    *rv = json == NULL ? -EUCLEAN : 0;
    *again = file.from != STATE_FILE_WHOLE;
    if (file.from == STATE_FILE_COPY) {
        event_tell(EVENT_STATE_HEALED, NULL,
                   "%s was damaged or gone: its copy takes its place", path);
    }
    return json;
}

/* Takes @json. */
static int save(struct node *node, const char *name, cJSON *json)
{
    char path[CONFIG_TEXT_MAX + 32];
    char *text = cJSON_Print(json);
    int rv = -ENOMEM;

    cJSON_Delete(json);
    path_of(node, name, path, sizeof path);
    if (text != NULL) {
        rv = state_file_write(node->disk, path, text);
    }
    free(text);
    if (rv != 0 && rv != node->state_fault) { /* What is tried again is told once. */
        log_error("daemon",
                  "msg=\"could not write a state file\" path=\"%s\" error=\"%s\"", path,
                  strerror(-rv));
    }
    node->state_fault = rv;
    return rv;
}

int node_state_save(struct node *node)
{
    cJSON *json = cJSON_CreateObject();
    bool goes = node->next_epoch != 0;

    json_put_number(json, "version", 1);
    json_put_hex(json, "grapevine", node->grapevine_id, sizeof node->grapevine_id);
    json_put_u64(json, "number", node->number);
    json_put_u64(json, "boot", node->boot);
    cJSON_AddStringToObject(json, "name", node->config.name);
    cJSON_AddBoolToObject(json, "directory", node->home_created);
    json_put_u64(json, "epoch", goes ? node->next_epoch : node->epoch);
    json_put_u64(json, "directory_epoch", node->home_epoch);
    cJSON_AddBoolToObject(json, "recovers", goes ? node->next_forces : node->home_forces);
    json_put_u64(json, "recovers_above", goes ? node->next_term : node->home_term);
    json_put_number(json, "life", node->home_life);
    if (node->home_lost != HOST_LOST_NOT) {
        json_put_number(json, "directory_lost", node->home_lost);
    }
    return save(node, "node.json", json);
}

static bool parse_state(struct node *node, const cJSON *json, char *error)
{
    char name[CONFIG_NAME_MAX + 1];
    uint64_t version = 0;
    uint64_t life = 1;
    uint64_t lost = HOST_LOST_NOT;

    if (!json_u64(json, "version", &version) || version != 1 ||
        !json_hex(json, "grapevine", node->grapevine_id, sizeof node->grapevine_id) ||
        !json_u64(json, "number", &node->number) || node->number == 0 ||
        !json_u64(json, "boot", &node->boot) ||
        !json_text(json, "name", name, sizeof name)) {
        snprintf(error, CONFIG_ERROR_MAX, "%s/node.json " BEYOND_MENDING,
                 node->config.state);
        return false;
    }
    node->home_created = json_flag(json, "directory");
    node->home_forces = json_flag(json, "recovers");
    (void)json_u64(json, "epoch",
                   &node->epoch); /* Absent: 0, from before there were any. */
    (void)json_u64(json, "directory_epoch", &node->home_epoch);
    (void)json_u64(json, "recovers_above", &node->home_term);
    (void)json_u64(json, "life", &life);
    (void)json_u64(json, "directory_lost", &lost);
    if (life == 0 || life > DIRECTORY_HOME_LIFE_MAX || lost > HOST_LOST_GIVEN_UP) {
        snprintf(error, CONFIG_ERROR_MAX, "%s/node.json has a life that cannot be",
                 node->config.state);
        return false;
    }
    node->home_life = (uint16_t)life;
    node->home_lost = (enum host_lost)lost;
    if (strcmp(name, node->config.name) != 0) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "%s belongs to node '%s', but the configuration says '%s': give [node] "
                 "name = %s, or another state folder",
                 node->config.state, name, node->config.name, name);
        return false;
    }
    return true;
}

static bool parse_node_zone(const cJSON *item, struct node_zone *zone)
{
    uint64_t lost = HOST_LOST_NOT;

    *zone = (struct node_zone){.created = json_flag(item, "created")};
    (void)json_u64(item, "epoch", &zone->epoch);
    zone->complete = cJSON_GetObjectItemCaseSensitive(item, "complete") == NULL
                         ? zone->created
                         : json_flag(item, "complete");
    if (json_u64(item, "lost", &lost) && lost > HOST_LOST_GIVEN_UP) {
        return false;
    }
    zone->lost = (enum host_lost)lost;
    return json_hex(item, "id", zone->id, sizeof zone->id) &&
           json_u64(item, "raft_id", &zone->raft_id) &&
           json_text(item, "pool", zone->pool, sizeof zone->pool) &&
           json_text(item, "slug", zone->slug, sizeof zone->slug);
}

static int zones_load(struct node *node, char *error)
{
    bool again = false;
    const cJSON *item;
    cJSON *json;
    int rv;

    json = load(node, "zones.json", &again, &rv);
    cJSON_ArrayForEach(item, json)
    {
        if (node->n_zones == DIRECTORY_ZONES_MAX ||
            !parse_node_zone(item, &node->zones[node->n_zones])) {
            rv = -EUCLEAN;
            break;
        }
        if (config_check_name(node->zones[node->n_zones].pool) != 0 ||
            config_check_name(node->zones[node->n_zones].slug) != 0) {
            log_error("daemon", "msg=\"zones.json names no folder of a pool: left out\"");
            continue;
        }
        node->n_zones++;
    }
    cJSON_Delete(json);
    if (rv != 0) {
        /* Without it, a dataset that is away would be taken for one to be made. */
        snprintf(error, CONFIG_ERROR_MAX, "%s/zones.json " BEYOND_MENDING " (%s)",
                 node->config.state, strerror(-rv));
    } else if (again && (rv = node_zones_save(node)) != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "%s/zones.json cannot be written: %s",
                 node->config.state, strerror(-rv));
    }
    return rv;
}

int node_state_load(struct node *node, char error[CONFIG_ERROR_MAX])
{
    bool again = false; /* It is written anew in any case. */
    cJSON *json;
    int rv;

    json = load(node, "node.json", &again, &rv);
    if (rv == -ENOENT) {
        return 0;
    }
    if (rv != 0) {
        if (rv == -EUCLEAN) {
            snprintf(error, CONFIG_ERROR_MAX, "%s/node.json " BEYOND_MENDING,
                     node->config.state);
        } else {
            snprintf(error, CONFIG_ERROR_MAX, "%s/node.json cannot be read: %s",
                     node->config.state, strerror(-rv));
        }
        return rv;
    }
    rv = parse_state(node, json, error) ? 0 : -EINVAL;
    cJSON_Delete(json);
    if (rv == 0) {
        rv = zones_load(node, error);
    }
    if (rv == 0) {
        node->boot++; /* Sessions of the last life must not be continued. */
        rv = node_state_save(node);
        if (rv != 0) {
            snprintf(error, CONFIG_ERROR_MAX, "%s/node.json cannot be written: %s",
                     node->config.state, strerror(-rv));
        }
    }
    node->initialised = rv == 0;
    return rv;
}

int node_zones_save(struct node *node)
{
    cJSON *json = cJSON_CreateArray();
    int rv;

    for (uint32_t i = 0; i < node->n_zones; i++) {
        const struct node_zone *zone = &node->zones[i];
        cJSON *item = cJSON_CreateObject();

        json_put_hex(item, "id", zone->id, sizeof zone->id);
        json_put_u64(item, "raft_id", zone->raft_id);
        cJSON_AddStringToObject(item, "pool", zone->pool);
        cJSON_AddStringToObject(item, "slug", zone->slug);
        json_put_u64(item, "epoch", zone->epoch);
        cJSON_AddBoolToObject(item, "created", zone->created);
        cJSON_AddBoolToObject(item, "complete", zone->complete);
        if (zone->lost != HOST_LOST_NOT) {
            json_put_number(item, "lost", zone->lost);
        }
        cJSON_AddItemToArray(json, item);
    }
    rv = save(node, "zones.json", json);
    node->zones_unsaved = rv != 0;
    return rv;
}

int node_known_save(struct node *node)
{
    cJSON *json = cJSON_CreateArray();

    for (uint32_t i = 0; i < node->n_known; i++) {
        struct directory_node row = {.peer = node->known[i]};
        char *text = directory_node_json(&row);
        cJSON *item = text == NULL ? NULL : cJSON_Parse(text);

        free(text);
        cJSON_AddStringToObject(item, "name", node->known_names[i]);
        cJSON_AddItemToArray(json, item);
    }
    return save(node, "nodes.json", json);
}

bool node_known_add(struct node *node, const cJSON *json)
{
    struct peer_node peer = {0};
    char name[DIRECTORY_NAME_MAX + 1];
    uint64_t port = 0;

    if (node->n_known == DIRECTORY_NODES_MAX || !json_u64(json, "number", &peer.number) ||
        !json_hex(json, "fingerprint", peer.fingerprint, sizeof peer.fingerprint) ||
        !json_text(json, "host", peer.host, sizeof peer.host) ||
        !json_u64(json, "port", &port) || port > 65535 ||
        !json_text(json, "name", name, sizeof name)) {
        return false;
    }
    peer.port = (uint16_t)port;
    if (peer_node_fault(&peer, node->known, node->n_known) != NULL) {
        return false;
    }
    node->known[node->n_known] = peer;
    strcpy(node->known_names[node->n_known], name);
    node->n_known++;
    return true;
}

/* Addresses and keys from before, so that a node starts without anybody's help. */
void node_known_load(struct node *node)
{
    const cJSON *item;
    bool again = false; /* It is, once the directory is read. */
    cJSON *json;
    int rv;

    json = load(node, "nodes.json", &again, &rv);
    if (rv != 0 && rv != -ENOENT) {
        log_warn(
            "daemon",
            "msg=\"nodes.json and its copy are of no use: this node waits for others "
            "to call it, until it has read the directory\" error=\"%s\"",
            strerror(-rv));
    }
    cJSON_ArrayForEach(item, json)
    {
        if (!node_known_add(node, item)) {
            log_warn("daemon", "msg=\"a row of nodes.json is of no use\"");
        }
    }
    cJSON_Delete(json);
}

static int pool_claim(struct node *node, const char *marker, char *error)
{
    uint8_t fingerprint[PEER_FINGERPRINT_BYTES];
    char hex[2 * sizeof fingerprint + 2];
    int rv;

    memcpy(fingerprint, peer_identity_fingerprint(node->identity), sizeof fingerprint);
    hex_put(hex, fingerprint, sizeof fingerprint);
    rv = disk_replace_file(node->disk, marker, hex, strlen(hex));
    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "pool folder of %s cannot be written: %s (make it writable for the "
                 "daemon's user)",
                 marker, strerror(-rv));
    }
    return rv;
}

/* True if this node has a dataset there, as far as it remembers. */
static bool pool_in_use(const struct node *node, const char *pool)
{
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (node->zones[i].created && strcmp(node->zones[i].pool, pool) == 0) {
            return true;
        }
    }
    return false;
}

/* True if the marker @text is @hex, this node's, but for a few bits: fingerprints of two
 * nodes differ in half of their bits. */
static bool is_rotten(const char *text, size_t len, const char *hex)
{
    unsigned bits = 0;

    for (size_t i = 0; i < len && len == 2 * PEER_FINGERPRINT_BYTES; i++) {
        bits += (unsigned)__builtin_popcount((uint8_t)(text[i] ^ hex[i]));
    }
    return bits > 0 && bits <= ROTTEN_BITS_MAX;
}

int node_pool_check(struct node *node, const struct config_pool *pool,
                    char error[CONFIG_ERROR_MAX])
{
    char marker[CONFIG_TEXT_MAX + 32];
    char hex[2 * PEER_FINGERPRINT_BYTES + 1];
    uint64_t free_bytes;
    uint64_t total_bytes;
    char *text = NULL;
    size_t len = 0;
    int rv;

    rv = node->disk->ops->space(node->disk, pool->path, &free_bytes, &total_bytes);
    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "[pool %s] path %s: %s (mount it, or make the folder)", pool->name,
                 pool->path, strerror(-rv));
        return pool_in_use(node, pool->name) ? -ENODEV : rv;
    }
    snprintf(marker, sizeof marker, "%s/" NODE_POOL_MARKER, pool->path);
    rv = disk_read_file(node->disk, marker, 256, &text, &len);
    if (rv == -ENOENT && pool_in_use(node, pool->name)) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "[pool %s] path %s: zones of this node belong there, but it is empty: "
                 "mount it",
                 pool->name, pool->path);
        return -ENODEV;
    }
    if (rv == -ENOENT || (rv == 0 && len == 0)) { /* Empty: a person says it is ours. */
        free(text);
        return pool_claim(node, marker, error);
    }
    hex_put(hex, peer_identity_fingerprint(node->identity), PEER_FINGERPRINT_BYTES);
    if (rv == 0 && is_rotten(text, len, hex)) {
        event_tell(EVENT_STATE_HEALED, NULL, "%s was damaged: it is written anew",
                   marker);
        memcpy(text, hex, sizeof hex);
    }
    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "[pool %s] %s cannot be read: %s", pool->name,
                 marker, strerror(-rv));
        rv = pool_in_use(node, pool->name) ? -ENODEV : rv;
    } else if (strcmp(text, hex) != 0) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "[pool %s] path %s belongs to another node (its %s says so): give this "
                 "node a folder of its own, or, if that node is gone for good, empty it, "
                 "that file too",
                 pool->name, pool->path, NODE_POOL_MARKER);
        rv = -EEXIST;
    } else {
        rv = pool_claim(node, marker, error); /* Shows a pool that turned read-only. */
        if (rv == -ENOSPC) {
            error[0] = '\0'; /* It is writable, and the zones know what to do. */
            rv = 0;
        } else if (rv != 0 && pool_in_use(node, pool->name)) {
            rv = -ENODEV; /* Its zones fail, and say why; the others need not. */
        }
    }
    free(text);
    return rv;
}
