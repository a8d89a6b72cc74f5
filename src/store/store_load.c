/* Decoding a pull's records into a shadow. They come from a peer: nothing is believed. */
#include "store/store_shadow.h"

#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <errno.h>
#include <string.h>

static int load_head(struct store_shadow *shadow, struct wire_dec *dec)
{
    uint8_t zone_id[16];
    int rv;

    if (shadow->begun) {
        rv = shadow_restart(shadow);
        if (rv == 0) {
            rv = shadow_begin(shadow);
        }
        if (rv != 0) {
            return rv;
        }
    }
    wire_get_bytes(dec, zone_id, sizeof zone_id);
    shadow->index = wire_get_u64(dec);
    if (memcmp(zone_id, shadow->store->zone_id, sizeof zone_id) != 0) {
        return -EPROTO;
    }
    shadow->begun = true;
    return 0;
}

static int load_number(struct store_shadow *shadow, struct wire_dec *dec)
{
    char name[STORE_NAME_MAX + 1];
    size_t len;
    const uint8_t *bytes = wire_get_blob(dec, STORE_NAME_MAX, &len);
    uint64_t value = wire_get_u64(dec);

    if (!wire_done(dec) || len == 0 || memchr(bytes, '\0', len) != NULL ||
        store_is_local(slice_borrow(bytes, len))) {
        return -EPROTO;
    }
    memcpy(name, bytes, len);
    name[len] = '\0';
    return store_rows_number_put(&shadow->db, name, value);
}

static int load_inode(struct store_shadow *shadow, struct wire_dec *dec)
{
    const uint8_t *row = wire_get_view(dec, STORE_INODE_BYTES);
    struct store_inode inode;

    if (!wire_done(dec) || row == NULL ||
        store_inode_decode(row, STORE_INODE_BYTES, wire_load_u64(row), &inode) != 0 ||
        inode.ino > STORE_INO_MAX) {
        return -EPROTO;
    }
    return store_rows_inode_put(&shadow->db, &inode);
}

static int load_dirent(struct store_shadow *shadow, struct wire_dec *dec)
{
    struct store_dirent entry = {.dir = wire_get_u64(dec)};
    size_t len;
    const uint8_t *name = wire_get_blob(dec, STORE_NAME_MAX, &len);

    entry.name = slice_borrow(name, len);
    entry.ino = wire_get_u64(dec);
    entry.cookie = wire_get_u64(dec);
    entry.version = wire_get_u64(dec);
    if (!wire_done(dec) || entry.dir > STORE_INO_MAX || entry.ino > STORE_INO_MAX ||
        entry.cookie > INT64_MAX) {
        return -EPROTO;
    }
    return store_rows_dirent_put(&shadow->db, &entry);
}

static int load_kv(struct store_shadow *shadow, struct wire_dec *dec)
{
    struct store_kv pair = {0};
    size_t len;
    const uint8_t *bytes = wire_get_blob(dec, STORE_VALUE_MAX, &len);

    pair.key = slice_borrow(bytes, len);
    bytes = wire_get_blob(dec, STORE_VALUE_MAX, &len);
    pair.value = slice_borrow(bytes, len);
    pair.version = wire_get_u64(dec);
    if (!wire_done(dec) || store_is_local(pair.key)) {
        return -EPROTO;
    }
    return store_rows_kv_put(&shadow->db, &pair);
}

static int load_reply(struct store_shadow *shadow, struct wire_dec *dec)
{
    struct store_reply reply = {.node = wire_get_u64(dec)};
    const uint8_t *bytes;
    size_t len;

    reply.boot = wire_get_u64(dec);
    reply.seq = wire_get_u64(dec);
    reply.index = wire_get_u64(dec);
    bytes = wire_get_blob(dec, STORE_VALUE_MAX, &len);
    reply.bytes = slice_borrow(bytes, len);
    if (!wire_done(dec) || reply.seq > INT64_MAX) {
        return -EPROTO;
    }
    return store_rows_reply_put(&shadow->db, &reply);
}

static int load_rpc(struct store_shadow *shadow, struct wire_dec *dec)
{
    struct store_rpc rpc = {.index = wire_get_u64(dec)};
    const uint8_t *bytes;
    size_t len;

    wire_get_bytes(dec, rpc.key, sizeof rpc.key);
    rpc.time_ns = (int64_t)wire_get_u64(dec);
    bytes = wire_get_blob(dec, STORE_RPC_REPLY_MAX, &len);
    rpc.bytes = slice_borrow(bytes, len);
    if (!wire_done(dec) || rpc.index > INT64_MAX) {
        return -EPROTO;
    }
    return store_rows_rpc_put(&shadow->db, &rpc);
}

