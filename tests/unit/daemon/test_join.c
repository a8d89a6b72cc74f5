/* Who may join, and what a bad or old invitation is good for: nothing. */
#include "base/wire.h"
#include "daemon/join.h"
#include "daemon/json.h"
#include "lib/check.h"
#include "peer/peer_digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOW = 1000000 };

struct fixture {
    uint8_t bytes[1 << 16];
    struct wire_enc enc;
    struct directory directory;
    struct join_request request;
    char error[CONFIG_ERROR_MAX];
};

static uint8_t secret[JOIN_SECRET_BYTES] = "it is a secret!";
static const uint8_t token_id[DIRECTORY_TOKEN_BYTES] = "token 1";

static void put(struct fixture *f, const char *key, uint64_t version, char *value)
{
    zone_kv_put(&f->enc, &(struct zone_kv){.key = slice_borrow(key, strlen(key)),
                                           .value = slice_borrow(value, strlen(value)),
                                           .version = version});
}

static void put_node(struct fixture *f, const char *name, uint64_t number, int key)
{
    struct directory_node node = {.peer = {.number = number, .port = 2646}};
    char row[80];
    char *text;

    strcpy(node.peer.host, "192.0.2.1");
    memset(node.peer.fingerprint, key, sizeof node.peer.fingerprint);
    text = directory_node_json(&node);
    snprintf(row, sizeof row, "node/%s", name);
    put(f, row, number, text);
    free(text);
}

/* @used_by 0: it was not used. */
static void put_token(struct fixture *f, uint64_t expires_s, int used_by)
{
    struct directory_token token = {.expires_s = expires_s, .used = used_by != 0};
    char row[80] = "token/";
    char *text;

    CHECK_INT(peer_sha256(secret, sizeof secret, token.hash), 0);
    memset(token.used_by, used_by, sizeof token.used_by);
    hex_put(row + 6, token_id, sizeof token_id);
    text = directory_token_json(&token);
    put(f, row, 99, text);
    free(text);
}

static void begin(struct fixture *f)
{
    directory_deinit(&f->directory);
    f->enc = wire_enc(f->bytes, sizeof f->bytes);
}

/* The grapevine has one node, "orval", with key 1 and number 1. */
static void begin_with_token(struct fixture *f, uint64_t expires_s, int used_by)
{
    begin(f);
    put_node(f, "orval", 1, 1);
    put_token(f, expires_s, used_by);
}

static void wanted(struct fixture *f, const char *name, int key, const char *host)
{
    char text[512];
    char id[2 * sizeof token_id + 1];
    char hex[2 * sizeof secret + 1];
    uint8_t fingerprint[PEER_FINGERPRINT_BYTES];
    cJSON *json;

    hex_put(id, token_id, sizeof token_id);
    hex_put(hex, secret, sizeof secret);
    memset(fingerprint, key, sizeof fingerprint);
    snprintf(text, sizeof text,
             "{\"token\":\"%s\",\"secret\":\"%s\",\"name\":\"%s\",\"host\":\"%s\","
             "\"port\":2646,\"fingerprint\":\"00\"}",
             id, hex, name, host);
    json = json_parse(text, strlen(text));
    CHECK(join_parse(json, fingerprint, &f->request));
    cJSON_Delete(json);
}

static enum join_verdict decide(struct fixture *f)
{
    CHECK_INT(directory_parse(&f->directory, slice_borrow(f->bytes, f->enc.len), 100), 0);
    f->error[0] = '\0';
    return join_decide(&f->directory, "192.0.2.7", &f->request, NOW, f->error);
}

#define REFUSED(f, text)                         \
    do {                                         \
        CHECK_INT(decide(f), JOIN_REFUSED);      \
        CHECK(strstr((f)->error, text) != NULL); \
    } while (0)

/* A good invitation gives the next number, above the counter and above every row. */
static void next_number_is_given(void)
{
    struct fixture f = {0};

    begin_with_token(&f, NOW, 0);
    wanted(&f, "westmalle", 2, "192.0.2.2");
    CHECK_INT(decide(&f), JOIN_NEW);
    CHECK_UINT(f.request.node.peer.number, 2);
    CHECK_UINT(f.request.node.peer.fingerprint[0], 2);
    begin_with_token(&f, NOW, 0);
    put(&f, "counter/node", 7, "17");
    CHECK_INT(decide(&f), JOIN_NEW);
    CHECK_UINT(f.request.node.peer.number, 18);
    CHECK_UINT(f.directory.counter_version, 7);
    begin_with_token(&f, NOW, 0);
    put(&f, "counter/node", 7, "3");
    put_node(&f, "chimay", 20, 9);
    CHECK_INT(decide(&f), JOIN_NEW);
    CHECK_UINT(f.request.node.peer.number, 21);
    directory_deinit(&f.directory);
}

