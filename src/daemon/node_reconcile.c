/*
 * node_reconcile: raft's configurations follow the directory.
 *
 * Whoever leads a group compares the members that the directory names with those in
 * raft's configuration, and makes one change at a time: add as stand-by, promote once
 * caught up, remove (never itself: it hands over first). Any leader goes on where the
 * last one stopped, because both sides are replicated.
 */
#include "daemon/node.h"

#include "base/log.h"
#include "base/wire.h"
#include "daemon/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_BYTES_MAX 65536u

static void on_changed(void *arg, int outcome, uint64_t leader_raft_id)
{
    struct node *node = arg;

    (void)leader_raft_id;
    node->changing = false;
    if (outcome != 0 && outcome != OUT_BUSY && outcome != OUT_NOT_LEADER) {
        log_warn("daemon", "msg=\"membership change refused\" outcome=%s",
                 outcome_name(outcome));
    }
}

void node_directory_op(struct node *node, const struct zone_op *op,
                       void (*done)(void *arg, const struct zone_result *result))
{
    static const uint8_t none[16];

    node_submit(
        node,
        &(struct nfs_submit){.zone_id = node->grapevine_id, .op = op, .rpc_key = none},
        done, node);
}

static void change(struct node *node, struct host *host, uint32_t from,
                   const struct rgroup_conf *conf)
{
    log_info("daemon", "msg=\"changing the members\" zone=%s from=%u to=%u",
             host_label(host), from, conf->n);
    host_change(host, conf, asker_callback(node, on_changed, node));
}

/* The row is as it was; rows whose keys only begin alike come behind it. */
static bool same_row(const struct node_addition *adding, const struct zone_result *result)
{
    struct wire_dec dec = wire_dec(result->data.data, result->data.len);
    struct zone_kv pair;

    return result->outcome == 0 && zone_kv_get(&dec, &pair) &&
           pair.key.len == strlen(adding->key) &&
           memcmp(pair.key.data, adding->key, pair.key.len) == 0 &&
           pair.version == adding->version;
}

static void on_row(void *arg, const struct zone_result *result)
{
    struct node *node = arg;
    const struct node_addition *adding = &node->adding;
    struct host *host = node_host(node, adding->zone_id);
    struct host_report report;

    node->changing = false;
    if (host == NULL || node->stopping) {
        return;
    }
    host_report(host, &report);
    if (report.replica.state != RGROUP_LEADER || report.replica.term != adding->term) {
        return;
    }
    if (!same_row(adding, result)) {
        node_directory_refresh(node); /* This node's view is behind, or nobody answers. */
        return;
    }
    node->changing = true;
    change(node, host, report.replica.n_members, &adding->conf);
}

/* Read the row of @zone in a way that sees all that was written before; then go on. */
static void add(struct node *node, const struct directory_zone *zone, uint64_t term,
                const struct rgroup_conf *conf)
{
    struct zone_op op = {.type = ZONE_OP_KV_GET, .count = ROW_BYTES_MAX};
    struct node_addition *adding = &node->adding;

    *adding =
        (struct node_addition){.term = term, .version = zone->version, .conf = *conf};
    memcpy(adding->zone_id, zone->id, sizeof adding->zone_id);
    snprintf(adding->key, sizeof adding->key, "zone/%s", zone->slug);
    op.name = slice_borrow(adding->key, strlen(adding->key));
    node_directory_op(node, &op, on_row);
}

/* One step of @host's group, @zone's or (NULL) the grapevine's own. */
static enum reconcile_type reconcile(struct node *node, struct host *host,
                                     const struct directory_zone *zone,
                                     const struct reconcile_wanted *wanted)
{
    struct reconcile_plan plan;
    struct host_report report;

    host_report(host, &report);
    reconcile_next(&report.replica, host_raft_id(host), wanted, &plan);
    node->changing = plan.type != RECONCILE_NONE && plan.type != RECONCILE_WAIT;
    if (plan.type == RECONCILE_ADD && zone != NULL) {
        add(node, zone, report.replica.term, &plan.conf);
    } else if (plan.type == RECONCILE_ADD || plan.type == RECONCILE_CHANGE) {
        change(node, host, report.replica.n_members, &plan.conf);
    } else if (plan.type == RECONCILE_TRANSFER) {
        host_transfer(host, plan.successor, asker_callback(node, on_changed, node));
    }
    return plan.type;
}

/* Rows that must be there: the founder's own node, the handle key. */

static void on_seeded(void *arg, const struct zone_result *result)
{
    (void)arg;
    if (result->outcome != 0) {
        log_warn("daemon", "msg=\"could not write the first rows\" outcome=%s",
                 outcome_name(result->outcome));
    }
}

static struct zone_kv pair_of(const char *key, const char *value)
{
    return (struct zone_kv){.key = slice_borrow(key, strlen(key)),
                            .value = slice_borrow(value, strlen(value))};
}

