/*
 * admin_join: founding a grapevine, inviting into it, joining it.
 *
 * A token is one line of hex: {version, grapevine id, inviter's number, key hash, host,
 * port, token id, secret}. It can be used once and until it expires; the directory keeps
 * only the secret's SHA-256. The rows of a join (token used, next number, new node) are
 * one compare-and-set, so two joiners never get one number or one name.
 */
#include "daemon/admin.h"

#include "base/log.h"
#include "base/wire.h"
#include "daemon/json.h"
#include "peer/peer_digest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOKEN_VERSION 1
#define TOKEN_ID_BYTES 8u
#define TOKEN_SECRET_BYTES 16u
#define TOKEN_BYTES_MAX 256u
#define TOKEN_TTL_MAX_S (30u * 86400u)
#define ANSWER_NODES_MAX 24u
#define RETRIES_MAX 20u

struct token {
    uint8_t grapevine_id[16];
    struct peer_node inviter;
    uint8_t id[TOKEN_ID_BYTES];
    uint8_t secret[TOKEN_SECRET_BYTES];
};

static uint64_t wall_s(void)
{
    return (uint64_t)time(NULL);
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
    result = cJSON_CreateObject();
    hex_put(hex, node->grapevine_id, sizeof node->grapevine_id);
    cJSON_AddStringToObject(result, "grapevine", hex);
    cJSON_AddStringToObject(result, "node", node->config.name);
    admin_done(call, result);
}

/* invite */

static void token_encode(const struct token *token, char *hex)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);

    wire_put_u8(&enc, TOKEN_VERSION);
    wire_put_bytes(&enc, token->grapevine_id, sizeof token->grapevine_id);
    wire_put_u64(&enc, token->inviter.number);
    wire_put_bytes(&enc, token->inviter.fingerprint, sizeof token->inviter.fingerprint);
    wire_put_u16(&enc, token->inviter.port);
    wire_put_blob(&enc, token->inviter.host, strlen(token->inviter.host));
    wire_put_bytes(&enc, token->id, sizeof token->id);
    wire_put_bytes(&enc, token->secret, sizeof token->secret);
    hex_put(hex, bytes, enc.len);
}

static bool token_decode(const char *hex, struct token *token)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    size_t len = strlen(hex) / 2;
    const uint8_t *host;
    struct wire_dec dec;
    size_t host_len;

    *token = (struct token){0};
    if (len > sizeof bytes || !hex_get(hex, bytes, len)) {
        return false;
    }
    dec = wire_dec(bytes, len);
    if (wire_get_u8(&dec) != TOKEN_VERSION) {
        return false;
    }
    wire_get_bytes(&dec, token->grapevine_id, sizeof token->grapevine_id);
    token->inviter.number = wire_get_u64(&dec);
    wire_get_bytes(&dec, token->inviter.fingerprint, sizeof token->inviter.fingerprint);
    token->inviter.port = wire_get_u16(&dec);
    host = wire_get_blob(&dec, sizeof token->inviter.host - 1, &host_len);
    if (host == NULL) {
        return false;
    }
    memcpy(token->inviter.host, host, host_len);
    wire_get_bytes(&dec, token->id, sizeof token->id);
    wire_get_bytes(&dec, token->secret, sizeof token->secret);
    return wire_done(&dec) && token->inviter.number != 0;
}

static void token_key(const uint8_t id[TOKEN_ID_BYTES], char *key)
{
    strcpy(key, "token/");
    hex_put(key + 6, id, TOKEN_ID_BYTES);
}

static void invite_write(struct admin_call *call, uint64_t ttl_s)
{
    struct node *node = call->node;
    const struct directory_node *self = directory_node(&node->directory, node->number);
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    uint8_t digest[PEER_DIGEST_BYTES];
    char hex[2 * TOKEN_BYTES_MAX + 1];
    struct token token = {0};
    cJSON *row = cJSON_CreateObject();
    char key[64];
    char *text;

    memcpy(token.grapevine_id, node->grapevine_id, sizeof token.grapevine_id);
    token.inviter = self->peer;
    node_random(token.id, sizeof token.id);
    node_random(token.secret, sizeof token.secret);
    token_encode(&token, hex);
    (void)peer_sha256(token.secret, sizeof token.secret, digest);
    json_put_hex(row, "hash", digest, sizeof digest);
    json_put_u64(row, "expires", wall_s() + ttl_s);
    text = cJSON_PrintUnformatted(row);
    cJSON_Delete(row);
    token_key(token.id, key);
    call->result = cJSON_CreateObject();
    cJSON_AddStringToObject(call->result, "token", hex);
    json_put_u64(call->result, "expires", wall_s() + ttl_s);
    if (text != NULL) {
        op.kv[0] = admin_pair(key, text, 0);
        admin_op(call, node->grapevine_id, &op);
    }
    free(text);
}

