/*
 * peer_identity: what peer_tls needs of a node's key, beyond the contract in peer_uv.h.
 */
#ifndef PEER_PEER_IDENTITY_H
#define PEER_PEER_IDENTITY_H

#include "peer/peer_uv.h"

/* The file below the state folder: the key, then the certificate, both PEM. */
#define PEER_IDENTITY_FILE "node.pem"
/* The same again: without its key a node cannot come back. */
#define PEER_IDENTITY_COPY "node.pem.copy"

struct evp_pkey_st;
struct x509_st;

/* Borrowed; they live as long as the identity. */
struct evp_pkey_st *peer_identity_key(const struct peer_identity *identity);
struct x509_st *peer_identity_certificate(const struct peer_identity *identity);

/* SHA-256 of @certificate's SubjectPublicKeyInfo. 0 or -EINVAL, then @out is untouched. */
int peer_fingerprint(const struct x509_st *certificate,
                     uint8_t out[PEER_FINGERPRINT_BYTES]);

/* True if @key is on the curve P-256, the only kind of key that is accepted. */
bool peer_key_accepted(const struct evp_pkey_st *key);

#endif
