/*
 * admin_join: founding a grapevine, inviting into it, joining it.
 *
 * Who may join is decided in daemon/join.c, on this node's view of the directory: a
 * stranger without an invitation costs no other node anything. The rows of a join (token
 * used, next number, new node) are one compare-and-set, so a view that was behind shows,
 * and two joiners never get one number or one name.
 */
#include "daemon/admin.h"

#include "base/log.h"
#include "daemon/join.h"
#include "daemon/json.h"
#include "peer/peer_digest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOKEN_TTL_MAX_S (30u * 86400u)
#define ANSWER_NODES_MAX 24u
#define ACCEPT_MS_MAX 8000u /* Within what the peer port gives a request. */

static uint64_t wall_s(void)
{
    return (uint64_t)time(NULL);
}

/* Not an error: all nodes may be on one machine. */
static void warn_loopback(struct admin_call *call, const char *host)
{
    if (join_is_loopback(host)) {
        admin_warn(call,
                   "other nodes are told to find this one at %s, which is every "
                   "machine's own: before others join, give [listen] peer an address "
                   "that they can use, and restart grapevined",
                   host);
    }
}

/* init */

void admin_init(struct admin_call *call)
{
    struct node *node = call->node;
    char error[CONFIG_ERROR_MAX];
    uint8_t id[16];
    cJSON *result;
    char hex[33];

    if (call->phase == 0) {
        if (node->initialised) {
            admin_error(call, "this node belongs to a grapevine already");
            return;
        }
        call->phase = 1;
        node_random(id, sizeof id);
        if (node_enter(node, id, 1, true, error) != 0) {
            admin_error(call, "%s", error);
            return;
        }
    }
    if (directory_node(&node->directory, node->number) == NULL) {
        (void)admin_late(call, "the first rows were not written in time: see the "
                               "daemon's log for what its disk says");
        return;
    }
    warn_loopback(call, directory_node(&node->directory, node->number)->peer.host);
    result = cJSON_CreateObject();
    hex_put(hex, node->grapevine_id, sizeof node->grapevine_id);
    cJSON_AddStringToObject(result, "grapevine", hex);
    cJSON_AddStringToObject(result, "node", node->config.name);
    admin_done(call, result);
}

/* invite */

static void token_key(const uint8_t id[DIRECTORY_TOKEN_BYTES], char *key)
{
    strcpy(key, "token/");
    hex_put(key + 6, id, DIRECTORY_TOKEN_BYTES);
}

void admin_drop_token(struct zone_op *op, struct admin_keys *keys,
                      const struct directory_token *token)
{
    if (op->n_kv < ZONE_KV_MAX) {
        token_key(token->id, keys->key[op->n_kv]);
        op->kv[op->n_kv] = admin_pair(keys->key[op->n_kv], NULL, ZONE_KV_ANY);
        op->n_kv++;
    }
}

static bool is_expired(const struct directory_token *token)
{
    return wall_s() > token->expires_s;
}

static bool has_room(const struct directory *directory)
{
    for (uint32_t i = 0; i < directory->n_tokens; i++) {
        if (is_expired(&directory->tokens[i])) {
            return true; /* It gives its place up. */
        }
    }
    return directory->n_tokens < DIRECTORY_TOKENS_MAX;
}

/* Invitations that nobody can use any more go when a new one is made: as many as one op
 * holds, so that they become fewer whenever there are many. */
static void drop_expired(const struct directory *directory, struct zone_op *op,
                         struct admin_keys *keys)
{
    for (uint32_t i = 0; i < directory->n_tokens; i++) {
        if (is_expired(&directory->tokens[i])) {
            admin_drop_token(op, keys, &directory->tokens[i]);
        }
    }
}

static void invite_write(struct admin_call *call, uint64_t ttl_s)
{
    struct node *node = call->node;
    const struct directory_node *self = directory_node(&node->directory, node->number);
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    struct admin_keys keys;
    struct directory_token row = {.expires_s = wall_s() + ttl_s};
    struct join_token *token = calloc(1, sizeof *token);
    char hex[JOIN_TOKEN_HEX_MAX + 1];
    char key[64];
    char *text;

    if (token == NULL) {
        admin_error(call, "out of memory");
        return;
    }
    call->state = token;
    memcpy(token->grapevine_id, node->grapevine_id, sizeof token->grapevine_id);
    token->inviter = self->peer;
    warn_loopback(call, self->peer.host);
    node_random(token->id, sizeof token->id);
    node_random(token->secret, sizeof token->secret);
    join_token_encode(token, hex);
    (void)peer_sha256(token->secret, sizeof token->secret, row.hash);
    text = directory_token_json(&row);
    token_key(token->id, key);
    call->result = cJSON_CreateObject();
    cJSON_AddStringToObject(call->result, "token", hex);
    json_put_u64(call->result, "expires", row.expires_s);
    if (text != NULL) {
        op.kv[0] = admin_pair(key, text, 0);
        drop_expired(&node->directory, &op, &keys);
        admin_op(call, node->grapevine_id, &op);
    }
    free(text);
}

