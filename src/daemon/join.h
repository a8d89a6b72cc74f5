/*
 * join: invitations, and who may become a node of the grapevine by one.
 *
 * A token is one line of hex: {version, grapevine id, inviter's number, key hash, host,
 * port, token id, secret} (docs/formats/directory.md). It can be used once and until it
 * expires; the directory keeps only the secret's SHA-256.
 *
 * Pure: the directory's view and a request in, a verdict out. The view may be behind: the
 * writes that follow from a verdict are compare-and-set on what it was based on.
 */
#ifndef DAEMON_JOIN_H
#define DAEMON_JOIN_H

#include "daemon/config.h"
#include "daemon/directory.h"

#include <cjson/cJSON.h>

#define JOIN_SECRET_BYTES 16u
#define JOIN_TOKEN_HEX_MAX 512u

struct join_token {
    uint8_t grapevine_id[16];
    struct peer_node inviter;
    uint8_t id[DIRECTORY_TOKEN_BYTES];
    uint8_t secret[JOIN_SECRET_BYTES];
};

/* @hex has JOIN_TOKEN_HEX_MAX + 1 bytes. */
void join_token_encode(const struct join_token *token, char *hex);
bool join_token_decode(const char *hex, struct join_token *token);

/* An address at which every machine finds itself. */
bool join_is_loopback(const char *host);

struct join_request {
    uint8_t token[DIRECTORY_TOKEN_BYTES];
    uint8_t hash[32];           /* Of the secret. */
    struct directory_node node; /* Number 0 until join_decide. */
};

/* @fingerprint is the key that TLS proved. False if @json is malformed. */
bool join_parse(const cJSON *json, const uint8_t fingerprint[PEER_FINGERPRINT_BYTES],
                struct join_request *request);

enum join_verdict {
    JOIN_REFUSED = 0, /* @error says why, in one line. */
    JOIN_NEW,         /* Write the rows. */
    JOIN_AGAIN,       /* The node is there: its answer got lost, give it again. */
};

/*
 * The invitation is looked at first: without one nobody learns anything. @remote is the
 * address that the request came from. Not refused: @request's node has its number.
 */
enum join_verdict join_decide(const struct directory *directory, const char *remote,
                              struct join_request *request, uint64_t now_s,
                              char error[CONFIG_ERROR_MAX]);

#endif
