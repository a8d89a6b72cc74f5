#include "base/outcome.h"
#include "lib/check.h"
#include "net_fixture.h"
#include "peer/peer_frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct result {
    bool done;
    int rv;
    char answer[64];
    size_t answer_len;
};

static void on_done(void *arg, int rv, struct slice answer)
{
    struct result *result = arg;

    CHECK(!result->done);
    result->done = true;
    result->rv = rv;
    result->answer_len = answer.len;
    if (answer.len > 0 && answer.len < sizeof result->answer) {
        memcpy(result->answer, answer.data, answer.len);
    }
}

/* Node 1 runs and knows only itself; node 2 is new. */
static void one_node_up(struct fixture *f)
{
    struct peer_node self;

    fixture_init(f, 2);
    fixture_open(f, 0, 1);
    self = fixture_node(f, 0);
    CHECK_INT(peer_net_nodes(f->nodes[0].net, &self, 1), 0);
}

static void ask(struct fixture *f, struct result *result, const char *body)
{
    struct peer_node inviter = fixture_node(f, 0);

    peer_join(&f->loop,
              &(struct peer_join_request){.identity = f->nodes[1].identity,
                                          .inviter = &inviter,
                                          .body = slice_borrow(body, strlen(body))},
              on_done, result);
    CHECK(!result->done);
}

/* The inviter sees who asks, with the key that TLS proved, and its answer comes back;
 * with the table that this leads to, the two connect. */
static void asked_answered_connected(void)
{
    struct fixture f = {0};
    struct result result = {0};

    one_node_up(&f);
    ask(&f, &result, "token");
    RUN_UNTIL(&f, f.nodes[0].request != 0);
    CHECK_STR(f.nodes[0].trace, "join from 127.0.0.1 \"token\"\n");
    CHECK_MEM(f.nodes[0].asker, peer_identity_fingerprint(f.nodes[1].identity),
              PEER_FINGERPRINT_BYTES);
    CHECK_INT(peer_join_answer(f.nodes[0].net, f.nodes[0].request,
                               slice_borrow("you are 2", 9)),
              0);
    RUN_UNTIL(&f, result.done);
    CHECK_INT(result.rv, 0);
    CHECK_STR(result.answer, "you are 2");
    CHECK_INT(
        peer_join_answer(f.nodes[0].net, f.nodes[0].request, slice_borrow("again", 5)),
        OUT_NOENT);
    fixture_open(&f, 1, 2);
    fixture_introduce(&f);
    RUN_UNTIL(&f, f.nodes[0].ups == 3 && f.nodes[1].ups == 3);
    fixture_deinit(&f);
}

/* An answer larger than one socket buffer comes whole; an empty one comes too. */
static void answers_of_all_sizes(void)
{
    struct fixture f = {0};
    struct buf *large = buf_new(PEER_JOIN_ANSWER_MAX + 1);

    memset(large->data, 'a', large->cap);
    one_node_up(&f);
    for (unsigned i = 0; i < 2; i++) {
        size_t len = i == 0 ? 0 : PEER_JOIN_ANSWER_MAX;
        struct result result = {0};

        f.nodes[0].request = 0;
        ask(&f, &result, "token");
        RUN_UNTIL(&f, f.nodes[0].request != 0);
        CHECK_INT(peer_join_answer(f.nodes[0].net, f.nodes[0].request,
                                   slice_borrow(large->data, PEER_JOIN_ANSWER_MAX + 1)),
                  -EMSGSIZE);
        CHECK_INT(peer_join_answer(f.nodes[0].net, f.nodes[0].request,
                                   slice_borrow(large->data, len)),
                  0);
        RUN_UNTIL(&f, result.done);
        CHECK_INT(result.rv, 0);
        CHECK_UINT(result.answer_len, len);
    }
    buf_unref(large);
    fixture_deinit(&f);
}

