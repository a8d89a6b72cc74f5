#include "base/assert.h"
#include "base/wire.h"
#include "zone/codec.h"
#include "zone/state.h"

#include <errno.h>
#include <string.h>

/*
 * Sessions are few (one per start of a node's daemon) and live in memory; their rows are
 * written once per batch, and only from the entries' own time and indexes, so that the
 * rows are equal on all members however the log was cut into batches.
 */
#define SESSION_PREFIX "session/"
#define SESSION_VERSION 1u

enum {
    PREFIX_LEN = sizeof SESSION_PREFIX - 1,
    KEY_LEN = PREFIX_LEN + 16,
    ROW_LEN = 1 + 6 * 8,
};

static void session_key(const struct zone_session *session, uint8_t key[KEY_LEN])
{
    memcpy(key, SESSION_PREFIX, PREFIX_LEN);
    wire_store_u64(key + PREFIX_LEN, session->node);
    wire_store_u64(key + PREFIX_LEN + 8, session->boot);
}

static int load_one(void *ctx, const struct store_kv *pair)
{
    struct zone *zone = ctx;
    struct wire_dec dec = wire_dec(pair->value.data, pair->value.len);
    struct zone_session session = {0};
    uint8_t version = wire_get_u8(&dec);

    session.node = wire_get_u64(&dec);
    session.boot = wire_get_u64(&dec);
    session.floor = wire_get_u64(&dec);
    session.last_seq = wire_get_u64(&dec);
    session.index = wire_get_u64(&dec);
    session.time_ns = (int64_t)wire_get_u64(&dec);
    session.pruned = session.floor;
    if (version != SESSION_VERSION) {
        return -EPROTONOSUPPORT;
    }
    if (!wire_done(&dec) || zone->n_sessions == ZONE_SESSIONS_MAX) {
        return -EUCLEAN;
    }
    zone->sessions[zone->n_sessions++] = session;
    return 0;
}

int zone_session_load(struct zone *zone)
{
    zone->n_sessions = 0;
    zone->session_due_ns = 0; /* Looked for at the next entry. */
    return store_kv_each(zone->store, slice_borrow(SESSION_PREFIX, PREFIX_LEN), load_one,
                         zone);
}

static int write_one(struct zone *zone, struct zone_session *session)
{
    uint8_t key[KEY_LEN];
    uint8_t row[ROW_LEN];
    struct wire_enc enc = wire_enc(row, sizeof row);
    struct store_kv pair = {.version = session->index};
    int rv;

    wire_put_u8(&enc, SESSION_VERSION);
    wire_put_u64(&enc, session->node);
    wire_put_u64(&enc, session->boot);
    wire_put_u64(&enc, session->floor);
    wire_put_u64(&enc, session->last_seq);
    wire_put_u64(&enc, session->index);
    wire_put_u64(&enc, (uint64_t)session->time_ns);
    ASSERT(!enc.failed && enc.len == ROW_LEN);
    session_key(session, key);
    pair.key = slice_borrow(key, sizeof key);
    pair.value = slice_borrow(row, sizeof row);
    rv = store_kv_put(zone->store, &pair);
    if (rv == 0 && session->pruned < session->floor) {
        rv = store_reply_prune(zone->store, session->node, session->boot, session->floor);
        session->pruned = session->floor;
    }
    session->dirty = false;
    return rv;
}

int zone_session_write(struct zone *zone)
{
    int rv = 0;

    for (uint32_t i = 0; rv == 0 && i < zone->n_sessions; i++) {
        if (zone->sessions[i].dirty) {
            rv = write_one(zone, &zone->sessions[i]);
        }
    }
    return rv;
}

static struct zone_session *find(struct zone *zone, uint64_t node, uint64_t boot)
{
    for (uint32_t i = 0; i < zone->n_sessions; i++) {
        struct zone_session *session = &zone->sessions[i];

        if (session->node == node && session->boot == boot) {
            return session;
        }
    }
    return NULL;
}

/* The session, its replies and its row. The last one takes its place in memory. */
static int forget(struct zone *zone, struct zone_session *session)
{
    uint8_t key[KEY_LEN];
    int rv;

    session_key(session, key);
    rv = store_reply_prune(zone->store, session->node, session->boot, INT64_MAX);
    if (rv != 0) {
        return rv;
    }
    rv = store_kv_del(zone->store, slice_borrow(key, sizeof key));
    if (rv < 0) {
        return rv; /* OUT_NOENT: born in this batch. */
    }
    *session = zone->sessions[--zone->n_sessions];
    return 0;
}

