#include "base/outcome.h"
#include "lib/check.h"
#include "peer/peer_identity.h"
#include "peer/peer_tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct party {
    struct peer_identity *identity;
    struct peer_tls_ctx *ctx;
    struct peer_tls *tls;
};

static void party_init(struct party *party, const char *name)
{
    char dir[4200];

    snprintf(dir, sizeof dir, "%s/%s", check_tmpdir(), name);
    CHECK_INT(mkdir(dir, 0700), 0);
    CHECK_INT(peer_identity_open(dir, true, &party->identity), 0);
    CHECK_INT(peer_tls_ctx_new(party->identity, &party->ctx), 0);
}

static void party_deinit(struct party *party)
{
    peer_tls_free(party->tls);
    peer_tls_ctx_free(party->ctx);
    peer_identity_free(party->identity);
}

/* Give what one has to send to the other. */
static void carry(struct party *from, struct party *to)
{
    static uint8_t wire[1 << 20];
    struct peer_out *out = peer_tls_output(from->tls);
    size_t len = out->len;

    CHECK(len <= sizeof wire);
    if (len > 0) {
        memcpy(wire, out->data, len);
    }
    out->len = 0;
    peer_tls_input(to->tls, wire, len);
}

/* Both handshakes to their ends; the client's result is returned, the server's put. */
static int shake(struct party *client, struct party *server, int *server_rv)
{
    int rv = peer_tls_handshake(client->tls);

    CHECK_INT(rv, OUT_TRY_LATER);
    carry(client, server);
    *server_rv = peer_tls_handshake(server->tls);
    if (*server_rv != OUT_TRY_LATER) {
        return rv;
    }
    carry(server, client);
    rv = peer_tls_handshake(client->tls);
    if (rv == 0) {
        carry(client, server);
        *server_rv = peer_tls_handshake(server->tls);
    }
    return rv;
}

static void pair_init(struct party *client, struct party *server)
{
    int server_rv;

    party_init(client, "client");
    party_init(server, "server");
    CHECK_INT(peer_tls_client(client->ctx, peer_identity_fingerprint(server->identity),
                              &client->tls),
              0);
    CHECK_INT(peer_tls_server(server->ctx, &server->tls), 0);
    CHECK_INT(shake(client, server, &server_rv), 0);
    CHECK_INT(server_rv, 0);
}

/* Each side learns the other's key, as its identity file says it. */
static void both_keys_are_known(void)
{
    struct party client = {0};
    struct party server = {0};

    pair_init(&client, &server);
    CHECK_MEM(peer_tls_fingerprint(server.tls),
              peer_identity_fingerprint(client.identity), PEER_FINGERPRINT_BYTES);
    CHECK_MEM(peer_tls_fingerprint(client.tls),
              peer_identity_fingerprint(server.identity), PEER_FINGERPRINT_BYTES);
    party_deinit(&client);
    party_deinit(&server);
}

/* Data passes both ways, whatever the size, and the two directions do not mix. */
static void data_passes(void)
{
    static uint8_t plain[PEER_TLS_RECORD_MAX];
    static uint8_t got[2 * PEER_TLS_RECORD_MAX];
    struct party client = {0};
    struct party server = {0};
    size_t n = 0;

    pair_init(&client, &server);
    memset(plain, 0x42, sizeof plain);
    CHECK_INT(peer_tls_write(client.tls, plain, sizeof plain), 0);
    CHECK_INT(peer_tls_write(client.tls, "x", 1), 0);
    CHECK_INT(peer_tls_write(server.tls, "back", 4), 0);
    carry(&client, &server);
    CHECK_INT(peer_tls_read(server.tls, got, sizeof got, &n), 0);
    CHECK_UINT(n, sizeof plain);
    CHECK_MEM(got, plain, sizeof plain);
    CHECK_INT(peer_tls_read(server.tls, got, sizeof got, &n), 0);
    CHECK_UINT(n, 1);
    CHECK_INT(peer_tls_read(server.tls, got, sizeof got, &n), 0);
    CHECK_UINT(n, 0);
    carry(&server, &client);
    CHECK_INT(peer_tls_read(client.tls, got, sizeof got, &n), 0);
    CHECK_UINT(n, 4);
    CHECK_MEM(got, "back", 4);
    party_deinit(&client);
    party_deinit(&server);
}

/* A client never completes with another key than the pinned one, so that nothing is
 * said to whoever took over an address. */
static void unpinned_server_is_refused(void)
{
    struct party client = {0};
    struct party server = {0};
    int server_rv;

    party_init(&client, "client");
    party_init(&server, "server");
    CHECK_INT(peer_tls_client(client.ctx, peer_identity_fingerprint(client.identity),
                              &client.tls),
              0);
    CHECK_INT(peer_tls_server(server.ctx, &server.tls), 0);
    CHECK_INT(shake(&client, &server, &server_rv), -EACCES);
    CHECK(peer_tls_output(client.tls)->len > 0); /* An alert. */
    carry(&client, &server);
    CHECK_INT(peer_tls_handshake(server.tls), -EPROTO);
    party_deinit(&client);
    party_deinit(&server);
}

