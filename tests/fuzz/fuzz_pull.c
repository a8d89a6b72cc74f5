/*
 * A state that is pulled from a member that misbehaves, or that lies on a disk so: rows of any
 * content with checksums that are right, in any order, some twice and some not, and blocks that
 * nobody asked for. It is refused, or taken; and what is taken may be a fault of that zone
 * when it is read or changed, and nothing else. Each byte is one choice.
 *
 * The puller goes on from input to input until it has switched to something.
 */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "choices.h"
#include "store/store_priv.h"
#include "unit/zone/fixture.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS_MAX = 128, RECORD_BYTES = 512, EDITS_MAX = 6, WANTS = 8, CRC_BYTES = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct record {
    uint8_t bytes[RECORD_BYTES];
    size_t len;
};

static struct fx source;
static struct fx puller;
static struct store_shadow *shadow;
static struct record base[RECORDS_MAX];
static struct record now[RECORDS_MAX];
static uint32_t n_records;
static uint8_t bytes[STORE_BLOCK];

static uint64_t value(struct choices *from, uint64_t was)
{
    static const uint64_t ends[] = {0,
                                    1,
                                    UINT64_MAX,
                                    INT64_MAX,
                                    (uint64_t)INT64_MAX + 1,
                                    STORE_FILE_MAX,
                                    STORE_FILE_MAX / STORE_BLOCK,
                                    1ull << 62};
    uint8_t byte = next(from);

    if (byte < 128) {
        return was + byte % 16 - 8;
    }
    return byte < 192 ? byte - 128u : ends[byte % 8];
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* The source. */

static void fill(struct fx *fx)
{
    struct zone_op pair = {.type = ZONE_OP_KV, .n_kv = 1};
    struct zone_handle dir = fx_dir(fx, fx_root, "dir");
    struct zone_handle file;

    fx->origin = (struct zone_origin){.node = 3, .boot = 1, .seq = 1, .floor = 1};
    fx->rpc_key[0] = 1;
    (void)fx_dir(fx, dir, "sub");
    fx->rpc_key[0] = 2;
    fx->origin.seq++;
    file = fx_file(fx, dir, "small");
    fx->origin = (struct zone_origin){0};
    memset(fx->rpc_key, 0, sizeof fx->rpc_key);
    (void)fx_write(fx, file, 0, slice_borrow(bytes, 100));
    file = fx_file(fx, dir, "settled");
    (void)fx_write(fx, file, 0, slice_borrow(bytes, 100000));
    fx_settle(fx);
    file = fx_file(fx, fx_root, "recent");
    (void)fx_write(fx, file, 131000, slice_borrow(bytes, 50000));
    (void)fx_file(fx, fx_root, "orphan");
    (void)fx_remove(fx, fx_root, "orphan");
    (void)fx_symlink(fx, fx_root, "link", "dir/small");
    pair.kv[0] = (struct zone_kv){.key = fx_str("key"), .value = fx_str("value")};
    pair.kv[0].version = ZONE_KV_ANY;
    (void)fx_run(fx, pair);
    ASSERT(store_begin(fx->store) == 0);
    ASSERT(store_kv_put(fx->store, &(struct store_kv){.key = fx_str("conf"),
                                                      .value = fx_str("conf"),
                                                      .version = 1}) == 0);
    ASSERT(store_commit(fx->store, true) == 0);
}

static void take_records(const uint8_t *at, size_t len)
{
    while (len >= STORE_RECORD_HEADER) {
        size_t one = STORE_RECORD_HEADER + wire_load_u32(at + 2);

        ASSERT(one <= len && one <= RECORD_BYTES && n_records < RECORDS_MAX);
        memcpy(base[n_records].bytes, at, one);
        base[n_records++].len = one;
        at += one;
        len -= one;
    }
}

static void end(void)
{
    store_shadow_close(shadow);
    fx_close(&puller);
    fx_close(&source);
    (void)nftw(check_tmpdir(), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void begin_puller(void)
{
    static unsigned n;
    char name[32];

    (void)snprintf(name, sizeof name, "puller-%u", n++);
    fx_open(&puller, name, 1u << 28);
    fill(&puller); /* Some of it is the same. */
    ASSERT(store_shadow_open(puller.store, &shadow) == 0);
}

static void begin(void)
{
    struct store_cursor *cursor = NULL;
    struct buf *run = NULL;
    uint64_t index;

    fx_open(&source, "source", 1u << 28);
    fill(&source);
    ASSERT(store_cursor_open(source.store, &cursor, &index) == 0);
    while (store_cursor_next(cursor, 1u << 20, &run) == 0) {
        take_records(run->data, run->len);
        buf_unref(run);
    }
    store_cursor_close(cursor);
    begin_puller();
    (void)atexit(end);
}

/* What it says. */

static void edit_record(struct choices *from, struct record *record)
{
    size_t body = record->len == 0 ? 0 : record->len - STORE_RECORD_HEADER;
    uint8_t *at = record->bytes + STORE_RECORD_HEADER;
    size_t offset = body == 0 ? 0 : next(from) * 4u % body;
    uint8_t how = next(from) % 8;

    if (record->len == 0) {
        return; /* Left out before. */
    }
    if (how < 4 && body - offset >= 8) {
        wire_store_u64(at + offset, value(from, wire_load_u64(at + offset)));
    } else if (how < 6 && body - offset >= 4) {
        wire_store_u32(at + offset, (uint32_t)value(from, wire_load_u32(at + offset)));
    } else if (how == 6) {
        record->bytes[0] = next(from) % 13;
    } else if (body > offset) {
        at[offset] = next(from);
    }
    if (record->bytes[0] == RECORD_INODE && body == STORE_INODE_BYTES) {
        wire_store_u32(at + body - CRC_BYTES, crc32c(0, at, body - CRC_BYTES));
    }
}

/* A number of the zone's that is about to leave its range, whichever. */
static void edit_number(struct choices *from)
{
    uint32_t first = next(from);

    for (uint32_t i = 0; i < n_records; i++) {
        struct record *record = &now[(first + i) % n_records];

        if (record->bytes[0] == RECORD_NUMBER && record->len > 0) {
            wire_store_u64(record->bytes + record->len - 8,
                           value(from, wire_load_u64(record->bytes + record->len - 8)));
            return;
        }
    }
}

static void edit(struct choices *from)
{
    uint32_t i = next(from) % n_records;
    uint32_t k = next(from) % n_records;
    uint8_t what = next(from) % 16;

    if (what < 10) {
        edit_record(from, &now[i]);
    } else if (what < 13) {
        edit_number(from);
    } else if (what == 13) {
        now[i].len = 0; /* Left out. */
    } else if (what == 14) {
        now[i] = now[k];
    } else {
        struct record swap = now[i];

        now[i] = now[k];
        now[k] = swap;
    }
}

/* The last record says how many there were, and their checksum. */
static void seal_end(void)
{
    struct record *last = &now[n_records - 1];
    uint64_t n = 0;
    uint32_t crc = 0;

    for (uint32_t i = 0; i + 1 < n_records; i++) {
        n += now[i].len > 0;
        crc = crc32c(crc, now[i].bytes, now[i].len);
    }
    *last = base[n_records - 1];
    wire_store_u64(last->bytes + STORE_RECORD_HEADER, n);
    wire_store_u32(last->bytes + STORE_RECORD_HEADER + 8, crc);
}

static int load(void)
{
    static uint8_t all[RECORDS_MAX * RECORD_BYTES];
    size_t len = 0;

    for (uint32_t i = 0; i < n_records; i++) {
        memcpy(all + len, now[i].bytes, now[i].len);
        len += now[i].len;
    }
    return store_shadow_load(shadow, all, len);
}

/* Blocks that are wanted, and some that are not. */
static int give_blocks(struct choices *from)
{
    struct store_want wants[WANTS];
    uint32_t n = 0;
    int rv = store_shadow_wants(shadow, wants, WANTS, &n);

    for (uint32_t i = 0; rv == 0 && i < n; i++) {
        uint8_t how = next(from) % 16;
        uint64_t version = how < 12 ? wants[i].version : value(from, wants[i].version);
        size_t len = how % 4 == 0 ? 0 : how % 4 == 1 ? STORE_BLOCK : next(from);

        if (how == 15) {
            wants[i].ino = value(from, wants[i].ino);
            wants[i].block = value(from, wants[i].block);
        }
        rv = how == 14 ? store_shadow_lost(shadow, &wants[i])
                       : store_shadow_block(shadow, &wants[i], version,
                                            slice_borrow(bytes, len));
    }
    return rv == 0 && n > 0 ? OUT_TRY_LATER : rv;
}

/* Every name is read, written to and removed: faults there may be. */
static void use(void)
{
    static const char *const names[] = {"dir",  "small", "settled", "recent",
                                        "link", "sub",   "new",     ""};

    for (uint64_t dir = 0; dir < 8; dir++) {
        for (uint32_t i = 0; i < 3 * sizeof names / sizeof names[0]; i++) {
            struct store_inode inode;
            struct zone_op ops[] = {
                {.type = ZONE_OP_LOOKUP},
                {.type = ZONE_OP_READDIR, .count = 4096},
                {.type = ZONE_OP_READ, .count = 200000},
                {.type = ZONE_OP_CREATE},
                {.type = ZONE_OP_RENAME, .to = fx_root},
                {.type = ZONE_OP_RMDIR},
                {.type = ZONE_OP_REMOVE},
                {.type = ZONE_OP_SETATTR, .sattr = {.set = ZONE_SET_SIZE, .size = 5}},
            };
            struct zone_op op = ops[(i + dir) % (sizeof ops / sizeof ops[0])];
            struct fx_entry entry;
            struct zone_result result = {0};

            if (store_inode_get(puller.store, dir, &inode) != 0) {
                break;
            }
            op.obj = (struct zone_handle){.ino = dir, .gen = inode.gen};
            op.name = fx_str(names[i % 8]);
            op.to_name = fx_str(names[(i + 3) % 8]);
            if (!zone_op_is_mutation(op.type)) {
                (void)zone_read(puller.zone, &op, &result);
                zone_result_clear(&result);
                continue;
            }
            fx_make(&puller, &op, zone_applied_index(puller.zone) + 1,
                    puller.time_ns += 1000, &entry);
            (void)zone_apply(puller.zone,
                             &(struct zone_apply_item){
                                 .index = entry.index,
                                 .term = 1,
                                 .kind = ZONE_APPLY_COMMAND,
                                 .head = slice_borrow(entry.head->data, entry.head->len)},
                             1);
            fx_free(&entry);
        }
    }
}

static void settle(void)
{
    struct store_settle *plan = NULL;

    if (store_settle_plan(puller.store, 4 << 20, &plan) == 0) {
        if (store_settle_run(plan) == 0) {
            (void)store_settle_finish(puller.store, plan);
        } else {
            store_settle_abandon(puller.store, plan);
        }
    }
}

/* As the daemon does, and as its next start would. */
static void switch_over(void)
{
    struct zone_snapshot snapshot = {0};
    int rv = store_shadow_switch(puller.store, shadow);

    if (rv == OUT_TRY_LATER) {
        return;
    }
    store_shadow_close(shadow);
    shadow = NULL;
    if (rv == 0 && zone_reload(puller.zone) == 0 &&
        zone_snapshot_get(puller.zone, &snapshot) == 0) {
        buf_unref(snapshot.conf);
        use();
        settle();
    }
    fx_close(&puller);
    (void)nftw(puller.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    begin_puller();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choices from = {.data = data, .len = size};
    uint8_t first = next(&from);
    int rv;

    if (n_records == 0) {
        begin();
    }
    memcpy(now, base, sizeof now);
    for (uint32_t i = 0; i < EDITS_MAX && from.at < from.len; i++) {
        edit(&from);
    }
    if (first % 8 != 0) {
        seal_end();
    }
    rv = load();
    for (int i = 0; i < 4 && (rv == 0 || rv == OUT_TRY_LATER); i++) {
        rv = give_blocks(&from);
    }
    if (rv == 0 && first >= 64) {
        switch_over();
    }
    if (shadow != NULL && next(&from) % 2 == 0) {
        store_shadow_close(shadow); /* The next attempt finds what this one left. */
        ASSERT(store_shadow_open(puller.store, &shadow) == 0);
    }
    return 0;
}
