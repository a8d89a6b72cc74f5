#include "zone/zone.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/wire.h"
#include "zone/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CONF_KEY "conf"
#define SNAPSHOT_KEY STORE_LOCAL "snapshot"
#define SNAPSHOT_VERSION 1u
#define COUNT_MAX (1ull << 62)

enum {
    CONF_BYTES_MAX = 65536,
    SNAPSHOT_HEAD = 1 + 3 * 8 + 4,
};

static const char *const number_names[ZN_MAX] = {
    [ZN_APPLIED] = STORE_APPLIED,
    [ZN_TERM] = "term",
    [ZN_TIME] = "time",
    [ZN_NEXT_INO] = "next_ino",
    [ZN_NEXT_COOKIE] = "next_cookie",
    [ZN_QUOTA] = "quota",
    [ZN_USED] = "used",
    [ZN_INODES] = "inodes",
    [ZN_PURGE_MORE] = "purge_more",
    [ZN_WORKED] = "worked",
};

static struct slice key_of(const char *key)
{
    return slice_borrow(key, strlen(key));
}

/* They come from a disk, or from another member. What counts up must be far from where the
 * store's rows end: no zone gets there by itself. */
static bool numbers_believable(const uint64_t number[ZN_MAX])
{
    return number[ZN_APPLIED] < COUNT_MAX && number[ZN_NEXT_INO] > ZONE_ROOT_INO &&
           number[ZN_NEXT_INO] < COUNT_MAX && number[ZN_NEXT_COOKIE] < COUNT_MAX &&
           number[ZN_NEXT_COOKIE] >= ZONE_FIRST_COOKIE;
}

/* OUT_NOENT: the store is empty. */
static int load_numbers(struct zone *zone)
{
    uint64_t number[ZN_MAX];
    int rv;

    for (unsigned i = 0; i < ZN_MAX; i++) {
        rv = store_number_get(zone->store, number_names[i], &number[i]);
        if (rv == OUT_NOENT && i != ZN_APPLIED) {
            return -EUCLEAN;
        }
        if (rv != 0) {
            return rv;
        }
    }
    if (!numbers_believable(number)) {
        return -EUCLEAN;
    }
    memcpy(zone->number, number, sizeof number);
    memcpy(zone->stored, number, sizeof number);
    return 0;
}

int zone_load(struct zone *zone)
{
    int rv = load_numbers(zone);

    if (rv != 0) {
        return rv;
    }
    rv = store_number_get(zone->store, STORE_SERVE_FROM, &zone->serve_from);
    if (rv == OUT_NOENT) {
        zone->serve_from = 0;
        rv = 0;
    }
    if (rv != 0) {
        return rv;
    }
    zone->orphan_ns = -1;
    rv = zone_session_load(zone);
    return rv == 0 ? zone_rpc_load(zone) : rv;
}

int zone_write_back(struct zone *zone)
{
    for (unsigned i = 0; i < ZN_MAX; i++) {
        int rv;

        if (zone->number[i] == zone->stored[i]) {
            continue;
        }
        rv = store_number_set(zone->store, number_names[i], zone->number[i]);
        if (rv != 0) {
            return rv;
        }
        zone->stored[i] = zone->number[i];
    }
    return zone_session_write(zone);
}

/* The rows that every member begins with. */
static int make_rows(struct zone *zone, const struct zone_genesis *genesis)
{
    struct store_inode root = {
        .ino = ZONE_ROOT_INO,
        .gen = ZONE_ROOT_GEN,
        .type = ZONE_DIR,
        .mode = genesis->root_mode & 07777,
        .nlink = 2,
        .uid = genesis->root_uid,
        .gid = genesis->root_gid,
        .parent = ZONE_ROOT_INO,
        .atime = genesis->time_ns,
        .mtime = genesis->time_ns,
        .ctime = genesis->time_ns,
    };
    int rv = store_inode_put(zone->store, &root);

    zone->number[ZN_TIME] = (uint64_t)genesis->time_ns;
    zone->number[ZN_NEXT_INO] = ZONE_ROOT_INO + 1;
    zone->number[ZN_NEXT_COOKIE] = ZONE_FIRST_COOKIE;
    zone->number[ZN_QUOTA] = genesis->quota_bytes;
    zone->number[ZN_USED] = ZONE_CHARGE_ROW;
    zone->number[ZN_INODES] = 1;
    for (unsigned i = 0; rv == 0 && i < ZN_MAX; i++) {
        rv = store_number_set(zone->store, number_names[i], zone->number[i]);
    }
    return rv;
}

static int make(struct zone *zone, const struct zone_genesis *genesis)
{
    int rv;

    rv = store_begin(zone->store);
    if (rv != 0) {
        return rv;
    }
    rv = make_rows(zone, genesis);
    if (rv == 0) {
        rv = store_commit(zone->store, true);
    }
    store_rollback(zone->store);
    return rv;
}

