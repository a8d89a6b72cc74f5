/* The binder: what is registered with rpcbind, and what comes of each of its answers. */
#include "lib/check.h"
#include "nfs/binder.h"
#include "nfs/nfs3_proto.h"
#include "nfs/rpc_xdr.h"

#include <stdio.h>
#include <string.h>

/* A binder, and what it did: one line for each event. */
static struct {
    struct binder binder;
    uint32_t xid; /* Of the last call. */
    char trace[2000];
} f;

static void say(const char *text)
{
    CHECK(strlen(f.trace) + strlen(text) < sizeof f.trace);
    strcat(f.trace, text);
}

/* "SET 100003 tcp 0.0.0.0.8.1" from a call's bytes. */
static void say_call(struct buf *call)
{
    char text[200];
    struct rpc_xdr xdr;
    uint32_t fixed[6];
    uint32_t prog;
    struct slice netid;
    struct slice address;

    rpc_xdr_decode(&xdr, call, 0);
    CHECK_UINT(rpc_get_u32(&xdr), 0x80000000u | (uint32_t)(call->len - 4));
    f.xid = rpc_get_u32(&xdr);
    for (unsigned i = 0; i < 5; i++) {
        fixed[i] = rpc_get_u32(&xdr);
    }
    CHECK_UINT(fixed[0], CALL);
    CHECK_UINT(fixed[1], 2);
    CHECK_UINT(fixed[2], 100000);
    CHECK_UINT(fixed[3], 3);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_UINT(rpc_get_u32(&xdr), 0);
    }
    prog = rpc_get_u32(&xdr);
    CHECK_UINT(rpc_get_u32(&xdr), 3);
    netid = rpc_get_opaque(&xdr, 20);
    address = rpc_get_opaque(&xdr, 100);
    CHECK_UINT(rpc_get_opaque(&xdr, 100).len, 0);
    CHECK(!xdr.failed);
    CHECK_UINT(rpc_xdr_pos(&xdr), call->len);
    snprintf(text, sizeof text, " %s %u %.*s %.*s",
             fixed[4] == 1   ? "SET"
             : fixed[4] == 2 ? "UNSET"
                             : "?",
             prog, (int)netid.len, (const char *)netid.data, (int)address.len,
             (const char *)address.data);
    say(text);
}

static void step(enum binder_event_type type, struct buf *record)
{
    struct binder_event event = {.type = type, .record = record};
    struct binder_actions actions;
    char text[40];

    binder_step(&f.binder, &event, &actions);
    if (actions.note != NULL) {
        say(actions.warn ? " warn:" : " note:");
        snprintf(text, 12, "%s", actions.note);
        say(text);
    }
    say(actions.close ? " close" : "");
    say(actions.connect ? " connect" : "");
    if (actions.send != NULL) {
        say_call(actions.send);
        buf_unref(actions.send);
    }
    if (actions.wait_ms > 0) {
        snprintf(text, sizeof text, " %u", actions.wait_ms);
        say(text);
    }
    say(actions.done ? " done\n" : "\n");
}

static void answer_as(uint32_t xid, uint32_t stat, uint32_t value)
{
    struct buf *buf = buf_new(64);
    struct rpc_xdr xdr;

    CHECK(buf != NULL);
    rpc_xdr_encode(&xdr, buf, 0);
    rpc_put_u32(&xdr, xid);
    rpc_put_u32(&xdr, REPLY);
    rpc_put_u32(&xdr, MSG_ACCEPTED);
    rpc_put_u64(&xdr, 0);
    rpc_put_u32(&xdr, stat);
    rpc_put_u32(&xdr, value);
    buf->len = rpc_xdr_pos(&xdr);
    step(BINDER_EV_RECORD, buf);
    buf_unref(buf);
}

static void answer(bool yes)
{
    answer_as(f.xid, SUCCESS, yes);
}

static void begin(const char *host)
{
    struct binder_item items[BINDER_ITEMS_MAX];

    memset(&f, 0, sizeof f);
    binder_init(&f.binder, items, binder_items(host, 2049, items));
    step(BINDER_EV_START, NULL);
}

