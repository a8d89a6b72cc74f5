/*
 * peer_tls: one TLS 1.3 session over memory: bytes in, bytes out, no socket.
 *
 * Promises: both sides proved possession of a P-256 key; peer_tls_fingerprint() names
 * the other side's. A client's session completes only with the key it expects; a server
 * takes any key, and its owner decides. No resumption, no early data, no renegotiation:
 * each of them would skip the proof.
 */
#ifndef PEER_PEER_TLS_H
#define PEER_PEER_TLS_H

#include "peer/peer_uv.h"

/* Most plain bytes for one peer_tls_write: one record (RFC 8446 5.1). */
#define PEER_TLS_RECORD_MAX 16384u
/* Most that one record grows: header, inner type, tag (RFC 8446 5.2), a key update. */
#define PEER_TLS_RECORD_EXTRA 256u

/* Encrypted bytes that wait to be sent. */
struct peer_out {
    uint8_t *data; /* malloc'ed, NULL if cap is 0. */
    size_t len;
    size_t cap;
};

struct peer_tls_ctx;
struct peer_tls;

/* Copies what it needs of @identity. 0 or -ENOMEM. */
int peer_tls_ctx_new(const struct peer_identity *identity, struct peer_tls_ctx **out);
void peer_tls_ctx_free(struct peer_tls_ctx *ctx);

/* A client that accepts only the key @expected. */
int peer_tls_client(struct peer_tls_ctx *ctx,
                    const uint8_t expected[PEER_FINGERPRINT_BYTES],
                    struct peer_tls **out);
int peer_tls_server(struct peer_tls_ctx *ctx, struct peer_tls **out);
void peer_tls_free(struct peer_tls *tls);

/* Lend received bytes. They must stay until the next handshake or read that wants more
 * says so: then they are used up. */
void peer_tls_input(struct peer_tls *tls, const uint8_t *data, size_t len);
/* What is to be sent. The owner takes bytes out, or swaps the whole buffer for another. */
struct peer_out *peer_tls_output(struct peer_tls *tls);

/* 0 done; OUT_TRY_LATER: wants input; -EACCES: wrong kind of key or not the expected
 * one; -EPROTO; -ENOMEM. After a fault the output may hold an alert worth sending. */
int peer_tls_handshake(struct peer_tls *tls);
/* Decrypt into @out. *@n is 0 if it wants input. 0, -EPROTO, -ECONNRESET (closed). */
int peer_tls_read(struct peer_tls *tls, void *out, size_t cap, size_t *n);
/* Encrypt all of @len (1 to PEER_TLS_RECORD_MAX) bytes. 0 or -EPROTO, -ENOMEM. */
int peer_tls_write(struct peer_tls *tls, const void *data, size_t len);

/* The other side's key; only once the handshake is done. */
const uint8_t *peer_tls_fingerprint(const struct peer_tls *tls);
/* A few words on the last fault, for the log. */
const char *peer_tls_reason(const struct peer_tls *tls);

#endif
