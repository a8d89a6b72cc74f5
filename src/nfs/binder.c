#include "nfs/binder.h"

#include "nfs/nfs3_proto.h"
#include "nfs/rpc_record.h"
#include "nfs/rpc_xdr.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* RFC 1833 2.2.1. Version 3: all rpcbinds have it, and it has a place for the netid. */
enum {
    RPCB_PROGRAM = 100000,
    RPCB_VERSION = 3,
    RPCB_SET = 1,
    RPCB_UNSET = 2,
    CALL_BYTES_MAX = 512,
    VERF_BYTES_MAX = 400,
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static uint32_t add(struct binder_item *items, uint32_t n, const char *netid,
                    const char *host, uint16_t port)
{
    static const uint32_t progs[] = {NFS3_PROGRAM, MNT3_PROGRAM};

    for (unsigned i = 0; i < 2; i++) {
        struct binder_item *item = &items[n++];

        *item = (struct binder_item){.prog = progs[i]};
        snprintf(item->netid, sizeof item->netid, "%s", netid);
        snprintf(item->address, sizeof item->address, "%s.%u.%u", host, port >> 8,
                 port & 0xff);
    }
    return n;
}

uint32_t binder_items(const char *host, uint16_t port,
                      struct binder_item items[BINDER_ITEMS_MAX])
{
    char text[INET6_ADDRSTRLEN];
    uint8_t six[16];
    uint8_t four[4];
    uint32_t n = 0;
    bool is_four = inet_pton(AF_INET, host, four) == 1;

    if (!is_four && inet_pton(AF_INET6, host, six) != 1) {
        return 0;
    }
    if (!is_four && memcmp(six, mapped_prefix, sizeof mapped_prefix) == 0) {
        memcpy(four, six + sizeof mapped_prefix, sizeof four);
        is_four = true;
    }
    if (is_four) {
        if (four[0] == 127) {
            return 0;
        }
        return add(items, 0, "tcp", inet_ntop(AF_INET, four, text, sizeof text), port);
    }
    if (IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)six)) {
        return 0;
    }
    n = add(items, 0, "tcp6", inet_ntop(AF_INET6, six, text, sizeof text), port);
    if (IN6_IS_ADDR_UNSPECIFIED((const struct in6_addr *)six)) {
        n = add(items, n, "tcp", "0.0.0.0", port); /* libuv's listener takes both. */
    }
    return n;
}

void binder_init(struct binder *binder, const struct binder_item *items, uint32_t n)
{
    ASSERT(n <= BINDER_ITEMS_MAX);
    *binder = (struct binder){.n_items = n};
    memcpy(binder->items, items, n * sizeof *items);
}

/* The call for one item, with its record mark; NULL without memory. */
static struct buf *make_call(struct binder *binder, const struct binder_item *item)
{
    struct buf *buf = buf_new(CALL_BYTES_MAX);
    struct rpc_xdr xdr;
    uint32_t mark;

    if (buf == NULL) {
        return NULL;
    }
    rpc_xdr_encode(&xdr, buf, RPC_MARK_BYTES);
    rpc_put_u32(&xdr, ++binder->xid);
    rpc_put_u32(&xdr, CALL);
    rpc_put_u32(&xdr, RPC_MSG_VERSION);
    rpc_put_u32(&xdr, RPCB_PROGRAM);
    rpc_put_u32(&xdr, RPCB_VERSION);
    rpc_put_u32(&xdr, binder->stopping ? RPCB_UNSET : RPCB_SET);
    for (unsigned i = 0; i < 2; i++) { /* Credential and verifier. */
        rpc_put_u32(&xdr, AUTH_NONE);
        rpc_put_u32(&xdr, 0);
    }
    rpc_put_u32(&xdr, item->prog);
    rpc_put_u32(&xdr, NFS3_VERSION);
    rpc_put_opaque(&xdr, item->netid, strlen(item->netid));
    rpc_put_opaque(&xdr, item->address, strlen(item->address));
    rpc_put_opaque(&xdr, "", 0); /* The owner: rpcbind sees it itself. */
    ASSERT(!xdr.failed);
    buf->len = rpc_xdr_pos(&xdr);
    mark = htonl(RPC_MARK_LAST | (uint32_t)(buf->len - RPC_MARK_BYTES));
    memcpy(buf->data, &mark, sizeof mark);
    return buf;
}