void admin_invite(struct admin_call *call)
{
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
        call->phase = 1;
        invite_write(call, ttl_s);
        return;
    }
    if (call->outcome != 0) {
        admin_error(call,
                    "the invitation could not be written (%s): is a majority of "
                    "the nodes reachable?",
                    outcome_name(call->outcome));
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

static void join_send(struct admin_call *call, const struct token *token)
{
    struct node *node = call->node;
    cJSON *json = cJSON_CreateObject();
    char *text;

    json_put_hex(json, "token", token->id, sizeof token->id);
    json_put_hex(json, "secret", token->secret, sizeof token->secret);
    cJSON_AddStringToObject(json, "name", node->config.name);
    cJSON_AddStringToObject(json, "host", node->config.peer.host);
    json_put_number(json, "port", node->config.peer.port);
    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text == NULL) {
        admin_error(call, "out of memory");
        return;
    }
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
                    "the inviting node did not answer (%s): is it running, and is its "
                    "address reachable from here?",
                    strerror(call->outcome < 0 ? -call->outcome : EIO));
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
    char hex[2 * TOKEN_BYTES_MAX + 1];
    struct token token;
    cJSON *result;

    if (call->phase == 0) {
        if (node->initialised) {
            admin_error(call, "this node belongs to a grapevine already");
            return;
        }
        if (!json_text(call->args, "token", hex, sizeof hex) ||
            !token_decode(hex, &token)) {
            admin_error(call, "that is no invitation: give the whole line that gvraft "
                              "invite printed");
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

struct joiner {
    uint8_t token[TOKEN_ID_BYTES];
    uint8_t digest[PEER_DIGEST_BYTES];
    uint8_t fingerprint[PEER_FINGERPRINT_BYTES];
    struct directory_node row;
    unsigned tries;
};

static bool accept_parse(struct admin_call *call, struct joiner *joiner)
{
    uint8_t secret[TOKEN_SECRET_BYTES];
    uint64_t port = 0;

    if (!json_hex(call->args, "token", joiner->token, sizeof joiner->token) ||
        !json_hex(call->args, "secret", secret, sizeof secret) ||
        !json_text(call->args, "name", joiner->row.name, sizeof joiner->row.name) ||
        config_check_name(joiner->row.name) != 0 ||
        !json_text(call->args, "host", joiner->row.peer.host,
                   sizeof joiner->row.peer.host) ||
        !json_u64(call->args, "port", &port) || port == 0 || port > 65535) {
        return false;
    }
    joiner->row.peer.port = (uint16_t)port;
    memcpy(joiner->row.peer.fingerprint, call->fingerprint,
           sizeof joiner->row.peer.fingerprint);
    return peer_sha256(secret, sizeof secret, joiner->digest) == 0;
}

/* The token's row says yes, or an error was told. *@again: it was used by this very key
 * before (the answer got lost). */
static bool token_good(struct admin_call *call, const struct joiner *joiner,
                       const char *row, bool *again)
{
    uint8_t digest[PEER_DIGEST_BYTES];
    uint8_t used_by[PEER_FINGERPRINT_BYTES];
    cJSON *json = row == NULL ? NULL : cJSON_Parse(row);
    uint64_t expires = 0;
    bool known = json_hex(json, "hash", digest, sizeof digest) &&
                 json_u64(json, "expires", &expires) &&
                 memcmp(digest, joiner->digest, sizeof digest) == 0;
    bool used = json_hex(json, "used_by", used_by, sizeof used_by);

    *again = used && memcmp(used_by, joiner->row.peer.fingerprint, sizeof used_by) == 0;
    cJSON_Delete(json);
    if (!known) {
        admin_error(call, "the invitation is not valid here: make a new one with gvraft "
                          "invite");
        return false;
    }
    if (used && !*again) {
        admin_error(call, "the invitation was used already: make a new one with gvraft "
                          "invite");
        return false;
    }
    if (!used && wall_s() > expires) {
        admin_error(call,
                    "the invitation has expired: make a new one with gvraft invite");
        return false;
    }
    return true;
}

static void accept_answer(struct admin_call *call, const struct joiner *joiner)
{
    const struct directory *directory = &call->node->directory;
    cJSON *result = cJSON_CreateObject();
    cJSON *nodes = cJSON_AddArrayToObject(result, "nodes");

    json_put_hex(result, "grapevine", call->node->grapevine_id, 16);
    json_put_u64(result, "number", joiner->row.peer.number);
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
static void accept_write(struct admin_call *call, struct joiner *joiner,
                         const uint64_t versions[3], const char *counter)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 3};
    char key[64];
    char node_key[DIRECTORY_NAME_MAX + 8];
    char number[24];
    cJSON *row = cJSON_CreateObject();
    char *token_text;
    char *node_text;

    joiner->row.peer.number = (counter == NULL ? 1 : strtoull(counter, NULL, 10)) + 1;
    snprintf(number, sizeof number, "%" PRIu64, joiner->row.peer.number);
    json_put_hex(row, "hash", joiner->digest, sizeof joiner->digest);
    json_put_u64(row, "expires", 0);
    json_put_hex(row, "used_by", joiner->row.peer.fingerprint,
                 sizeof joiner->row.peer.fingerprint);
    token_text = cJSON_PrintUnformatted(row);
    cJSON_Delete(row);
    node_text = directory_node_json(&joiner->row);
    token_key(joiner->token, key);
    snprintf(node_key, sizeof node_key, "node/%s", joiner->row.name);
    if (token_text != NULL && node_text != NULL) {
        op.kv[0] = admin_pair(key, token_text, versions[0]);
        op.kv[1] = admin_pair("counter/node", number, versions[1]);
        op.kv[2] = admin_pair(node_key, node_text, versions[2]);
        call->phase = 3;
        admin_op(call, call->node->grapevine_id, &op);
    } else {
        admin_error(call, "out of memory");
    }
    free(token_text);
    free(node_text);
}

static void accept_rows(struct admin_call *call, struct joiner *joiner)
{
    char key[64];
    char node_key[DIRECTORY_NAME_MAX + 8];
    uint64_t versions[3];
    struct directory_node old = {0};
    char *token = NULL;
    char *counter = NULL;
    char *row = NULL;
    bool again = false;
    cJSON *json;

    token_key(joiner->token, key);
    snprintf(node_key, sizeof node_key, "node/%s", joiner->row.name);
    (void)admin_find(call, key, &versions[0], &token);
    (void)admin_find(call, "counter/node", &versions[1], &counter);
    (void)admin_find(call, node_key, &versions[2], &row);
    if (!token_good(call, joiner, token, &again)) {
        goto out;
    }
    json = row == NULL ? NULL : cJSON_Parse(row);
    if (json != NULL && again && json_u64(json, "number", &old.peer.number)) {
        joiner->row.peer.number = old.peer.number;
        accept_answer(call, joiner);
    } else if (row != NULL) {
        admin_error(call, "the name '%s' is taken: give the new node another [node] name",
                    joiner->row.name);
    } else {
        accept_write(call, joiner, versions, counter);
    }
    cJSON_Delete(json);
out:
    free(token);
    free(counter);
    free(row);
}

void admin_accept(struct admin_call *call)
{
    struct zone_op op = {.type = ZONE_OP_KV_GET};
    struct joiner *joiner = call->state;

    switch (call->phase) {
    case 0:
        call->state = joiner = calloc(1, sizeof *joiner);
        if (joiner == NULL || !accept_parse(call, joiner)) {
            admin_error(call, "the join request does not parse");
            return;
        }
        call->phase = 1;
        /* Falls through to reading the rows. */
        __attribute__((fallthrough));
    case 1:
        call->phase = 2;
        admin_op(call, call->node->grapevine_id, &op);
        return;
    case 2:
        if (call->outcome != 0) {
            admin_error(call,
                        "the directory cannot be read now (%s): is a majority of "
                        "the nodes reachable?",
                        outcome_name(call->outcome));
            return;
        }
        accept_rows(call, joiner);
        return;
    default:
        if (call->outcome == OUT_MISMATCH && ++joiner->tries < RETRIES_MAX) {
            call->phase = 1; /* Somebody else joined meanwhile. */
            admin_accept(call);
        } else if (call->outcome != 0) {
            admin_error(call,
                        "the directory could not be written (%s): is a majority of "
                        "the nodes reachable?",
                        outcome_name(call->outcome));
        } else {
            accept_answer(call, joiner);
        }
    }
}