static void seed_rows(struct node *node)
{
    struct directory_node self = {.peer = {.number = node->number}};
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 3};
    char key[DIRECTORY_NAME_MAX + 8];
    uint8_t secret[32];
    char hex[2 * sizeof secret + 1];
    char grapevine[128];
    char *text;

    strcpy(self.name, node->config.name);
    memcpy(self.peer.fingerprint, peer_identity_fingerprint(node->identity),
           sizeof self.peer.fingerprint);
    strcpy(self.peer.host, node->config.advertise.host);
    self.peer.port = node->config.advertise.port != 0 ? node->config.advertise.port
                                                      : peer_net_port(node->peers);
    text = directory_node_json(&self);
    node_random(secret, sizeof secret);
    hex_put(hex, secret, sizeof secret);
    snprintf(grapevine, sizeof grapevine, "{\"handle_key\":\"%s\"}", hex);
    snprintf(key, sizeof key, "node/%s", node->config.name);
    if (text != NULL) {
        op.kv[0] = pair_of("grapevine", grapevine);
        op.kv[1] = pair_of(key, text);
        op.kv[2] = pair_of("counter/node", "1");
        node_directory_op(node, &op, on_seeded);
    }
    free(text);
}

/* Members that raft no longer has leave the directory's list too. */

static void on_dropped(void *arg, const struct zone_result *result)
{
    struct node *node = arg;

    (void)result; /* A race with another change: the next round looks again. */
    node->changing = false;
}

static void drop_left(struct node *node, struct node_zone *local,
                      const struct directory_zone *zone)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    char key[DIRECTORY_NAME_MAX + 8];
    struct directory_zone rest;
    struct host_report report;
    char *text;

    host_report(local->host, &report);
    if (!reconcile_dropped(zone, &report.replica, &local->drop, &rest)) {
        return;
    }
    text = directory_zone_json(&rest);
    if (text == NULL) {
        return;
    }
    snprintf(key, sizeof key, "zone/%s", zone->slug);
    op.kv[0] = pair_of(key, text);
    op.kv[0].version = zone->version;
    node->changing = true;
    node_directory_op(node, &op, on_dropped);
    free(text);
}

/*
 * Who must be alive for a member to go: who was heard within two election timeouts, and
 * since it was first seen that somebody is to go. So nobody counts for what it was before.
 */
static uint64_t recent_ms(const struct node_leave *leave, uint32_t election_ms)
{
    uint64_t most_ms = 2ull * election_ms;
    uint64_t since_ms = leave->since_ms == 0 ? 0 : host_now_ms() - leave->since_ms;

    return since_ms < most_ms ? since_ms : most_ms;
}

static void note_leave(struct node_leave *leave, const char *label, uint32_t election_ms,
                       enum reconcile_type type)
{
    uint64_t now_ms = host_now_ms();

    if (type != RECONCILE_WAIT) {
        *leave = (struct node_leave){0};
    } else if (leave->since_ms == 0) {
        leave->since_ms = now_ms;
    } else if (!leave->told && now_ms - leave->since_ms > 2ull * election_ms) {
        leave->told = true;
        log_warn("daemon",
                 "msg=\"a member cannot leave yet: too few of the others answer\" "
                 "zone=%s",
                 label);
    }
}

static void reconcile_one_zone(struct node *node, struct node_zone *local)
{
    const struct directory_zone *zone = directory_zone(&node->directory, local->id);
    uint32_t election_ms = node_election_ms(node, zone);
    struct reconcile_wanted wanted;

    if (local->host == NULL || zone == NULL || !host_is_leader(local->host)) {
        local->drop = (struct reconcile_mark){0};
        local->leave = (struct node_leave){0};
        return;
    }
    reconcile_zone(zone, recent_ms(&local->leave, election_ms), &wanted);
    note_leave(&local->leave, local->slug, election_ms,
               reconcile(node, local->host, zone, &wanted));
    if (node->changing) {
        local->drop = (struct reconcile_mark){0};
    } else {
        drop_left(node, local, zone);
    }
}

static void reconcile_own_group(struct node *node)
{
    struct reconcile_wanted wanted;
    struct host_report report;

    host_report(node->home, &report);
    reconcile_home(&node->directory, host_raft_id(node->home), report.replica.last_index,
                   recent_ms(&node->home_leave, node->config.election_ms), &wanted);
    note_leave(&node->home_leave, host_label(node->home), node->config.election_ms,
               reconcile(node, node->home, NULL, &wanted));
}

void node_reconcile(struct node *node)
{
    if (node->changing || node->stopping || node->home == NULL) {
        return;
    }
    if (host_is_leader(node->home) && node->directory.index > 0) {
        if (!node->directory.has_handle_key && node->number == 1 && node->epoch == 0) {
            if (host_now_ms() > node->seed_wait_ms) {
                node->seed_wait_ms = host_now_ms() + 2000;
                seed_rows(node);
            }
            return;
        }
        if (node_epoch_seed(node)) {
            return;
        }
        reconcile_own_group(node);
    }
    for (uint32_t i = 0; i < node->n_zones && !node->changing; i++) {
        reconcile_one_zone(node, &node->zones[i]);
    }
}
