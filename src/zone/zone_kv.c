#include "base/wire.h"
#include "zone/state.h"

#include <errno.h>
#include <string.h>

/* Bytes of a record around key and value, as zone_kv_put writes it. */
enum { RECORD_BYTES = 4 + 8 + 1 + 4 };

/* The key under which the store keeps a client's pair, apart from the zone's own. */
struct user_key {
    uint8_t bytes[1 + ZONE_KEY_MAX];
    size_t len;
};

static struct slice make_key(struct user_key *key, struct slice name)
{
    key->bytes[0] = ZONE_KEY_USER;
    if (name.len > 0) {
        memcpy(key->bytes + 1, name.data, name.len);
    }
    key->len = 1 + name.len;
    return slice_borrow(key->bytes, key->len);
}

static uint64_t pair_charge(size_t key_len, size_t value_len)
{
    return zone_round_up(key_len + value_len, ZONE_CHARGE_ROW);
}

static bool same_bytes(struct slice one, struct slice other)
{
    return one.len == other.len && memcmp(one.data, other.data, one.len) == 0;
}

/* What is there now: its version (0: nothing) and what it is charged. */
static int pair_now(struct zone *zone, struct slice name, uint64_t *version,
                    uint64_t *charge)
{
    struct user_key key;
    struct store_kv pair;
    int rv = store_kv_get(zone->store, make_key(&key, name), &pair);

    *version = 0;
    *charge = 0;
    if (rv == 0) {
        *version = pair.version;
        *charge = pair_charge(name.len, pair.value.len);
        slice_unref(&pair.value);
    }
    return rv == OUT_NOENT ? 0 : rv;
}

/* Name the pair that was not as expected, with the version that it has. */
static int show_mismatch(struct zone_result *result, const struct zone_kv *pair,
                         uint64_t version)
{
    struct zone_kv seen = {.key = pair->key, .version = version};
    struct buf *buf = buf_new(RECORD_BYTES + pair->key.len);
    struct wire_enc enc;

    if (buf == NULL) {
        return -ENOMEM;
    }
    enc = wire_enc(buf->data, buf->cap);
    zone_kv_put(&enc, &seen);
    buf->len = enc.len;
    result->data = (struct slice){.buf = buf, .data = buf->data, .len = buf->len};
    return OUT_MISMATCH;
}

static bool has_twins(const struct zone_op *op)
{
    for (uint32_t i = 0; i < op->n_kv; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (same_bytes(op->kv[k].key, op->kv[i].key)) {
                return true;
            }
        }
    }
    return false;
}

/* Every pair is as expected; *@before and *@after: the charges of all of them. */
static int kv_check(struct apply *apply, uint64_t *before, uint64_t *after)
{
    const struct zone_op *op = apply->op;

    *before = 0;
    *after = 0;
    for (uint32_t i = 0; i < op->n_kv; i++) {
        const struct zone_kv *pair = &op->kv[i];
        uint64_t version;
        uint64_t charge;
        int rv;

        rv = pair_now(apply->zone, pair->key, &version, &charge);
        if (rv != 0) {
            return rv;
        }
        if (pair->version != ZONE_KV_ANY && pair->version != version) {
            apply->result->count = i;
            return show_mismatch(apply->result, pair, version);
        }
        *before += charge;
        *after += pair->remove ? 0 : pair_charge(pair->key.len, pair->value.len);
    }
    return 0;
}

int zone_run_kv(struct apply *apply)
{
    const struct zone_op *op = apply->op;
    struct zone *zone = apply->zone;
    uint64_t before;
    uint64_t after;
    int rv;

    if (has_twins(op)) {
        return OUT_INVAL;
    }
    rv = kv_check(apply, &before, &after);
    if (rv != 0) {
        return rv;
    }
    rv = zone_room(zone, after > before ? after - before : 0, 0);
    if (rv != 0) {
        return rv;
    }
    for (uint32_t i = 0; i < op->n_kv; i++) {
        struct user_key key;
        struct store_kv pair = {
            .key = make_key(&key, op->kv[i].key),
            .value = op->kv[i].value,
            .version = apply->index,
        };

        if (op->kv[i].remove) {
            rv = store_kv_del(zone->store, pair.key);
            rv = rv == OUT_NOENT ? 0 : rv;
        } else {
            rv = store_kv_put(zone->store, &pair);
        }
        if (rv != 0) {
            return rv;
        }
    }
    zone_charge(zone, before, after);
    return 0;
}

struct listing {
    struct wire_enc enc;
    struct slice after; /* Keys up to this one were given before. */
    bool cut;
};

static bool is_after(struct slice key, struct slice after)
{
    size_t len = key.len < after.len ? key.len : after.len;
    int order = len == 0 ? 0 : memcmp(key.data, after.data, len);

    return order != 0 ? order > 0 : key.len > after.len;
}

static int list_one(void *ctx, const struct store_kv *pair)
{
    struct listing *listing = ctx;
    struct zone_kv record = {.value = pair->value, .version = pair->version};

    if (pair->key.len < 1 || pair->key.len > 1 + ZONE_KEY_MAX) {
        return -EUCLEAN;
    }
    record.key = slice_borrow(pair->key.data + 1, pair->key.len - 1);
    if (listing->after.len > 0 && !is_after(record.key, listing->after)) {
        return 0;
    }
    if (RECORD_BYTES + record.key.len + record.value.len >
        listing->enc.cap - listing->enc.len) {
        listing->cut = true;
        return 1;
    }
    zone_kv_put(&listing->enc, &record);
    return 0;
}

int zone_read_kv(struct zone *zone, const struct zone_op *op, struct zone_result *result)
{
    size_t max = op->count == 0 || op->count > ZONE_IO_MAX ? ZONE_IO_MAX : op->count;
    struct listing listing = {.after = op->to_name};
    struct user_key key;
    struct buf *buf;
    int rv;

    if (op->name.len > ZONE_KEY_MAX) {
        return OUT_NAMETOOLONG;
    }
    buf = buf_new(max);
    if (buf == NULL) {
        return -ENOMEM;
    }
    listing.enc = wire_enc(buf->data, max);
    rv = store_kv_each(zone->store, make_key(&key, op->name), list_one, &listing);
    if (rv < 0) {
        buf_unref(buf);
        return rv;
    }
    if (listing.cut && listing.enc.len == 0) {
        buf_unref(buf);
        return OUT_TOOSMALL;
    }
    buf->len = listing.enc.len;
    result->data = (struct slice){.buf = buf, .data = buf->data, .len = buf->len};
    result->eof = !listing.cut;
    return 0;
}
