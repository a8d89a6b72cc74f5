/*
 * admin_lead: handing leadership over, and removing nodes.
 */
#include "daemon/admin.h"

#include "daemon/json.h"

#include <stdio.h>
#include <string.h>

#define MAJORITY_HINT "is a majority of the nodes reachable?"

/* Leadership. */

static void on_transferred(void *arg, int outcome, uint64_t leader_raft_id)
{
    struct admin_call *call = arg;

    if (leader_raft_id != 0) {
        call->number = directory_raft_node(leader_raft_id);
    }
    call->outcome = outcome;
    call->phase = 2;
    call->busy--;
}

static void transfer_done(struct admin_call *call, const char *leader)
{
    cJSON *result = cJSON_CreateObject();

    cJSON_AddStringToObject(result, "leader", leader);
    admin_done(call, result);
}

static void on_remote_transfer(struct admin_call *call, uint64_t from,
                               const cJSON *answer)
{
    char error[CONFIG_ERROR_MAX];
    char leader[DIRECTORY_NAME_MAX + 1] = "";

    (void)from;
    if (json_flag(answer, "ok")) {
        (void)json_text(cJSON_GetObjectItemCaseSensitive(answer, "result"), "leader",
                        leader, sizeof leader);
        transfer_done(call, leader);
    } else if (json_text(answer, "error", error, sizeof error)) {
        admin_error(call, "%s", error);
    } else {
        admin_error(call, "the zone's leader did not answer: see gvraft status");
    }
}

static void transfer_remote(struct admin_call *call, uint64_t leader)
{
    if (json_flag(call->args, "forwarded") || leader == 0 ||
        leader == call->node->number) {
        admin_error(call, "zone '%s' has no leader now: " MAJORITY_HINT, call->slug);
        return;
    }
    cJSON_AddBoolToObject(call->args, "forwarded", true);
    call->phase = 3;
    admin_ask(call, leader, "transfer-leader", cJSON_Duplicate(call->args, true),
              on_remote_transfer);
}

/* A member that could tell who leads, for a node that is none itself. */
static void transfer_begin(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    const struct directory_member *member = NULL;
    const struct directory_node *to = NULL;
    struct host *host;

    if (zone == NULL) {
        return;
    }
    if (cJSON_GetObjectItemCaseSensitive(call->args, "node") != NULL) {
        to = admin_node(call, "node");
        if (to == NULL) {
            return;
        }
        member = directory_member(zone, to->peer.number);
        if (member == NULL) {
            admin_error(call, "node '%s' is no member of '%s'", to->name, zone->slug);
            return;
        }
    }
    host = node_host(call->node, zone->id);
    if (host == NULL && !json_flag(call->args, "forwarded")) {
        for (uint32_t i = 0; i < zone->n_members; i++) {
            if (node_link_up(call->node, zone->members[i].node)) {
                call->phase = 3;
                admin_ask(call, zone->members[i].node, "transfer-leader",
                          cJSON_Duplicate(call->args, true), on_remote_transfer);
                return;
            }
        }
    }
    if (host == NULL || !host_is_leader(host)) {
        transfer_remote(call, host == NULL ? 0 : directory_raft_node(host_leader(host)));
        return;
    }
    if (member != NULL && member->raft_id == host_raft_id(host)) {
        transfer_done(call, call->node->config.name); /* It leads already. */
        return;
    }
    call->number = to == NULL ? 0 : to->peer.number;
    call->phase = 1;
    call->busy++;
    host_transfer(host, member == NULL ? 0 : member->raft_id,
                  asker_callback(call->node, on_transferred, call));
}

void admin_transfer(struct admin_call *call)
{
    if (call->phase == 0) {
        transfer_begin(call);
    } else if (call->phase == 2) {
        if (call->outcome != 0) {
            admin_error(call,
                        "leadership of '%s' was not handed over (%s): the other "
                        "member must be up and caught up",
                        call->slug, admin_outcome(call->outcome));
        } else {
            transfer_done(call, node_name_of(call->node, call->number));
        }
    }
}

/* Nodes. */

static bool is_member_anywhere(const struct directory *directory, uint64_t number,
                               const char **slug)
{
    for (uint32_t i = 0; i < directory->n_zones; i++) {
        if (directory_member(&directory->zones[i], number) != NULL) {
            *slug = directory->zones[i].slug;
            return true;
        }
    }
    return false;
}

/* The node's row goes, and with it the invitation that it came by: what it could still
 * be asked is the answer to a node that is no longer there. */
static void remove_write(struct admin_call *call, const struct directory_node *node)
{
    const struct directory *directory = &call->node->directory;
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 2};
    struct admin_keys keys;

    snprintf(keys.key[0], sizeof keys.key[0], "node/%s", node->name);
    op.kv[0] = admin_pair(keys.key[0], NULL, node->version);
    /* Not if it became a member of a zone that this node has not heard of. It is written and
     * not removed, so that who makes it a member now sees a change in any case. */
    snprintf(keys.key[1], sizeof keys.key[1], "taken/%s", node->name);
    op.kv[1] = admin_pair(keys.key[1], "{}", node->taken_version);
    for (uint32_t i = 0; i < directory->n_tokens; i++) {
        const struct directory_token *token = &directory->tokens[i];

        if (token->used &&
            memcmp(token->used_by, node->peer.fingerprint, sizeof token->used_by) == 0) {
            admin_drop_token(&op, &keys, token);
        }
    }
    call->phase = 1;
    admin_op(call, call->node->grapevine_id, &op);
}

void admin_node_remove(struct admin_call *call)
{
    const struct directory_node *node;
    const char *slug = "";

    if (call->phase == 1) {
        if (call->outcome == OUT_MISMATCH) {
            admin_error(call,
                        "node '%s' was changed by somebody else meanwhile, perhaps made "
                        "a member of a zone: look again",
                        call->name);
        } else if (call->outcome != 0) {
            admin_error(call, "the directory could not be written (%s): " MAJORITY_HINT,
                        admin_outcome(call->outcome));
        } else {
            admin_done(call, NULL);
        }
        return;
    }
    node = admin_node(call, "node");
    if (node == NULL) {
        return;
    }
    if (node->peer.number == call->node->number) {
        admin_error(call, "this node cannot remove itself: ask another one");
        return;
    }
    if (is_member_anywhere(&call->node->directory, node->peer.number, &slug)) {
        if (!admin_may_yet_come(
                call)) { /* It may have left by what another node heard. */
            admin_error(call, "node '%s' is a member of zone '%s': remove it there first",
                        node->name, slug);
        }
        return;
    }
    remove_write(call, node);
}
