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

#define HOME_VOTERS_MAX 5u
/* A stand-by this close to the leader's end of the log is promoted. */
#define PROMOTE_LAG_MAX 64u

struct wanted {
    bool whole; /* Who is not named is to go. */
    uint32_t n;
    struct {
        uint64_t id;
        bool voter;
        bool leaving;
    } members[RGROUP_MEMBERS_MAX];
};

/* Nodes that are gone have no row. Only a view that has everything in the log may be
 * read that way: an older one would miss rows that are new. */
static void wanted_home(const struct node *node, struct wanted *out)
{
    struct host_report report;

    host_report(node->home, &report);
    *out = (struct wanted){.whole = node->directory.index >= report.replica.last_index};
    for (uint32_t i = 0; i < node->directory.n_nodes && i < RGROUP_MEMBERS_MAX; i++) {
        out->members[out->n].id =
            directory_raft_id(node->directory.nodes[i].peer.number, 1);
        out->members[out->n].voter = i < HOME_VOTERS_MAX;
        out->n++;
    }
}

static void wanted_zone(const struct directory_zone *zone, struct wanted *out)
{
    *out = (struct wanted){0};
    for (uint32_t i = 0; i < zone->n_members; i++) {
        out->members[out->n].id = zone->members[i].raft_id;
        out->members[out->n].voter = true;
        out->members[out->n].leaving = zone->members[i].leaving;
        out->n++;
    }
}

static const struct replica_member *actual_member(const struct replica_status *status,
                                                  uint64_t id)
{
    for (uint32_t i = 0; i < status->n_members; i++) {
        if (status->members[i].id == id) {
            return &status->members[i];
        }
    }
    return NULL;
}

static int wanted_place(const struct wanted *wanted, uint64_t id)
{
    for (uint32_t i = 0; i < wanted->n; i++) {
        if (wanted->members[i].id == id) {
            return (int)i;
        }
    }
    return -1;
}

static bool caught_up(const struct replica_status *status,
                      const struct replica_member *member)
{
    return member->match_index > 0 &&
           member->match_index + PROMOTE_LAG_MAX >= status->last_index;
}

static void conf_of(const struct replica_status *status, struct rgroup_conf *conf)
{
    conf->n = 0;
    for (uint32_t i = 0; i < status->n_members; i++) {
        conf->servers[conf->n++] = (struct rgroup_server){
            .id = status->members[i].id, .role = status->members[i].role};
    }
}

static void conf_remove(struct rgroup_conf *conf, uint64_t id)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < conf->n; i++) {
        if (conf->servers[i].id != id) {
            conf->servers[n++] = conf->servers[i];
        }
    }
    conf->n = n;
}

enum step { STEP_NONE, STEP_CONF, STEP_TRANSFER };

/* The next single change towards @wanted, written to @conf. */
static enum step next_step(const struct host *host, const struct replica_status *status,
                           const struct wanted *wanted, struct rgroup_conf *conf)
{
    conf_of(status, conf);
    for (uint32_t i = 0; i < wanted->n; i++) {
        const struct replica_member *member =
            actual_member(status, wanted->members[i].id);

        if (wanted->members[i].leaving) {
            continue;
        }
        if (member == NULL && conf->n < RGROUP_MEMBERS_MAX) {
            conf->servers[conf->n++] = (struct rgroup_server){.id = wanted->members[i].id,
                                                              .role = RGROUP_STANDBY};
            return STEP_CONF;
        }
        if (member != NULL && member->role == RGROUP_STANDBY &&
            wanted->members[i].voter && caught_up(status, member)) {
            conf->servers[member - status->members].role = RGROUP_VOTER;
            return STEP_CONF;
        }
    }
    for (uint32_t i = 0; i < status->n_members; i++) {
        uint64_t id = status->members[i].id;
        int place = wanted_place(wanted, id);

        if (place >= 0 ? !wanted->members[place].leaving : !wanted->whole) {
            continue;
        }
        if (id == host_raft_id(host)) {
            return STEP_TRANSFER; /* Guard G2: the leader never removes itself. */
        }
        conf_remove(conf, id);
        return STEP_CONF;
    }
    return STEP_NONE;
}

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

/* A better leader than this one, which is about to go: the most advanced voter that
 * stays. */
static uint64_t successor(const struct host *host, const struct replica_status *status,
                          const struct wanted *wanted)
{
    uint64_t best = 0;
    uint64_t best_match = 0;

    for (uint32_t i = 0; i < status->n_members; i++) {
        const struct replica_member *member = &status->members[i];
        int place = wanted_place(wanted, member->id);

        if (member->role == RGROUP_VOTER && member->id != host_raft_id(host) &&
            place >= 0 && !wanted->members[place].leaving &&
            member->match_index >= best_match) {
            best = member->id;
            best_match = member->match_index;
        }
    }
    return best;
}

static void reconcile(struct node *node, struct host *host, const struct wanted *wanted)
{
    struct replica_status status;
    struct host_report report;
    struct rgroup_conf conf;
    enum step step;

    host_report(host, &report);
    status = report.replica;
    if (status.state != RGROUP_LEADER || status.transferring || wanted->n == 0) {
        return;
    }
    step = next_step(host, &status, wanted, &conf);
    if (step == STEP_NONE) {
        return;
    }
    node->changing = true;
    if (step == STEP_CONF) {
        log_info("daemon", "msg=\"changing the members\" zone=%s from=%u to=%u",
                 host_label(host), status.n_members, conf.n);
        host_change(host, &conf, asker_callback(node, on_changed, node));
    } else {
        host_transfer(host, successor(host, &status, wanted),
                      asker_callback(node, on_changed, node));
    }
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

static bool drop_left(struct node *node, struct host *host,
                      const struct directory_zone *zone)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    struct directory_zone rest = *zone;
    char key[DIRECTORY_NAME_MAX + 8];
    struct host_report report;
    char *text;

    host_report(host, &report);
    rest.n_members = 0;
    for (uint32_t i = 0; i < zone->n_members; i++) {
        if (!zone->members[i].leaving ||
            actual_member(&report.replica, zone->members[i].raft_id) != NULL) {
            rest.members[rest.n_members++] = zone->members[i];
        }
    }
    if (rest.n_members == zone->n_members || report.replica.state != RGROUP_LEADER ||
        rest.n_members == 0) {
        return false;
    }
    text = directory_zone_json(&rest);
    if (text == NULL) {
        return false;
    }
    snprintf(key, sizeof key, "zone/%s", zone->slug);
    op.kv[0] = pair_of(key, text);
    op.kv[0].version = zone->version;
    node->changing = true;
    directory_op(node, &op, on_dropped);
    free(text);
    return true;
}

void node_reconcile(struct node *node)
{
    struct wanted wanted;

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
        wanted_home(node, &wanted);
        reconcile(node, node->home, &wanted);
    }
    for (uint32_t i = 0; i < node->n_zones && !node->changing; i++) {
        struct host *host = node->zones[i].host;
        const struct directory_zone *zone =
            directory_zone(&node->directory, node->zones[i].id);

        if (host == NULL || zone == NULL || !host_is_leader(host)) {
            continue;
        }
        wanted_zone(zone, &wanted);
        reconcile(node, host, &wanted);
        if (!node->changing) {
            drop_left(node, host, zone);
        }
    }
}