/* Unknown, of another secret, expired or used: each says so. */
static void bad_invitations(void)
{
    struct fixture f = {0};

    wanted(&f, "westmalle", 2, "192.0.2.2");
    begin(&f);
    put_node(&f, "orval", 1, 1);
    REFUSED(&f, "not valid");
    begin_with_token(&f, NOW - 1, 0);
    REFUSED(&f, "expired");
    begin_with_token(&f, NOW, 3);
    REFUSED(&f, "used already");
    begin_with_token(&f, NOW, 0);
    f.request.hash[0] ^= 1;
    REFUSED(&f, "not valid");
    directory_deinit(&f.directory);
}

/* A used invitation gives the node that used it the same answer again; once that node is
 * removed, or under another name, it is worth nothing. */
static void used_invitation_only_repeats(void)
{
    struct fixture f = {0};

    wanted(&f, "westmalle", 2, "192.0.2.2");
    begin_with_token(&f, 0, 2);
    put_node(&f, "westmalle", 5, 2);
    CHECK_INT(decide(&f), JOIN_AGAIN);
    CHECK_UINT(f.request.node.peer.number, 5);
    begin_with_token(&f, NOW, 2);
    REFUSED(&f, "used already");
    begin_with_token(&f, NOW, 2); /* The name is another node's by now. */
    put_node(&f, "westmalle", 6, 3);
    REFUSED(&f, "used already");
    wanted(&f, "twin", 2, "192.0.2.2");
    begin_with_token(&f, NOW, 2);
    put_node(&f, "westmalle", 5, 2);
    REFUSED(&f, "used already");
    directory_deinit(&f.directory);
}

/* One key is one node, one name is one node, and there is a last place. */
static void nobody_comes_twice(void)
{
    struct fixture f = {0};
    char name[16];

    begin_with_token(&f, NOW, 0);
    wanted(&f, "westmalle", 1, "192.0.2.2");
    REFUSED(&f, "node remove orval");
    begin_with_token(&f, NOW, 0);
    wanted(&f, "orval", 2, "192.0.2.2");
    REFUSED(&f, "taken");
    wanted(&f, "westmalle", 2, "192.0.2.2");
    begin_with_token(&f, NOW, 0);
    for (unsigned i = 2; i <= DIRECTORY_NODES_MAX; i++) {
        snprintf(name, sizeof name, "n%u", i);
        put_node(&f, name, i, 0);
    }
    REFUSED(&f, "the most");
    directory_deinit(&f.directory);
}

/* A node says where others reach it: an address in numbers, of one machine, and not the
 * address of whoever asks. */
static void addresses_must_lead_there(void)
{
    static const char *const bad[] = {"nas.local", "0.0.0.0", "::",  "224.0.0.1",
                                      "ff02::1",   "",        "1.2", "::ffff:0.0.0.0",
                                      "127.0.0.1", "::1",     "/",   "255.255.255.255"};
    static const char *const good[] = {"192.0.2.2", "2001:db8::7", "10.0.0.1"};
    struct fixture f = {0};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        begin_with_token(&f, NOW, 0);
        wanted(&f, "westmalle", 2, bad[i]);
        REFUSED(&f, "[listen] peer");
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        begin_with_token(&f, NOW, 0);
        wanted(&f, "westmalle", 2, good[i]);
        CHECK_INT(decide(&f), JOIN_NEW);
    }
    /* A grapevine on one machine is one too. */
    wanted(&f, "westmalle", 2, "127.0.0.2");
    CHECK_INT(join_decide(&f.directory, "127.0.0.9", &f.request, NOW, f.error), JOIN_NEW);
    directory_deinit(&f.directory);
}

/* What is written on an invitation is read from it; a part of it is none. */
static void token_is_one_line(void)
{
    struct join_token token = {.inviter = {.number = 3, .port = 2646}};
    struct join_token back;
    char hex[JOIN_TOKEN_HEX_MAX + 1];

    strcpy(token.inviter.host, "2001:db8::7");
    memcpy(token.secret, secret, sizeof secret);
    join_token_encode(&token, hex);
    CHECK(join_token_decode(hex, &back));
    CHECK_MEM(&back, &token, sizeof back);
    hex[strlen(hex) - 2] = '\0';
    CHECK(!join_token_decode(hex, &back));
    CHECK(!join_token_decode("", &back));
    CHECK(!join_token_decode("nonsense", &back));
}

TEST_MAIN(CHECK_TEST(next_number_is_given), CHECK_TEST(bad_invitations),
          CHECK_TEST(used_invitation_only_repeats), CHECK_TEST(nobody_comes_twice),
          CHECK_TEST(addresses_must_lead_there), CHECK_TEST(token_is_one_line))