/* True if @record says yes to the last call. */
static bool read_reply(const struct binder *binder, struct buf *record)
{
    struct rpc_xdr xdr;
    bool good;

    rpc_xdr_decode(&xdr, record, 0);
    good = rpc_get_u32(&xdr) == binder->xid;
    good = rpc_get_u32(&xdr) == REPLY && good;
    good = rpc_get_u32(&xdr) == MSG_ACCEPTED && good;
    (void)rpc_get_u32(&xdr);
    (void)rpc_get_opaque(&xdr, VERF_BYTES_MAX);
    good = rpc_get_u32(&xdr) == SUCCESS && good;
    good = rpc_get_bool(&xdr) && good;
    return good && !xdr.failed;
}

static void see(struct binder *binder, enum binder_view view,
                struct binder_actions *actions)
{
    static const char *const notes[] = {
        [BINDER_ABSENT] = "no rpcbind answers here: mounts need the options port and "
                          "mountport",
        [BINDER_REFUSED] = "rpcbind refuses NFSv3 or MOUNTv3: another server has them "
                           "(see rpcinfo -p), or it takes none from this user; mounts "
                           "need the options port and mountport",
        [BINDER_REGISTERED] = "registered with rpcbind",
    };

    if (view != binder->view && !binder->stopping) {
        binder->view = view;
        actions->note = notes[view];
        actions->warn = view == BINDER_REFUSED;
    }
}

/* Nothing is under way any more. */
static void rest(struct binder *binder, struct binder_actions *actions)
{
    actions->close = actions->close || binder->phase != BINDER_RESTING;
    binder->phase = binder->stopping ? BINDER_DONE : BINDER_RESTING;
    actions->done = binder->stopping;
    actions->wait_ms = binder->stopping ? 0 : BINDER_AGAIN_MS;
}

static void begin(struct binder *binder, struct binder_actions *actions)
{
    binder->phase = BINDER_CONNECTING;
    binder->refused = false;
    binder->at = 0;
    actions->connect = true;
    actions->wait_ms = binder->stopping ? BINDER_STOP_MS : BINDER_ROUND_MS;
}

/* The next item from @binder->at on, or the end of the round. */
static void ask(struct binder *binder, struct binder_actions *actions)
{
    while (binder->stopping && binder->at < binder->n_items &&
           !binder->items[binder->at].set) {
        binder->at++; /* Not ours: it stays. */
    }
    if (binder->at < binder->n_items) {
        binder->phase = BINDER_ASKING;
        actions->send = make_call(binder, &binder->items[binder->at]);
        if (actions->send == NULL) {
            rest(binder, actions);
        }
        return;
    }
    see(binder, binder->refused ? BINDER_REFUSED : BINDER_REGISTERED, actions);
    if (binder->stopping) {
        actions->note = "taken back from rpcbind";
    }
    rest(binder, actions);
}

static void on_reply(struct binder *binder, struct buf *record,
                     struct binder_actions *actions)
{
    bool yes = read_reply(binder, record);

    if (!binder->stopping) {
        binder->items[binder->at].set = yes;
        binder->refused = binder->refused || !yes;
    }
    binder->at++;
    ask(binder, actions);
}

static void on_stop(struct binder *binder, struct binder_actions *actions)
{
    bool any = false;

    actions->close = binder->phase != BINDER_RESTING;
    binder->phase = BINDER_RESTING;
    binder->stopping = true;
    for (uint32_t i = 0; i < binder->n_items; i++) {
        any = any || binder->items[i].set;
    }
    if (any) {
        begin(binder, actions);
    } else {
        rest(binder, actions);
    }
}

void binder_step(struct binder *binder, const struct binder_event *event,
                 struct binder_actions *actions)
{
    *actions = (struct binder_actions){0};
    ASSERT(binder->phase != BINDER_DONE);
    switch (event->type) {
    case BINDER_EV_START:
        begin(binder, actions);
        break;
    case BINDER_EV_TIMER:
        if (binder->phase == BINDER_RESTING) {
            begin(binder, actions);
            break;
        }
        /* It takes no word and no end: as if there were none. */
        see(binder, BINDER_ABSENT, actions);
        rest(binder, actions);
        break;
    case BINDER_EV_CONNECTED:
        ask(binder, actions);
        break;
    case BINDER_EV_BROKEN:
        see(binder, BINDER_ABSENT, actions);
        rest(binder, actions);
        break;
    case BINDER_EV_RECORD:
        if (binder->phase == BINDER_ASKING) {
            on_reply(binder, event->record, actions);
        }
        break;
    case BINDER_EV_STOP:
        if (!binder->stopping) {
            on_stop(binder, actions);
        }
        break;
    }
}