static const char *items_of(const char *host, uint16_t port)
{
    static char text[300];
    struct binder_item items[BINDER_ITEMS_MAX];
    uint32_t n = binder_items(host, port, items);

    text[0] = '\0';
    for (uint32_t i = 0; i < n; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%u %s %s\n",
                 items[i].prog, items[i].netid, items[i].address);
    }
    return text;
}

/* A listener is told of in every family that it takes; loopback is of no use to others. */
static void what_is_registered(void)
{
    CHECK_STR(items_of("192.0.2.7", 12049), "100003 tcp 192.0.2.7.47.17\n"
                                            "100005 tcp 192.0.2.7.47.17\n");
    CHECK_STR(items_of("0.0.0.0", 2049), "100003 tcp 0.0.0.0.8.1\n"
                                         "100005 tcp 0.0.0.0.8.1\n");
    CHECK_STR(items_of("2001:db8::7", 2049), "100003 tcp6 2001:db8::7.8.1\n"
                                             "100005 tcp6 2001:db8::7.8.1\n");
    CHECK_STR(items_of("::", 2049), "100003 tcp6 ::.8.1\n"
                                    "100005 tcp6 ::.8.1\n"
                                    "100003 tcp 0.0.0.0.8.1\n"
                                    "100005 tcp 0.0.0.0.8.1\n");
    CHECK_STR(items_of("::ffff:192.0.2.7", 2049), "100003 tcp 192.0.2.7.8.1\n"
                                                  "100005 tcp 192.0.2.7.8.1\n");
    CHECK_STR(items_of("127.0.0.1", 2049), "");
    CHECK_STR(items_of("127.4.5.6", 2049), "");
    CHECK_STR(items_of("::1", 2049), "");
    CHECK_STR(items_of("::ffff:127.0.0.1", 2049), "");
    CHECK_STR(items_of("nowhere", 2049), "");
}

/* Registered, confirmed in every later round without a word, and taken back. */
static void a_life(void)
{
    begin("0.0.0.0");
    step(BINDER_EV_CONNECTED, NULL);
    answer(true);
    answer(true);
    step(BINDER_EV_TIMER, NULL);
    step(BINDER_EV_CONNECTED, NULL);
    answer(true);
    answer(true);
    step(BINDER_EV_STOP, NULL);
    step(BINDER_EV_CONNECTED, NULL);
    answer(true);
    answer(true);
    CHECK_STR(f.trace, " connect 5000\n"
                       " SET 100003 tcp 0.0.0.0.8.1\n"
                       " SET 100005 tcp 0.0.0.0.8.1\n"
                       " note:registered  close 60000\n"
                       " connect 5000\n"
                       " SET 100003 tcp 0.0.0.0.8.1\n"
                       " SET 100005 tcp 0.0.0.0.8.1\n"
                       " close 60000\n"
                       " connect 1000\n"
                       " UNSET 100003 tcp 0.0.0.0.8.1\n"
                       " UNSET 100005 tcp 0.0.0.0.8.1\n"
                       " note:taken back  close done\n");
}

/* No rpcbind is said once; one that comes later is used; one that went and came again has
 * everything again. */
static void rpcbind_comes_and_goes(void)
{
    begin("192.0.2.7");
    step(BINDER_EV_BROKEN, NULL);
    step(BINDER_EV_TIMER, NULL);
    step(BINDER_EV_BROKEN, NULL);
    step(BINDER_EV_TIMER, NULL);
    step(BINDER_EV_CONNECTED, NULL);
    answer(true);
    answer(true);
    step(BINDER_EV_TIMER, NULL);
    step(BINDER_EV_BROKEN, NULL);
    step(BINDER_EV_TIMER, NULL);
    step(BINDER_EV_CONNECTED, NULL);
    answer(true);
    answer(true);
    CHECK_STR(f.trace, " connect 5000\n"
                       " note:no rpcbind  close 60000\n"
                       " connect 5000\n"
                       " close 60000\n"
                       " connect 5000\n"
                       " SET 100003 tcp 192.0.2.7.8.1\n"
                       " SET 100005 tcp 192.0.2.7.8.1\n"
                       " note:registered  close 60000\n"
                       " connect 5000\n"
                       " note:no rpcbind  close 60000\n"
                       " connect 5000\n"
                       " SET 100003 tcp 192.0.2.7.8.1\n"
                       " SET 100005 tcp 192.0.2.7.8.1\n"
                       " note:registered  close 60000\n");
}