static int has_switched(struct zone *zone);

/* A crash came between a switch and zone_reload: the descriptor is still the old one. */
static int finish_switch(struct zone *zone)
{
    struct zone_snapshot snapshot = {0};
    int rv = has_switched(zone);

    if (rv != 0) {
        return rv == OUT_NOENT ? 0 : rv;
    }
    rv = zone_snapshot(zone, &snapshot);
    buf_unref(snapshot.conf);
    return rv;
}

int zone_open(struct store *store, const struct zone_genesis *genesis, struct zone **out)
{
    struct zone *zone = calloc(1, sizeof *zone);
    int rv;

    if (zone == NULL) {
        return -ENOMEM;
    }
    zone->store = store;
    zone->sessions = calloc(ZONE_SESSIONS_MAX, sizeof zone->sessions[0]);
    rv = zone->sessions == NULL ? -ENOMEM : zone_rpc_new(&zone->rpcs);
    if (rv != 0) {
        goto out;
    }
    rv = zone_load(zone);
    if (rv == OUT_NOENT) {
        rv = make(zone, genesis);
        if (rv == 0) {
            rv = zone_load(zone);
        }
    }
    if (rv == 0) {
        rv = finish_switch(zone);
    }
    if (rv != 0) {
        goto out;
    }
    store_on_lost(store, zone_redo, zone);
    *out = zone;
    zone = NULL;
out:
    zone_close(zone);
    return rv > 0 ? -EUCLEAN : rv;
}

void zone_close(struct zone *zone)
{
    if (zone != NULL) {
        store_on_lost(zone->store, NULL, NULL); /* It is replayed at the next start. */
        zone_held_drop(zone);
        zone_rpc_free(zone->rpcs);
        free(zone->sessions);
        free(zone);
    }
}

uint64_t zone_applied_index(const struct zone *zone)
{
    return zone->number[ZN_APPLIED];
}

uint64_t zone_applied_term(const struct zone *zone)
{
    return zone->number[ZN_TERM];
}

int64_t zone_time_ns(const struct zone *zone)
{
    return (int64_t)zone->number[ZN_TIME];
}

uint64_t zone_ahead_index(const struct zone *zone)
{
    return zone->serve_from > zone->number[ZN_APPLIED] ? zone->serve_from : 0;
}

void zone_usage(const struct zone *zone, struct zone_usage *out)
{
    *out = (struct zone_usage){
        .quota_bytes = zone->number[ZN_QUOTA],
        .used_bytes = zone->number[ZN_USED],
        .inodes = zone->number[ZN_INODES],
    };
}

int zone_conf_put(struct zone *zone, uint64_t index, struct slice conf)
{
    struct store_kv pair = {.key = key_of(CONF_KEY), .value = conf, .version = index};

    if (conf.len > CONF_BYTES_MAX) {
        return -EPROTO;
    }
    return store_kv_put(zone->store, &pair);
}

int zone_conf_get(struct zone *zone, uint64_t *index, struct buf **conf)
{
    struct store_kv pair;
    int rv = store_kv_get(zone->store, key_of(CONF_KEY), &pair);

    if (rv != 0) {
        return rv;
    }
    *conf = buf_copy(pair.value.data, pair.value.len);
    *index = pair.version;
    slice_unref(&pair.value);
    return *conf == NULL ? -ENOMEM : 0;
}

/* The present state as a descriptor. */
static int describe(struct zone *zone, struct zone_snapshot *out)
{
    struct zone_snapshot snapshot = {
        .index = zone->number[ZN_APPLIED],
        .term = zone->number[ZN_TERM],
    };
    int rv = zone_conf_get(zone, &snapshot.conf_index, &snapshot.conf);

    if (rv == OUT_NOENT) {
        rv = 0; /* Nothing was configured through the log yet. */
    }
    if (rv == 0) {
        *out = snapshot;
    }
    return rv;
}

static int snapshot_put(struct zone *zone, const struct zone_snapshot *snapshot)
{
    size_t conf_len = snapshot->conf == NULL ? 0 : snapshot->conf->len;
    struct buf *buf = buf_new(SNAPSHOT_HEAD + conf_len);
    struct store_kv pair = {.key = key_of(SNAPSHOT_KEY), .version = snapshot->index};
    struct wire_enc enc;
    int rv;

    if (buf == NULL) {
        return -ENOMEM;
    }
    enc = wire_enc(buf->data, buf->cap);
    wire_put_u8(&enc, SNAPSHOT_VERSION);
    wire_put_u64(&enc, snapshot->index);
    wire_put_u64(&enc, snapshot->term);
    wire_put_u64(&enc, snapshot->conf_index);
    wire_put_blob(&enc, conf_len == 0 ? NULL : snapshot->conf->data, conf_len);
    ASSERT(!enc.failed);
    pair.value = slice_borrow(enc.data, enc.len);
    rv = store_kv_put(zone->store, &pair);
    buf_unref(buf);
    return rv;
}