static int load_orphan(struct store_shadow *shadow, struct wire_dec *dec)
{
    uint64_t ino = wire_get_u64(dec);
    int64_t time_ns = (int64_t)wire_get_u64(dec);

    if (!wire_done(dec) || ino > STORE_INO_MAX) {
        return -EPROTO;
    }
    return store_rows_orphan_put(&shadow->db, ino, time_ns);
}

static int load_inline(struct store_shadow *shadow, struct wire_dec *dec)
{
    struct store_inline blob = {.ino = wire_get_u64(dec)};
    const uint8_t *data;
    size_t len;

    blob.version = wire_get_u64(dec);
    data = wire_get_blob(dec, STORE_INLINE_MAX, &len);
    if (!wire_done(dec) || blob.ino > STORE_INO_MAX || blob.version > INT64_MAX) {
        return -EPROTO;
    }
    blob.len = (uint32_t)len;
    if (len > 0) {
        memcpy(blob.data, data, len);
    }
    return store_inline_put(&shadow->db, &blob);
}

int shadow_live_settled(struct store_shadow *shadow, const struct store_want *block,
                        bool *same)
{
    struct store_db *live = &shadow->store->db;
    sqlite3_stmt *stmt = NULL;
    int rv;

    *same = false;
    rv = store_layers_load(live, block->ino, block->block, &shadow->layers);
    if (rv != 0 || !shadow->layers.has_block || shadow->layers.extents.n > 0 ||
        shadow->layers.block.version != block->version ||
        store_bad_has(shadow->store, block->ino, block->block)) {
        return rv;
    }
    /* What a lost settle left cannot be vouched for. */
    rv = store_db_row(live, &stmt, SQL_MARK_GET, "ii", block->ino, block->block);
    if (rv == 0) {
        store_db_done(stmt);
        return 0;
    }
    *same = rv == OUT_NOENT;
    return rv == OUT_NOENT ? 0 : rv;
}

/* Take the block over from the live store if it is the same there. What is settled
 * stays where it is; what is recent is copied, since the journal does not outlive the
 * switch. It is not copied where an earlier loading put bytes (@used): their row is gone,
 * but not yet for good. */
static int take_over(struct store_shadow *shadow, const struct store_want *block,
                     bool used, bool *taken)
{
    struct store_range range = {
        .ino = block->ino, .block = block->block, .to = STORE_BLOCK};
    struct store_layers *layers = &shadow->layers;
    int rv;

    rv = shadow_live_settled(shadow, block, taken);
    if (rv != 0) {
        return rv;
    }
    if (*taken) {
        return store_block_put(&shadow->db, &layers->block);
    }
    if (store_layers_version(layers) != block->version || block->version == 0) {
        return 0;
    }
    if (layers->has_inline && layers->extents.n == 0) {
        *taken = true;
        return store_inline_put(&shadow->db, &layers->small);
    }
    if (used) {
        return 0;
    }
    memset(shadow->bytes, 0, STORE_BLOCK);
    rv = store_read_range(shadow->store, &range, layers, shadow->bytes);
    if (rv == 0) {
        *taken = true;
        rv = shadow_put_block(shadow, block, shadow->bytes, STORE_BLOCK);
    }
    return rv == OUT_IO ? 0 : rv; /* Then it is wanted. */
}

/* True if it was pulled before and is new enough; else what was pulled goes. *@used:
 * something was. */
static int pulled_before(struct store_shadow *shadow, const struct store_want *block,
                         bool *used, bool *have)
{
    struct store_extents *extents = &shadow->layers.extents;
    int rv;

    rv = store_extent_load(&shadow->db, block->ino, block->block, extents);
    *used = rv == 0 && extents->n > 0;
    *have = *used;
    for (size_t i = 0; i < extents->n && rv == 0; i++) {
        *have = *have && extents->all[i].version >= block->version;
    }
    for (size_t i = 0; i < extents->n && rv == 0 && !*have; i++) {
        rv = store_db_run(&shadow->db, SQL_EXTENT_DEL, "ii", block->ino,
                          extents->all[i].offset);
    }
    for (size_t i = 0; i < extents->n && rv == 0 && *have; i++) {
        if (extents->all[i].version > shadow->index) {
            rv = shadow_raise_floor(shadow, extents->all[i].version);
        }
    }
    return rv;
}