/* The token names the inviter's key: at another key's listener nothing is sent. */
static void wrong_inviter_gets_nothing(void)
{
    struct fixture f = {0};
    struct result result = {0};
    struct peer_node inviter;

    one_node_up(&f);
    inviter = fixture_node(&f, 0);
    inviter.fingerprint[0] ^= 1;
    peer_join(&f.loop,
              &(struct peer_join_request){.identity = f.nodes[1].identity,
                                          .inviter = &inviter,
                                          .body = slice_borrow("secret", 6)},
              on_done, &result);
    RUN_UNTIL(&f, result.done);
    CHECK_INT(result.rv, -EACCES);
    CHECK_UINT(f.nodes[0].request, 0);
    fixture_deinit(&f);
}

/* Every way of not getting an answer is told once, as a fault. */
static void no_answer_is_a_fault(void)
{
    static char large[PEER_JOIN_MAX + 2];
    struct fixture f = {0};
    struct result result = {0};
    struct peer_node inviter;

    one_node_up(&f);
    memset(large, 'x', sizeof large - 1);
    ask(&f, &result, large);
    RUN_UNTIL(&f, result.done);
    CHECK_INT(result.rv, -EMSGSIZE);
    inviter = fixture_node(&f, 0);
    memcpy(inviter.host, "example", 8);
    result.done = false;
    peer_join(&f.loop,
              &(struct peer_join_request){.identity = f.nodes[1].identity,
                                          .inviter = &inviter,
                                          .body = slice_borrow("x", 1)},
              on_done, &result);
    RUN_UNTIL(&f, result.done);
    CHECK_INT(result.rv, -EINVAL);
    result.done = false;
    ask(&f, &result, "token");
    RUN_UNTIL(&f, f.nodes[0].request != 0);
    fixture_close(&f, 0); /* The inviter dies before it answers. */
    RUN_UNTIL(&f, result.done);
    CHECK_INT(result.rv, -ECONNRESET);
    result.done = false;
    ask(&f, &result, "token"); /* Nobody listens there now. */
    RUN_UNTIL(&f, result.done);
    CHECK_INT(result.rv, -ECONNREFUSED);
    fixture_deinit(&f);
}

/* Requests that wait for an answer are bounded; one more costs the oldest its place, so
 * that nobody can keep the door shut, and whoever was answered holds none. */
static void requests_are_bounded(void)
{
    enum { ASKERS = 12, WAITING_MAX = 8, ROUNDS = 4 };
    struct fixture f = {0};
    struct result results[ASKERS] = {0};
    struct result late = {0};
    unsigned refused = 0;
    unsigned waiting = 0;

    one_node_up(&f);
    for (unsigned i = 0; i < ASKERS; i++) {
        ask(&f, &results[i], "token");
    }
    while (refused < ASKERS - WAITING_MAX) {
        turn(&f);
        refused = 0;
        for (unsigned i = 0; i < ASKERS; i++) {
            refused += results[i].done;
        }
    }
    CHECK_UINT(refused, ASKERS - WAITING_MAX);
    CHECK_UINT(f.nodes[0].request, ASKERS);
    for (uint64_t request = 1; request <= ASKERS; request++) {
        waiting +=
            peer_join_answer(f.nodes[0].net, request, slice_borrow("ok", 2)) == 0 ? 1 : 0;
    }
    CHECK_UINT(waiting, WAITING_MAX);
    for (unsigned i = 0; i < ASKERS; i++) {
        RUN_UNTIL(&f, results[i].done);
    }
    for (unsigned i = 0; i < ROUNDS * WAITING_MAX; i++) {
        late = (struct result){0};
        ask(&f, &late, "token");
        RUN_UNTIL(&f, f.nodes[0].request == ASKERS + i + 1);
        CHECK_INT(
            peer_join_answer(f.nodes[0].net, f.nodes[0].request, slice_borrow("ok", 2)),
            0);
        RUN_UNTIL(&f, late.done);
        CHECK_INT(late.rv, 0);
    }
    fixture_deinit(&f);
}

TEST_MAIN(CHECK_TEST(asked_answered_connected), CHECK_TEST(answers_of_all_sizes),
          CHECK_TEST(wrong_inviter_gets_nothing), CHECK_TEST(no_answer_is_a_fault),
          CHECK_TEST(requests_are_bounded))
