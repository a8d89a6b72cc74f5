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

/* True if a step was begun. */
static bool reconcile(struct node *node, struct host *host,
                      const struct reconcile_wanted *wanted)
{
    struct reconcile_plan plan;
    struct host_report report;

    host_report(host, &report);
    reconcile_next(&report.replica, host_raft_id(host), wanted, &plan);
    if (plan.type == RECONCILE_NONE) {
        return false;
    }
    node->changing = true;
    if (plan.type == RECONCILE_CHANGE) {
        log_info("daemon", "msg=\"changing the members\" zone=%s from=%u to=%u",
                 host_label(host), report.replica.n_members, plan.conf.n);
        host_change(host, &plan.conf, asker_callback(node, on_changed, node));
    } else {
        host_transfer(host, plan.successor, asker_callback(node, on_changed, node));
    }
    return true;
}

static void directory_op(struct node *node, const struct zone_op *op,
                         void (*done)(void *arg, const struct zone_result *result))
{
    static const uint8_t none[16];

    node_submit(
        node,
        &(struct nfs_submit){.zone_id = node->grapevine_id, .op = op, .rpc_key = none},
        done, node);
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
    strcpy(self.peer.host, node->config.peer.host);
    self.peer.port = peer_net_port(node->peers);
    text = directory_node_json(&self);
    node_random(secret, sizeof secret);
    hex_put(hex, secret, sizeof secret);
    snprintf(grapevine, sizeof grapevine, "{\"handle_key\":\"%s\"}", hex);
    snprintf(key, sizeof key, "node/%s", node->config.name);
    if (text != NULL) {
        op.kv[0] = pair_of("grapevine", grapevine);
        op.kv[1] = pair_of(key, text);
        op.kv[2] = pair_of("counter/node", "1");
        directory_op(node, &op, on_seeded);
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
    directory_op(node, &op, on_dropped);
    free(text);
}

static void reconcile_one_zone(struct node *node, struct node_zone *local)
{
    const struct directory_zone *zone = directory_zone(&node->directory, local->id);
    struct reconcile_wanted wanted;

    if (local->host == NULL || zone == NULL || !host_is_leader(local->host)) {
        local->drop = (struct reconcile_mark){0};
        return;
    }
    reconcile_zone(zone, &wanted);
    if (reconcile(node, local->host, &wanted)) {
        local->drop = (struct reconcile_mark){0};
    } else {
        drop_left(node, local, zone);
    }
}

void node_reconcile(struct node *node)
{
    struct reconcile_wanted wanted;
    struct host_report report;

    if (node->changing || node->stopping || node->home == NULL) {
        return;
    }
    if (host_is_leader(node->home) && node->directory.index > 0) {
        if (!node->directory.has_handle_key && node->number == 1) {
            if (host_now_ms() > node->seed_wait_ms) {
                node->seed_wait_ms = host_now_ms() + 2000;
                seed_rows(node);
            }
            return;
        }
        host_report(node->home, &report);
        reconcile_home(&node->directory, report.replica.last_index, &wanted);
        (void)reconcile(node, node->home, &wanted);
    }
    for (uint32_t i = 0; i < node->n_zones && !node->changing; i++) {
        reconcile_one_zone(node, &node->zones[i]);
    }
}