/* 0, or OUT_NOENT: the store did not switch since the last descriptor. */
static int has_switched(struct zone *zone)
{
    uint64_t switched = 0;
    int rv = store_number_get(zone->store, STORE_SWITCHED, &switched);

    return rv == 0 && switched == 0 ? OUT_NOENT : rv;
}

/* The descriptor is about to tell of what a switch brought. */
static int forget_switch(struct zone *zone)
{
    int rv = has_switched(zone);

    if (rv == 0) {
        rv = store_number_set(zone->store, STORE_SWITCHED, 0);
    }
    return rv == OUT_NOENT ? 0 : rv;
}

int zone_leap(struct zone *zone, const struct zone_leap *leap)
{
    struct zone_snapshot snapshot = {0};
    uint64_t time_ns = zone->number[ZN_TIME];
    int rv;

    ASSERT(leap->index > zone->number[ZN_APPLIED] && leap->conf.len > 0);
    if (zone->broken) {
        return -EIO;
    }
    rv = store_begin(zone->store);
    if (rv != 0) {
        return rv;
    }
    rv = zone_conf_put(zone, leap->index, leap->conf);
    time_ns = time_ns > (uint64_t)leap->time_ns ? time_ns : (uint64_t)leap->time_ns;
    zone->number[ZN_APPLIED] = leap->index;
    zone->number[ZN_TERM] = leap->term;
    zone->number[ZN_TIME] = time_ns + ZONE_LEAP_NS;
    if (rv == 0) {
        rv = zone_write_back(zone);
    }
    if (rv == 0) {
        rv = describe(zone, &snapshot);
    }
    if (rv == 0) {
        rv = snapshot_put(zone, &snapshot);
    }
    if (rv == 0) {
        rv = forget_switch(zone);
    }
    if (rv == 0) {
        rv = store_commit(zone->store, true);
    }
    store_rollback(zone->store);
    buf_unref(snapshot.conf);
    zone->broken = rv != 0 && zone_load(zone) != 0;
    return rv > 0 ? -EUCLEAN : rv;
}

int zone_snapshot(struct zone *zone, struct zone_snapshot *out)
{
    struct zone_snapshot snapshot = {0};
    int rv;

    if (zone->broken) {
        return -EIO;
    }
    rv = store_begin(zone->store);
    if (rv != 0) {
        return rv;
    }
    rv = describe(zone, &snapshot);
    if (rv == 0) {
        rv = snapshot_put(zone, &snapshot);
    }
    if (rv == 0) {
        rv = forget_switch(zone);
    }
    if (rv == 0) {
        rv = store_commit(zone->store, true);
    }
    store_rollback(zone->store);
    if (rv != 0) {
        buf_unref(snapshot.conf);
        return rv;
    }
    *out = snapshot;
    return 0;
}

static int snapshot_decode(struct slice bytes, struct zone_snapshot *out)
{
    struct wire_dec dec = wire_dec(bytes.data, bytes.len);
    struct zone_snapshot snapshot = {0};
    uint8_t version = wire_get_u8(&dec);
    const uint8_t *conf;
    size_t conf_len;

    snapshot.index = wire_get_u64(&dec);
    snapshot.term = wire_get_u64(&dec);
    snapshot.conf_index = wire_get_u64(&dec);
    conf = wire_get_blob(&dec, CONF_BYTES_MAX, &conf_len);
    if (!wire_done(&dec)) {
        return -EUCLEAN;
    }
    if (version != SNAPSHOT_VERSION) {
        return -EPROTONOSUPPORT;
    }
    if (conf_len > 0) {
        snapshot.conf = buf_copy(conf, conf_len);
        if (snapshot.conf == NULL) {
            return -ENOMEM;
        }
    }
    *out = snapshot;
    return 0;
}

int zone_snapshot_get(struct zone *zone, struct zone_snapshot *out)
{
    struct store_kv pair;
    int rv = store_kv_get(zone->store, key_of(SNAPSHOT_KEY), &pair);

    if (rv != 0) {
        return rv;
    }
    rv = snapshot_decode(pair.value, out);
    slice_unref(&pair.value);
    return rv;
}

int zone_reload(struct zone *zone)
{
    struct zone_snapshot snapshot = {0};
    int rv;

    rv = zone_load(zone);
    if (rv != 0) {
        zone->broken = true;
        return rv > 0 ? -EUCLEAN : rv;
    }
    zone->broken = false;
    rv = zone_snapshot(zone, &snapshot);
    buf_unref(snapshot.conf);
    return rv;
}