void admin_invite(struct admin_call *call)
{
    const struct join_token *token;
    uint64_t ttl_s = 3600;

    if (call->phase == 0) {
        (void)json_u64(call->args, "ttl_s", &ttl_s);
        if (ttl_s == 0 || ttl_s > TOKEN_TTL_MAX_S) {
            admin_error(call, "an invitation lasts from one second to 30 days");
            return;
        }
        if (directory_node(&call->node->directory, call->node->number) == NULL) {
            (void)admin_late(call, "this node has not read the directory yet");
            return;
        }
        if (!has_room(&call->node->directory)) {
            admin_error(call,
                        "%u invitations are open, the most there can be: wait until "
                        "some expire",
                        call->node->directory.n_tokens);
            return;
        }
        call->phase = 1;
        invite_write(call, ttl_s);
        return;
    }
    if (call->phase == 1 && call->outcome != 0) {
        admin_error(call,
                    "the invitation could not be written (%s): is a majority of "
                    "the nodes reachable?",
                    admin_outcome(call->outcome));
        return;
    }
    /* Whoever joins asks this node, which decides by what it has read. */
    call->phase = 2;
    token = call->state;
    if (directory_token(&call->node->directory, token->id) == NULL) {
        (void)admin_late(call, "the invitation was written, but this node has not read "
                               "it back yet: see gvraft status");
        return;
    }
    admin_done(call, call->result);
    call->result = NULL;
}

/* join, the new node's side */

static void on_join_answer(void *arg, int rv, struct slice answer)
{
    struct admin_call *call = arg;

    call->busy--;
    call->outcome = rv;
    if (rv == 0) {
        call->state = json_parse((const char *)answer.data, answer.len);
    }
    call->phase = 2;
    if (!call->ended) {
        admin_join(call);
    }
}

static void join_send(struct admin_call *call, const struct join_token *token)
{
    struct node *node = call->node;
    cJSON *json = cJSON_CreateObject();
    char *text;

    json_put_hex(json, "token", token->id, sizeof token->id);
    json_put_hex(json, "secret", token->secret, sizeof token->secret);
    cJSON_AddStringToObject(json, "name", node->config.name);
    cJSON_AddStringToObject(json, "host", node->config.advertise.host);
    json_put_number(json, "port", node->config.advertise.port);
    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text == NULL) {
        admin_error(call, "out of memory");
        return;
    }
    /* To say whom, if nobody answers. */
    snprintf(call->remote, sizeof call->remote, "%s", token->inviter.host);
    call->number = token->inviter.port;
    call->busy++;
    peer_join(node->loop,
              &(struct peer_join_request){.identity = node->identity,
                                          .inviter = &token->inviter,
                                          .body = slice_borrow(text, strlen(text))},
              on_join_answer, call);
    free(text);
}

/* What the inviter said: our number, and whom to talk to. False: an error was told. */
static bool join_enter(struct admin_call *call, const cJSON *answer)
{
    struct node *node = call->node;
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(answer, "result");
    char error[CONFIG_ERROR_MAX];
    uint8_t id[16];
    const cJSON *item;

    if (!json_flag(answer, "ok")) {
        if (!json_text(answer, "error", error, sizeof error)) {
            strcpy(error, "the inviting node's answer does not parse");
        }
        admin_error(call, "%s", error);
        return false;
    }
    if (!json_u64(result, "number", &call->number) || call->number < 2 ||
        call->number >= 1ull << 47 || !json_hex(result, "grapevine", id, sizeof id)) {
        admin_error(call, "the inviting node's answer does not parse");
        return false;
    }
    node->n_known = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(result, "nodes"))
    {
        if (!node_known_add(node, item)) {
            log_warn("daemon", "msg=\"a node that the inviter named is of no use\"");
        }
    }
    if (node_known_save(node) != 0) {
        admin_error(call, "could not write to the state folder %s", node->config.state);
        return false;
    }
    (void)json_u64(result, "epoch", &node->epoch); /* Absent: there was none yet. */
    node->home_epoch = node->epoch;
    if (node_enter(node, id, call->number, false, error) != 0) {
        admin_error(call, "%s", error);
        return false;
    }
    return true;
}

static void join_answered(struct admin_call *call)
{
    cJSON *answer = call->state;

    call->state = NULL;
    call->phase = 3;
    if (call->node->initialised || call->node->stopping) {
        admin_error(call, "this node became part of a grapevine meanwhile, or stops");
    } else if (call->outcome != 0) {
        admin_error(call,
                    "the inviting node did not answer at %s port %" PRIu64 " (%s): %s",
                    call->remote, call->number,
                    strerror(call->outcome < 0 ? -call->outcome : EIO),
                    join_is_loopback(call->remote)
                        ? "that is this machine; if it is another one, give it [listen] "
                          "peer with an address that others can use, restart it, and "
                          "make a new invitation"
                        : "is it running, and is that address reachable from here?");
    } else if (answer == NULL) {
        admin_error(call, "the inviting node's answer does not parse");
    } else if (join_enter(call, answer)) {
        call->deadline_ms = host_now_ms() + ADMIN_WAIT_MS;
    }
    cJSON_Delete(answer);
}

