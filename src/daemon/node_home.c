/*
 * node_home: this node's copy of the directory, when it is lost, and its way back.
 *
 * As for a zone (node_repair.c), with two differences: this node cannot read its row in its
 * own copy, so it asks the others for it; and the life of a node in the directory's group
 * stands in its own row. Steps: remember that the copy is lost; raise the life in the row by
 * one compare-and-set, which only a majority of the others can answer; move the copy aside,
 * remember the new life, open an empty copy. Begun again at any point it goes on: a row
 * with a higher life than this node's means that only the last step is missing.
 */
#include "daemon/node.h"

#include "base/log.h"
#include "base/wire.h"
#include "daemon/dataset.h"
#include "daemon/event.h"
#include "daemon/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOME_AGAIN_MS 3000u
#define ROW_BYTES_MAX 65536u

static void row_key(const struct node *node, char *out, size_t cap)
{
    snprintf(out, cap, "node/%s", node->config.name);
}

static void submit(struct node *node, const struct zone_op *op,
                   void (*done)(void *arg, const struct zone_result *result))
{
    static const uint8_t none[16];

    node_submit(
        node,
        &(struct nfs_submit){.zone_id = node->grapevine_id, .op = op, .rpc_key = none},
        done, node);
}

void node_home_noted(struct node *node)
{
    if (node->home == NULL || node->home_lost != HOST_LOST_NOT ||
        host_lost(node->home) == HOST_LOST_NOT) {
        return;
    }
    node->home_lost = host_lost(node->home);
    node->home_repair_ms = host_now_ms() + HOME_AGAIN_MS;
    (void)node_state_save(node);
    event_tell(EVENT_QUARANTINE, "(grapevine)",
               "this node's copy of the directory is quarantined: %s",
               host_reason(node->home));
}

/* The last step. */
static void on_home_closed(void *arg)
{
    struct node *node = arg;
    char dir[HOST_PATH_MAX];
    char stamp[32];
    int rv;

    node->home_repair = false;
    if (!node->stopping) {
        node_repair_stamp(stamp, sizeof stamp);
        snprintf(dir, sizeof dir, "%s/directory/journal", node->config.state);
        rv = dataset_set_aside(node->config.state, "directory", dir, node->grapevine_id,
                               stamp);
        if (rv == 0) {
            node->home_life = node->home_new_life;
            node->home_lost = HOST_LOST_NOT;
            node->home_created = false;
            node->home_swept = false;
            node->home_read = false;
            rv = node_state_save(node);
        }
        if (rv == 0) {
            rv = node_home_open(node, false);
        }
        log_info("daemon",
                 "msg=\"this node's copy of the directory begins anew\" life=%u "
                 "error=\"%s\"",
                 (unsigned)node->home_life, rv == 0 ? "" : strerror(-rv));
    }
    node_part_end(node);
}

static void begin_anew(struct node *node, uint64_t life)
{
    struct host *home = node->home;

    node->home_new_life = (uint16_t)life;
    if (node->stopping || node->reading_directory || home == NULL) {
        node->home_repair = false;
        return;
    }
    node->home = NULL;
    node_part_begin(node);
    host_close(home, on_home_closed, node);
}

static void on_written(void *arg, const struct zone_result *result)
{
    struct node *node = arg;

    (void)result; /* The next turn reads the row again, and sees. */
    node->home_repair = false;
    node->home_repair_ms = result->outcome == 0 ? 0 : node->home_repair_ms;
}

/* The pair at the beginning of @data, if it is this node's row. */
static cJSON *own_row(const struct node *node, struct slice data, uint64_t *version)
{
    struct wire_dec dec = wire_dec(data.data, data.len);
    uint8_t fingerprint[PEER_FINGERPRINT_BYTES];
    char key[DIRECTORY_NAME_MAX + 8];
    struct zone_kv pair;
    cJSON *json;

    row_key(node, key, sizeof key);
    if (!zone_kv_get(&dec, &pair) || pair.key.len != strlen(key) ||
        memcmp(pair.key.data, key, pair.key.len) != 0) {
        return NULL;
    }
    json = json_parse((const char *)pair.value.data, pair.value.len);
    if (!json_hex(json, "fingerprint", fingerprint, sizeof fingerprint) ||
        memcmp(fingerprint, peer_identity_fingerprint(node->identity),
               sizeof fingerprint) != 0) {
        cJSON_Delete(json);
        return NULL;
    }
    *version = pair.version;
    return json;
}

static void raise_life(struct node *node, cJSON *row, uint64_t version, uint64_t life)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    char key[DIRECTORY_NAME_MAX + 8];
    char *text;

    cJSON_DeleteItemFromObjectCaseSensitive(row, "life");
    json_put_u64(row, "life", life);
    text = cJSON_PrintUnformatted(row);
    if (text == NULL) {
        node->home_repair = false;
        return;
    }
    row_key(node, key, sizeof key);
    op.kv[0] = (struct zone_kv){.key = slice_borrow(key, strlen(key)),
                                .value = slice_borrow(text, strlen(text)),
                                .version = version};
    submit(node, &op, on_written);
    free(text);
}

static void on_row(void *arg, const struct zone_result *result)
{
    struct node *node = arg;
    uint64_t version = 0;
    uint64_t life = 1;
    cJSON *row = result->outcome != 0 || node->stopping
                     ? NULL
                     : own_row(node, result->data, &version);

    if (row == NULL) {
        node->home_repair = false;
        if (node->home != NULL && !node->stopping) {
            host_repairing(node->home, "waits for a majority of the other nodes");
        }
        return;
    }
    (void)json_u64(row, "life", &life);
    if (life > node->home_life && life <= DIRECTORY_HOME_LIFE_MAX) {
        begin_anew(node, life);
    } else if (life == node->home_life && life < DIRECTORY_HOME_LIFE_MAX) {
        raise_life(node, row, version, life + 1);
    } else {
        node->home_repair = false;
    }
    cJSON_Delete(row);
}

/* Everything that was in the log when it was first looked at is here. */
static bool has_everything(struct node *node)
{
    struct host_report report;
    bool is_member = false;

    host_report(node->home, &report);
    for (uint32_t i = 0; i < report.replica.n_members; i++) {
        is_member = is_member || report.replica.members[i].id == host_raft_id(node->home);
    }
    return is_member && report.state == HOST_RUNNING && report.replica.has_quorum &&
           report.replica.commit_index > 0 &&
           report.replica.applied_index >= report.replica.commit_index &&
           node->directory.index > 0;
}

void node_home_tick(struct node *node)
{
    char key[DIRECTORY_NAME_MAX + 8];
    struct zone_op op = {.type = ZONE_OP_KV_GET, .count = ROW_BYTES_MAX};
    int rv;

    if (node->home == NULL || node->stopping || node->twin || node->home_repair) {
        return;
    }
    if (node->home_lost != HOST_LOST_NOT) {
        if (host_now_ms() < node->home_repair_ms) {
            return;
        }
        node->home_repair_ms = host_now_ms() + HOME_AGAIN_MS;
        node->home_repair = true;
        row_key(node, key, sizeof key);
        op.name = slice_borrow(key, strlen(key));
        submit(node, &op, on_row);
    } else if (!node->home_swept && node->home_life > 1 && has_everything(node)) {
        node->home_swept = true; /* It is small. */
        rv = dataset_sweep(node->config.state, "directory", NULL, node->grapevine_id);
        if (rv != 0) {
            log_info("daemon", "msg=\"old copies of the directory removed\" copies=%d",
                     rv);
        }
    }
}