int zone_session_expire(struct zone *zone, int64_t now_ns)
{
    int64_t due_ns = INT64_MAX;
    uint32_t i = 0;

    if (now_ns < zone->session_due_ns) {
        return 0;
    }
    while (i < zone->n_sessions) {
        struct zone_session *session = &zone->sessions[i];
        int64_t end_ns = session->time_ns + ZONE_SESSION_NS;

        if (end_ns <= now_ns) {
            int rv = forget(zone, session);

            if (rv != 0) {
                return rv;
            }
            continue;
        }
        due_ns = end_ns < due_ns ? end_ns : due_ns;
        i++;
    }
    zone->session_due_ns = due_ns;
    return 0;
}

/* The session of @node that was idle longest (0: of any node), and how many it has. */
static struct zone_session *idlest(struct zone *zone, uint64_t node, uint32_t *n)
{
    struct zone_session *oldest = NULL;

    *n = 0;
    for (uint32_t i = 0; i < zone->n_sessions; i++) {
        struct zone_session *session = &zone->sessions[i];

        if (node != 0 && session->node != node) {
            continue;
        }
        (*n)++;
        if (oldest == NULL || session->index < oldest->index) {
            oldest = session;
        }
    }
    return oldest;
}

/* A place for a new session of @node. Whoever has many gives up one of its own, so that
 * no node can make the zone forget another's. */
static int make_place(struct zone *zone, uint64_t node)
{
    struct zone_session *oldest;
    uint32_t n;

    oldest = idlest(zone, node, &n);
    if (n >= ZONE_NODE_SESSIONS_MAX) {
        return forget(zone, oldest);
    }
    oldest = idlest(zone, 0, &n);
    return n < ZONE_SESSIONS_MAX ? 0 : forget(zone, oldest);
}

static int get_or_make(struct zone *zone, const struct zone_origin *origin,
                       struct zone_session **out)
{
    struct zone_session *session = find(zone, origin->node, origin->boot);
    int rv;

    if (session == NULL) {
        rv = make_place(zone, origin->node);
        if (rv != 0) {
            return rv;
        }
        session = &zone->sessions[zone->n_sessions++];
        *session = (struct zone_session){.node = origin->node, .boot = origin->boot};
    }
    *out = session;
    return 0;
}

static int get_reply(struct zone *zone, const struct zone_origin *origin,
                     struct zone_result *result)
{
    struct buf *buf = NULL;
    struct slice bytes;
    int rv;

    rv = store_reply_get(zone->store, origin->node, origin->boot, origin->seq, &buf);
    if (rv != 0) {
        return rv;
    }
    bytes = slice_of(buf, 0, buf->len);
    rv = zone_reply_decode(bytes, result);
    slice_unref(&bytes);
    buf_unref(buf);
    return rv == -EPROTO ? -EUCLEAN : rv;
}

static void use(struct zone *zone, struct zone_session *session,
                const struct apply *apply)
{
    int64_t end_ns = apply->now_ns + ZONE_SESSION_NS;

    session->index = apply->index;
    session->time_ns = apply->now_ns;
    session->dirty = true;
    if (end_ns < zone->session_due_ns) {
        zone->session_due_ns = end_ns;
    }
}

int zone_session_enter(struct zone *zone, const struct zone_origin *origin,
                       struct apply *apply, enum zone_verdict *verdict)
{
    struct zone_session *session;
    int rv;

    *verdict = ZONE_GHOST;
    if (origin->seq > ZONE_SEQ_MAX) {
        return 0;
    }
    rv = get_or_make(zone, origin, &session);
    if (rv != 0) {
        return rv;
    }
    use(zone, session, apply);
    if (origin->seq < session->floor) {
        return 0;
    }
    if (origin->floor > session->floor) { /* This op itself is not answered yet. */
        session->floor = origin->floor < origin->seq ? origin->floor : origin->seq;
    }
    if (origin->seq - session->floor > ZONE_SESSION_SPAN) {
        return 0;
    }
    *verdict = ZONE_RUN;
    if (origin->seq <= session->last_seq) {
        rv = get_reply(zone, origin, apply->result);
        if (rv == 0) {
            *verdict = ZONE_REPLAY;
        }
        return rv == OUT_NOENT ? 0 : rv;
    }
    session->last_seq = origin->seq;
    return 0;
}

int zone_session_leave(const struct apply *apply, const struct zone_origin *origin,
                       struct slice reply)
{
    const struct store_reply row = {
        .node = origin->node,
        .boot = origin->boot,
        .seq = origin->seq,
        .index = apply->index,
        .bytes = reply,
    };

    return store_reply_put(apply->zone->store, &row);
}

int zone_session_reply(struct zone *zone, const struct zone_origin *origin,
                       struct zone_result *result)
{
    const struct zone_session *session = find(zone, origin->node, origin->boot);

    if (origin->node == 0 || session == NULL || origin->seq < session->floor) {
        return OUT_NOENT;
    }
    return get_reply(zone, origin, result);
}