static int load_block(struct store_shadow *shadow, struct wire_dec *dec)
{
    struct store_want block = {.ino = wire_get_u64(dec)};
    enum shadow_state state = SHADOW_HERE;
    bool used = false;
    bool have;
    int rv;

    block.block = wire_get_u64(dec);
    block.version = wire_get_u64(dec);
    if (!wire_done(dec) || block.ino > STORE_INO_MAX || block.version == 0 ||
        block.version > INT64_MAX || block.block >= STORE_OFFSET_MAX / STORE_BLOCK) {
        return -EPROTO;
    }
    rv = shadow_place_before(shadow, &block, &have);
    if (rv == 0 && have) {
        state = SHADOW_PLACED;
    } else if (rv == 0) {
        rv = pulled_before(shadow, &block, &used, &have);
    }
    if (rv == 0 && !have) {
        rv = take_over(shadow, &block, used, &have);
        if (rv == 0) {
            rv = shadow_begin(shadow);
        }
    }
    if (rv == 0 && !have) {
        rv = shadow_place_intend(shadow, block.ino);
        state = SHADOW_WANTED;
    }
    return rv == 0 ? store_db_run(&shadow->db, SQL_LIST_PUT, "iiii", block.ino,
                                  block.block, block.version, (uint64_t)state)
                   : rv;
}

static int load_end(struct store_shadow *shadow, struct wire_dec *dec)
{
    uint64_t records = wire_get_u64(dec);
    uint32_t crc = wire_get_u32(dec);
    int rv;

    if (!wire_done(dec) || records != shadow->records || crc != shadow->crc) {
        return -EPROTO;
    }
    rv = store_db_exec(&shadow->db,
                       "DELETE FROM extent WHERE NOT EXISTS (SELECT 1 FROM list WHERE "
                       "list.ino=extent.ino AND list.block=extent.offset/131072)");
    if (rv == 0) {
        rv = shadow_place_loaded(shadow);
    }
    shadow->ended = rv == 0;
    return rv;
}

static int load_record(struct store_shadow *shadow, unsigned type, struct wire_dec *dec)
{
    int rv;

    if (!shadow->begun && type != RECORD_HEAD) {
        return -EPROTO;
    }
    switch (type) {
    case RECORD_HEAD:
        rv = load_head(shadow, dec);
        break;
    case RECORD_NUMBER:
        rv = load_number(shadow, dec);
        break;
    case RECORD_INODE:
        rv = load_inode(shadow, dec);
        break;
    case RECORD_DIRENT:
        rv = load_dirent(shadow, dec);
        break;
    case RECORD_KV:
        rv = load_kv(shadow, dec);
        break;
    case RECORD_REPLY:
        rv = load_reply(shadow, dec);
        break;
    case RECORD_RPC:
        rv = load_rpc(shadow, dec);
        break;
    case RECORD_ORPHAN:
        rv = load_orphan(shadow, dec);
        break;
    case RECORD_BLOCK:
        rv = load_block(shadow, dec);
        break;
    case RECORD_INLINE:
        rv = load_inline(shadow, dec);
        break;
    case RECORD_END:
        rv = load_end(shadow, dec);
        break;
    default:
        rv = -EPROTO;
        break;
    }
    return rv == 0 && !wire_done(dec) ? -EPROTO : rv;
}

int store_shadow_load(struct store_shadow *shadow, const void *records, size_t len)
{
    struct wire_dec dec = wire_dec(records, len);
    int rv;

    rv = shadow_begin(shadow);
    while (rv == 0 && dec.at < dec.len) {
        size_t from = dec.at;
        unsigned type = wire_get_u8(&dec);
        unsigned version = wire_get_u8(&dec);
        uint32_t bytes = wire_get_u32(&dec);
        const uint8_t *body = wire_get_view(&dec, bytes);
        struct wire_dec one;

        if (dec.failed || shadow->ended) {
            rv = -EPROTO;
            break;
        }
        if (version != STORE_PULL_FORMAT) {
            rv = -EPROTONOSUPPORT;
            break;
        }
        one = wire_dec(body, bytes);
        rv = load_record(shadow, type, &one);
        shadow->records++;
        shadow->crc = crc32c(shadow->crc, dec.data + from, dec.at - from);
    }
    if (rv == 0) {
        /* At the end, rows of blocks to be pulled anew must be gone for good before
         * their bytes are written over. */
        rv = shadow_commit(shadow, shadow->ended);
    }
    if (rv == -EPROTO) {
        log_warn("store", "msg=\"a pull's records are malformed\" record=%llu",
                 (unsigned long long)shadow->records);
    }
    return rv;
}