void admin_join(struct admin_call *call)
{
    struct node *node = call->node;
    char hex[JOIN_TOKEN_HEX_MAX + 1];
    struct join_token token;
    cJSON *result;

    if (call->phase == 0) {
        if (node->initialised) {
            admin_error(call, "this node belongs to a grapevine already");
            return;
        }
        if (!json_text(call->args, "token", hex, sizeof hex) ||
            !join_token_decode(hex, &token)) {
            admin_error(call, "that is no invitation: give the whole line that gvraft "
                              "invite printed");
            return;
        }
        if (node->config.advertise.port == 0) {
            admin_error(call, "[listen] peer has port 0, so other nodes could not find "
                              "this one again: give it a port, and restart");
            return;
        }
        call->phase = 1;
        join_send(call, &token);
        return;
    }
    if (call->phase == 2) {
        join_answered(call);
    }
    if (call->ended || call->phase < 3) {
        return;
    }
    if (directory_node(&node->directory, node->number) == NULL ||
        !node->directory.has_handle_key) {
        (void)admin_late(call, "joined, but the directory has not arrived yet: see "
                               "gvraft status");
        return;
    }
    result = cJSON_CreateObject();
    json_put_hex(result, "grapevine", node->grapevine_id, sizeof node->grapevine_id);
    cJSON_AddStringToObject(result, "node", node->config.name);
    json_put_u64(result, "number", node->number);
    admin_done(call, result);
}

/* join, the inviter's side */

static void accept_answer(struct admin_call *call)
{
    const struct join_request *request = call->state;
    const struct directory *directory = &call->node->directory;
    cJSON *result = cJSON_CreateObject();
    cJSON *nodes = cJSON_AddArrayToObject(result, "nodes");

    json_put_hex(result, "grapevine", call->node->grapevine_id, 16);
    json_put_u64(result, "number", request->node.peer.number);
    json_put_u64(result, "epoch", call->node->epoch);
    for (uint32_t i = 0; i < directory->n_nodes && i < ANSWER_NODES_MAX; i++) {
        char *text = directory_node_json(&directory->nodes[i]);
        cJSON *item = text == NULL ? NULL : cJSON_Parse(text);

        free(text);
        cJSON_AddStringToObject(item, "name", directory->nodes[i].name);
        cJSON_AddItemToArray(nodes, item);
    }
    admin_done(call, result);
}

/* One compare-and-set: the token is used, the number taken, the node known. */
static void accept_write(struct admin_call *call, const struct join_request *request)
{
    const struct directory *directory = &call->node->directory;
    struct directory_token token = *directory_token(directory, request->token);
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 3};
    char key[64];
    char node_key[DIRECTORY_NAME_MAX + 8];
    char number[24];
    char *token_text;
    char *node_text;

    token.used = true;
    memcpy(token.used_by, request->node.peer.fingerprint, sizeof token.used_by);
    token_text = directory_token_json(&token);
    node_text = directory_node_json(&request->node);
    token_key(request->token, key);
    snprintf(node_key, sizeof node_key, "node/%s", request->node.name);
    snprintf(number, sizeof number, "%" PRIu64, request->node.peer.number);
    if (token_text != NULL && node_text != NULL) {
        op.kv[0] = admin_pair(key, token_text, token.version);
        op.kv[1] = admin_pair("counter/node", number, directory->counter_version);
        op.kv[2] = admin_pair(node_key, node_text, 0);
        call->phase = 1;
        admin_op(call, call->node->grapevine_id, &op);
    } else {
        admin_error(call, "out of memory");
    }
    free(token_text);
    free(node_text);
}

static void accept_decide(struct admin_call *call)
{
    struct join_request *request = call->state;
    char error[CONFIG_ERROR_MAX];

    switch (join_decide(&call->node->directory, call->remote, request, wall_s(), error)) {
    case JOIN_REFUSED:
        admin_error(call, "%s", error);
        break;
    case JOIN_AGAIN:
        accept_answer(call);
        break;
    case JOIN_NEW:
        accept_write(call, request);
        break;
    }
}

void admin_accept(struct admin_call *call)
{
    if (call->phase == 0) {
        if (admin_again(call)) {
            accept_decide(call);
        }
        return;
    }
    if (call->outcome == 0) {
        accept_answer(call);
    } else if (call->outcome == OUT_MISMATCH &&
               host_now_ms() < call->begun_ms + ACCEPT_MS_MAX) {
        call->phase = 0; /* The view was behind: decide on the next one. */
    } else {
        admin_error(call,
                    "the directory could not be written (%s): is a majority of "
                    "the nodes reachable?",
                    admin_outcome(call->outcome));
    }
}
