#include "daemon/join.h"

#include "base/wire.h"
#include "daemon/json.h"
#include "peer/peer_digest.h"

#include <stdio.h>
#include <string.h>

#define TOKEN_VERSION 1
#define TOKEN_BYTES_MAX (JOIN_TOKEN_HEX_MAX / 2)
#define NUMBER_END (1ull << 47)

void join_token_encode(const struct join_token *token, char *hex)
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

bool join_token_decode(const char *hex, struct join_token *token)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    size_t len = strlen(hex) / 2;
    const uint8_t *host;
    struct wire_dec dec;
    size_t host_len;

    *token = (struct join_token){0};
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

bool join_parse(const cJSON *json, const uint8_t fingerprint[PEER_FINGERPRINT_BYTES],
                struct join_request *request)
{
    uint8_t secret[JOIN_SECRET_BYTES];
    struct peer_node *peer = &request->node.peer;
    uint64_t port = 0;

    *request = (struct join_request){0};
    if (!json_hex(json, "token", request->token, sizeof request->token) ||
        !json_hex(json, "secret", secret, sizeof secret) ||
        !json_text(json, "name", request->node.name, sizeof request->node.name) ||
        config_check_name(request->node.name) != 0 ||
        !json_text(json, "host", peer->host, sizeof peer->host) ||
        !json_u64(json, "port", &port) || port == 0 || port > 65535) {
        return false;
    }
    peer->port = (uint16_t)port;
    memcpy(peer->fingerprint, fingerprint, sizeof peer->fingerprint);
    return peer_sha256(secret, sizeof secret, request->hash) == 0;
}

bool join_is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strncmp(host, "::ffff:127.", 11) == 0;
}

/* What is wrong with the invitation, or NULL. *@used: by the asker's own key. */
static const char *token_fault(const struct directory_token *token,
                               const struct join_request *request, uint64_t now_s,
                               bool *used)
{
    *used = false;
    if (token == NULL || memcmp(token->hash, request->hash, sizeof token->hash) != 0) {
        return "the invitation is not valid here: make a new one with gvraft invite";
    }
    if (token->used && memcmp(token->used_by, request->node.peer.fingerprint,
                              sizeof token->used_by) != 0) {
        return "the invitation was used already: make a new one with gvraft invite";
    }
    if (!token->used && now_s > token->expires_s) {
        return "the invitation has expired: make a new one with gvraft invite";
    }
    *used = token->used;
    return NULL;
}

/* Where others are to reach it: at an address, and not at their own. */
static bool host_good(const struct join_request *request, const char *remote, char *error)
{
    const char *host = request->node.peer.host;

    if (config_check_host(host) != 0) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "nobody can reach the new node at '%s': give it [listen] peer or "
                 "advertise with an address in numbers that other nodes can use",
                 host);
        return false;
    }
    if (join_is_loopback(host) && !join_is_loopback(remote)) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "other machines cannot reach the new node at %s: give it [listen] peer "
                 "or advertise with an address that they can use",
                 host);
        return false;
    }
    return true;
}

static const struct directory_node *node_with_key(const struct directory *directory,
                                                  const uint8_t *fingerprint)
{
    for (uint32_t i = 0; i < directory->n_nodes; i++) {
        if (memcmp(directory->nodes[i].peer.fingerprint, fingerprint,
                   PEER_FINGERPRINT_BYTES) == 0) {
            return &directory->nodes[i];
        }
    }
    return NULL;
}

/* Numbers are never given twice, even if the counter's row should be wrong. */
static uint64_t next_number(const struct directory *directory)
{
    uint64_t highest = directory->counter;

    if (directory->n_nodes > 0 &&
        directory->nodes[directory->n_nodes - 1].peer.number > highest) {
        highest = directory->nodes[directory->n_nodes - 1].peer.number;
    }
    return highest + 1;
}

static enum join_verdict decide_new(const struct directory *directory,
                                    struct join_request *request, char *error)
{
    const char *name = request->node.name;
    const struct directory_node *owner =
        node_with_key(directory, request->node.peer.fingerprint);

    if (directory_node_named(directory, name) != NULL) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "the name '%s' is taken: give the new node another [node] name, or "
                 "remove the old one with gvraft node remove %s",
                 name, name);
        return JOIN_REFUSED;
    }
    if (owner != NULL) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "the new node's key is that of node '%s': remove that one with gvraft "
                 "node remove %s, or give the new node an empty state folder",
                 owner->name, owner->name);
        return JOIN_REFUSED;
    }
    if (directory->n_nodes >= DIRECTORY_NODES_MAX ||
        next_number(directory) >= NUMBER_END) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "the grapevine has %u nodes, the most it can have: remove one first",
                 directory->n_nodes);
        return JOIN_REFUSED;
    }
    request->node.peer.number = next_number(directory);
    return JOIN_NEW;
}

enum join_verdict join_decide(const struct directory *directory, const char *remote,
                              struct join_request *request, uint64_t now_s,
                              char error[CONFIG_ERROR_MAX])
{
    const struct directory_token *token = directory_token(directory, request->token);
    bool used;
    const char *fault = token_fault(token, request, now_s, &used);
    const struct directory_node *row;

    if (fault != NULL) {
        snprintf(error, CONFIG_ERROR_MAX, "%s", fault);
        return JOIN_REFUSED;
    }
    if (used) {
        /* Good for its own answer once more, not for a node that was removed since. */
        row = directory_node_named(directory, request->node.name);
        if (row == NULL ||
            memcmp(row->peer.fingerprint, token->used_by, sizeof token->used_by) != 0) {
            snprintf(error, CONFIG_ERROR_MAX,
                     "the invitation was used already: make a new one with gvraft "
                     "invite");
            return JOIN_REFUSED;
        }
        request->node.peer.number = row->peer.number;
        return JOIN_AGAIN;
    }
    if (!host_good(request, remote, error)) {
        return JOIN_REFUSED;
    }
    return decide_new(directory, request, error);
}
