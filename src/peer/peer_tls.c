#include "peer/peer_tls.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "peer/peer_identity.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>

enum {
    CERT_BYTES_MAX = 4096, /* Of the other side's certificate message. */
    OUT_BYTES_MIN = 4096,
    /* More than this pending means that the other side makes us talk (key updates)
     * without reading the answers. */
    OUT_BYTES_MAX = 1 << 20,
};

/* RFC 8446 5.5 asks for a new key before 2^24.5 records; well before. */
#define KEY_RECORDS_MAX (1u << 23)

struct peer_tls_ctx {
    SSL_CTX *client;
    SSL_CTX *server;
    BIO_METHOD *method;
};

struct peer_tls {
    SSL *ssl;
    const uint8_t *in; /* Borrowed; in_len bytes are not read yet. */
    size_t in_len;
    struct peer_out out;
    bool pinned; /* Only the key @expected will do. */
    bool secured;
    bool refused; /* The verification said no. */
    uint8_t expected[PEER_FINGERPRINT_BYTES];
    uint8_t fingerprint[PEER_FINGERPRINT_BYTES];
    uint32_t records; /* Written with the present key. */
    const char *reason;
};

static int bio_read(BIO *bio, char *data, size_t len, size_t *n)
{
    struct peer_tls *tls = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    *n = len < tls->in_len ? len : tls->in_len;
    if (*n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(data, tls->in, *n);
    tls->in += *n;
    tls->in_len -= *n;
    return 1;
}

static int out_grow(struct peer_out *out, size_t need)
{
    size_t cap = out->cap < OUT_BYTES_MIN ? OUT_BYTES_MIN : out->cap;
    uint8_t *data;

    while (cap < need) {
        cap *= 2;
    }
    data = realloc(out->data, cap);
    if (data == NULL) {
        return -ENOMEM;
    }
    out->data = data;
    out->cap = cap;
    return 0;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *n)
{
    struct peer_tls *tls = BIO_get_data(bio);
    struct peer_out *out = &tls->out;

    BIO_clear_retry_flags(bio);
    *n = 0;
    if (len > OUT_BYTES_MAX || out->len > OUT_BYTES_MAX - len) {
        return 0;
    }
    if (len > out->cap - out->len && out_grow(out, out->len + len) != 0) {
        return 0;
    }
    memcpy(out->data + out->len, data, len);
    out->len += len;
    *n = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

/* Whether a name, a date or an issuer is in the certificate does not matter: its key is
 * what the table pins. TLS itself checks that the other side owns the key. */
static int verify(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct peer_tls *tls = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get0_cert(store);
    EVP_PKEY *key = certificate == NULL ? NULL : X509_get0_pubkey(certificate);

    (void)arg;
    if (key == NULL || !peer_key_accepted(key) ||
        peer_fingerprint(certificate, tls->fingerprint) != 0 ||
        (tls->pinned &&
         CRYPTO_memcmp(tls->fingerprint, tls->expected, PEER_FINGERPRINT_BYTES) != 0)) {
        tls->refused = true;
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
        return 0;
    }
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

static SSL_CTX *ssl_ctx(const struct peer_identity *identity, const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (ctx == NULL) {
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ctx, CERT_BYTES_MAX);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, verify, NULL);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:"
                                      "TLS_CHACHA20_POLY1305_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1 ||
        SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256") != 1 ||
        SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        SSL_CTX_use_certificate(ctx, peer_identity_certificate(identity)) != 1 ||
        SSL_CTX_use_PrivateKey(ctx, peer_identity_key(identity)) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

int peer_tls_ctx_new(const struct peer_identity *identity, struct peer_tls_ctx **out)
{
    struct peer_tls_ctx *ctx = calloc(1, sizeof *ctx);

    if (ctx == NULL) {
        return -ENOMEM;
    }
    ctx->client = ssl_ctx(identity, TLS_client_method());
    ctx->server = ssl_ctx(identity, TLS_server_method());
    ctx->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "peer");
    ERR_clear_error();
    if (ctx->client == NULL || ctx->server == NULL || ctx->method == NULL ||
        BIO_meth_set_read_ex(ctx->method, bio_read) != 1 ||
        BIO_meth_set_write_ex(ctx->method, bio_write) != 1 ||
        BIO_meth_set_ctrl(ctx->method, bio_ctrl) != 1) {
        peer_tls_ctx_free(ctx);
        return -ENOMEM;
    }
    *out = ctx;
    return 0;
}

void peer_tls_ctx_free(struct peer_tls_ctx *ctx)
{
    if (ctx == NULL) {
        return;
    }
    SSL_CTX_free(ctx->client);
    SSL_CTX_free(ctx->server);
    BIO_meth_free(ctx->method);
    free(ctx);
}

static int tls_new(SSL_CTX *ssl_ctx, const BIO_METHOD *method, struct peer_tls **out)
{
    struct peer_tls *tls = calloc(1, sizeof *tls);
    BIO *bio = BIO_new(method);

    if (tls == NULL || bio == NULL) {
        goto fail;
    }
    tls->ssl = SSL_new(ssl_ctx);
    if (tls->ssl == NULL) {
        goto fail;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio); /* Takes the one reference. */
    SSL_set_app_data(tls->ssl, tls);
    *out = tls;
    return 0;
fail:
    BIO_free(bio);
    free(tls);
    return -ENOMEM;
}

int peer_tls_client(struct peer_tls_ctx *ctx,
                    const uint8_t expected[PEER_FINGERPRINT_BYTES], struct peer_tls **out)
{
    int rv = tls_new(ctx->client, ctx->method, out);

    if (rv == 0) {
        (*out)->pinned = true;
        memcpy((*out)->expected, expected, PEER_FINGERPRINT_BYTES);
        SSL_set_connect_state((*out)->ssl);
    }
    return rv;
}

int peer_tls_server(struct peer_tls_ctx *ctx, struct peer_tls **out)
{
    int rv = tls_new(ctx->server, ctx->method, out);

    if (rv == 0) {
        SSL_set_accept_state((*out)->ssl);
    }
    return rv;
}

void peer_tls_free(struct peer_tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_free(tls->ssl);
    free(tls->out.data);
    free(tls);
}

void peer_tls_input(struct peer_tls *tls, const uint8_t *data, size_t len)
{
    ASSERT(tls->in_len == 0);
    tls->in = data;
    tls->in_len = len;
}

struct peer_out *peer_tls_output(struct peer_tls *tls)
{
    return &tls->out;
}

/* Convert what the library says to a fault, and keep the words. */
static int fault(struct peer_tls *tls)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    tls->reason = reason == NULL ? "closed in the middle" : reason;
    ERR_clear_error();
    if (tls->refused) {
        tls->reason = "not the expected key";
        return -EACCES;
    }
    return -EPROTO;
}

int peer_tls_handshake(struct peer_tls *tls)
{
    int n;

    ASSERT(!tls->secured);
    ERR_clear_error();
    n = SSL_do_handshake(tls->ssl);
    if (n == 1) {
        tls->secured = true;
        return 0;
    }
    if (SSL_get_error(tls->ssl, n) == SSL_ERROR_WANT_READ) {
        return OUT_TRY_LATER;
    }
    return fault(tls);
}

int peer_tls_read(struct peer_tls *tls, void *out, size_t cap, size_t *n)
{
    size_t left;
    int error;

    ASSERT(tls->secured && cap > 0);
    do {
        left = tls->in_len;
        *n = 0;
        ERR_clear_error();
        if (SSL_read_ex(tls->ssl, out, cap, n) == 1) {
            return 0;
        }
        *n = 0;
        error = SSL_get_error(tls->ssl, 0);
        /* A record without data, such as a key update, may end a read early. */
    } while (error == SSL_ERROR_WANT_READ && tls->in_len > 0 && tls->in_len < left);
    if (error == SSL_ERROR_WANT_READ && tls->in_len == 0) {
        return 0;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        tls->reason = "closed by the other side";
        return -ECONNRESET;
    }
    return fault(tls);
}

int peer_tls_write(struct peer_tls *tls, const void *data, size_t len)
{
    size_t n = 0;

    ASSERT(tls->secured && len > 0 && len <= PEER_TLS_RECORD_MAX);
    ERR_clear_error();
    tls->records++;
    if (tls->records >= KEY_RECORDS_MAX) {
        tls->records = 0;
        if (SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
            return fault(tls);
        }
    }
    if (SSL_write_ex(tls->ssl, data, len, &n) != 1) {
        return fault(tls);
    }
    ASSERT(n == len);
    return 0;
}

const uint8_t *peer_tls_fingerprint(const struct peer_tls *tls)
{
    ASSERT(tls->secured);
    return tls->fingerprint;
}

const char *peer_tls_reason(const struct peer_tls *tls)
{
    return tls->reason == NULL ? "" : tls->reason;
}