/* One that accepts and then says nothing is not waited for, neither in a round nor at the
 * end. */
static void rpcbind_hangs(void)
{
    begin("192.0.2.7");
    step(BINDER_EV_CONNECTED, NULL);
    step(BINDER_EV_TIMER, NULL);
    step(BINDER_EV_TIMER, NULL);
    step(BINDER_EV_CONNECTED, NULL);
    answer(true);
    step(BINDER_EV_STOP, NULL);
    step(BINDER_EV_TIMER, NULL);
    CHECK_STR(f.trace, " connect 5000\n"
                       " SET 100003 tcp 192.0.2.7.8.1\n"
                       " note:no rpcbind  close 60000\n"
                       " connect 5000\n"
                       " SET 100003 tcp 192.0.2.7.8.1\n"
                       " SET 100005 tcp 192.0.2.7.8.1\n"
                       " close connect 1000\n"
                       " close done\n");
}

/* What another server has stays its own: it is not taken back at the end. */
static void what_others_have(void)
{
    begin("0.0.0.0");
    step(BINDER_EV_CONNECTED, NULL);
    answer(false);
    answer(true);
    step(BINDER_EV_STOP, NULL);
    step(BINDER_EV_CONNECTED, NULL);
    answer(true);
    CHECK_STR(f.trace, " connect 5000\n"
                       " SET 100003 tcp 0.0.0.0.8.1\n"
                       " SET 100005 tcp 0.0.0.0.8.1\n"
                       " warn:rpcbind ref close 60000\n"
                       " connect 1000\n"
                       " UNSET 100005 tcp 0.0.0.0.8.1\n"
                       " note:taken back  close done\n");
}

/* Nothing that is registered: the end needs no rpcbind. */
static void nothing_to_take_back(void)
{
    begin("0.0.0.0");
    step(BINDER_EV_BROKEN, NULL);
    step(BINDER_EV_STOP, NULL);
    CHECK_STR(f.trace, " connect 5000\n"
                       " note:no rpcbind  close 60000\n"
                       " done\n");
    begin("0.0.0.0");
    step(BINDER_EV_STOP, NULL);
    CHECK_STR(f.trace, " connect 5000\n"
                       " close done\n");
}

/* Only a whole, fitting yes is one. */
static void answers_that_are_none(void)
{
    struct buf *buf;

    begin("0.0.0.0");
    step(BINDER_EV_CONNECTED, NULL);
    answer_as(f.xid + 1, SUCCESS, 1);
    CHECK(!f.binder.items[0].set);
    answer_as(f.xid, PROG_UNAVAIL, 1);
    CHECK(!f.binder.items[1].set);
    begin("0.0.0.0");
    step(BINDER_EV_CONNECTED, NULL);
    answer_as(f.xid, SUCCESS, 7);
    CHECK(!f.binder.items[0].set);
    buf = buf_copy("", 0);
    CHECK(buf != NULL);
    step(BINDER_EV_RECORD, buf);
    buf_unref(buf);
    CHECK(!f.binder.items[1].set);
}

TEST_MAIN(CHECK_TEST(what_is_registered), CHECK_TEST(a_life),
          CHECK_TEST(rpcbind_comes_and_goes), CHECK_TEST(rpcbind_hangs),
          CHECK_TEST(what_others_have), CHECK_TEST(nothing_to_take_back),
          CHECK_TEST(answers_that_are_none))