/* One flipped bit anywhere in a record breaks the session and delivers nothing. */
static void flipped_bit_breaks_it(void)
{
    struct party client = {0};
    struct party server = {0};
    uint8_t got[64];
    size_t n = 1;

    pair_init(&client, &server);
    CHECK_INT(peer_tls_write(client.tls, "data", 4), 0);
    peer_tls_output(client.tls)->data[8] ^= 1;
    carry(&client, &server);
    CHECK_INT(peer_tls_read(server.tls, got, sizeof got, &n), -EPROTO);
    CHECK_UINT(n, 0);
    party_deinit(&client);
    party_deinit(&server);
}

/* Bytes that are no TLS are refused, at the latest after one record's length. */
static void garbage_is_refused(void)
{
    struct party server = {0};
    static uint8_t garbage[70000]; /* Longer than any length it can be taken for. */

    party_init(&server, "server");
    for (unsigned seed = 0; seed < 64; seed++) {
        CHECK_INT(peer_tls_server(server.ctx, &server.tls), 0);
        memset(garbage, (int)(seed * 37), sizeof garbage);
        garbage[0] = (uint8_t)(seed % 2 == 0 ? 'G' : 0x16);
        peer_tls_input(server.tls, garbage, sizeof garbage);
        CHECK_INT(peer_tls_handshake(server.tls), -EPROTO);
        peer_tls_free(server.tls);
        server.tls = NULL;
    }
    party_deinit(&server);
}

/* A client of the library's own, with @key, at most @version; tries a handshake. */
static int foreign_client(struct party *server, EVP_PKEY *key, int version)
{
    static uint8_t wire[65536];
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl;
    X509 *certificate = X509_new();
    int rv = OUT_TRY_LATER;

    CHECK_INT(SSL_CTX_set_max_proto_version(ctx, version), 1);
    if (key != NULL) {
        X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
        X509_gmtime_adj(X509_getm_notAfter(certificate), 1000);
        CHECK_INT(X509_set_pubkey(certificate, key), 1);
        CHECK(X509_sign(certificate, key, NULL) > 0); /* NULL: what the key likes. */
        CHECK_INT(SSL_CTX_use_certificate(ctx, certificate), 1);
        CHECK_INT(SSL_CTX_use_PrivateKey(ctx, key), 1);
    }
    ssl = SSL_new(ctx);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
    CHECK_INT(peer_tls_server(server->ctx, &server->tls), 0);
    for (unsigned round = 0; round < 4 && rv == OUT_TRY_LATER; round++) {
        struct peer_out *out = peer_tls_output(server->tls);
        int n;

        (void)SSL_do_handshake(ssl);
        n = BIO_read(SSL_get_wbio(ssl), wire, sizeof wire);
        if (n > 0) {
            peer_tls_input(server->tls, wire, (size_t)n);
            rv = peer_tls_handshake(server->tls);
        }
        if (out->len > 0) {
            BIO_write(SSL_get_rbio(ssl), out->data, (int)out->len);
            out->len = 0;
        }
    }
    peer_tls_free(server->tls);
    server->tls = NULL;
    X509_free(certificate);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return rv;
}

/* Nothing below TLS 1.3, nobody without a certificate, no other kind of key; the same
 * client with the right ones gets in, which shows that the others fail for that. */
static void foreign_clients(void)
{
    struct party server = {0};
    EVP_PKEY *p256 = EVP_EC_gen("P-256");
    EVP_PKEY *p384 = EVP_EC_gen("P-384");
    EVP_PKEY *ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    party_init(&server, "server");
    CHECK_INT(foreign_client(&server, p256, TLS1_3_VERSION), 0);
    CHECK_INT(foreign_client(&server, p256, TLS1_2_VERSION), -EPROTO);
    CHECK_INT(foreign_client(&server, NULL, TLS1_3_VERSION), -EPROTO);
    CHECK(foreign_client(&server, p384, TLS1_3_VERSION) < 0);
    CHECK(foreign_client(&server, ed25519, TLS1_3_VERSION) < 0);
    EVP_PKEY_free(p256);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(ed25519);
    party_deinit(&server);
}

TEST_MAIN(CHECK_TEST(both_keys_are_known), CHECK_TEST(data_passes),
          CHECK_TEST(unpinned_server_is_refused), CHECK_TEST(flipped_bit_breaks_it),
          CHECK_TEST(garbage_is_refused), CHECK_TEST(foreign_clients))
