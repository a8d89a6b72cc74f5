/*
 * Sub-blocks that settling changes in part, and how their other bytes are known again.
 *
 * Settling writes into a file what extents cover and leaves the bytes between them. After a
 * crash in between the CRC of such a sub-block is that of neither state, so nobody could
 * tell a bit of those other bytes that flipped. So before it writes, it notes where they
 * are and what CRC they have, in the file "settling" of the dataset, which is replaced as a
 * whole and is durable before the first byte goes. Whoever meets a marked sub-block that
 * does not match its row looks there: extents cover at least as much as at the plan, so
 * that all bytes which are read from the file are among those noted.
 *
 * A note counts as long as the row has the CRC that it had then: for a later row others
 * would have been made. A dataset without the file is of a version that had none, and its
 * marked sub-blocks are taken as they are until it has settled once; a file that is damaged
 * knows nothing.
 *
 * File format: docs/formats/store.md, "settling".
 */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "store/store_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "gvstale1"
#define FILE_BYTES_MAX (64u << 20)
#define NOTE_BYTES 28u
#define RANGE_BYTES 4u
#define RANGES_MAX (STORE_SUBBLOCK / 2u)
#define MAGIC_BYTES (sizeof MAGIC - 1)

struct note {
    uint64_t ino;
    uint64_t block;
    uint32_t sub;
    uint32_t n_ranges;
    uint32_t before; /* The row's CRC of the sub-block. */
    uint32_t crc;    /* Of the bytes in @ranges, one after the other. */
    const uint8_t *ranges;
};

static uint32_t load_u16(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static void store_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void path_of(const struct store *store, char out[STORE_PATH_MAX])
{
    (void)snprintf(out, STORE_PATH_MAX, "%s/settling", store->dir);
}

static bool next_note(struct wire_dec *dec, struct note *note)
{
    *note = (struct note){.ino = wire_get_u64(dec)};
    note->block = wire_get_u64(dec);
    note->sub = wire_get_u16(dec);
    note->n_ranges = wire_get_u16(dec);
    note->before = wire_get_u32(dec);
    note->crc = wire_get_u32(dec);
    note->ranges = wire_get_view(dec, (size_t)note->n_ranges * RANGE_BYTES);
    return !dec->failed;
}

/* @data has at least @len bytes; the last four are the CRC of the others. */
static bool is_whole(const uint8_t *data, size_t len)
{
    return len >= MAGIC_BYTES + 4 && memcmp(data, MAGIC, MAGIC_BYTES) == 0 &&
           crc32c(0, data, len - 4) == wire_load_u32(data + len - 4);
}

static struct wire_dec notes_of(const struct store_stale *stale)
{
    return wire_dec(stale->data + MAGIC_BYTES, stale->len - 4 - MAGIC_BYTES);
}

void store_stale_free(struct store_stale *stale)
{
    free(stale->data);
    *stale = (struct store_stale){0};
}

int store_stale_load(struct store *store)
{
    char path[STORE_PATH_MAX];
    char *data = NULL;
    size_t len = 0;
    int rv;

    path_of(store, path);
    rv = disk_read_file(store->disk, path, FILE_BYTES_MAX, &data, &len);
    if (rv == -ENOENT) {
        return 0;
    }
    if (rv == -ENOMEM) {
        return rv;
    }
    store->stale.strict = true;
    if (rv != 0 || !is_whole((uint8_t *)data, len)) {
        log_warn(
            "store",
            "msg=\"the notes of a settle that was broken off cannot be read: what it "
            "had begun counts as bad\" dataset=%s",
            store->dir);
        free(data);
        return 0;
    }
    store->stale.data = (uint8_t *)data;
    store->stale.len = len;
    return 0;
}

int store_stale_create(struct store *store)
{
    uint8_t data[MAGIC_BYTES + 4];
    char path[STORE_PATH_MAX];

    memcpy(data, MAGIC, MAGIC_BYTES);
    wire_store_u32(data + MAGIC_BYTES, crc32c(0, data, MAGIC_BYTES));
    path_of(store, path);
    return disk_replace_file(store->disk, path, data, sizeof data);
}

/* CRC of what @ranges have of @bytes, a sub-block. */
static uint32_t sum(const uint8_t *ranges, uint32_t n, const uint8_t *bytes)
{
    uint32_t crc = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = load_u16(ranges + i * RANGE_BYTES);
        uint32_t to = load_u16(ranges + i * RANGE_BYTES + 2);

        if (from > to || to > STORE_SUBBLOCK) {
            return ~crc;
        }
        crc = crc32c(crc, bytes + from, to - from);
    }
    return crc;
}

bool store_stale_is_right(const struct store_stale *stale, const struct store_sub *sub,
                          const uint8_t *bytes)
{
    struct wire_dec dec;
    struct note note;

    if (!stale->strict) {
        return true;
    }
    if (stale->data == NULL) {
        return false;
    }
    dec = notes_of(stale);
    while (next_note(&dec, &note)) {
        if (note.ino == sub->ino && note.block == sub->block && note.sub == sub->sub &&
            note.before == sub->crc) {
            return sum(note.ranges, note.n_ranges, bytes) == note.crc;
        }
    }
    return false;
}

/* Notes that are being made. */

static uint8_t *room(struct store_stale *stale, size_t len)
{
    if (stale->cap - stale->len < len) {
        size_t cap = 2 * stale->cap + len + 4096;
        uint8_t *data = realloc(stale->data, cap);

        if (data == NULL) {
            return NULL;
        }
        stale->data = data;
        stale->cap = cap;
    }
    return stale->data + stale->len;
}

static int append(struct store_stale *stale, const uint8_t *bytes, size_t len)
{
    uint8_t *at = room(stale, len);

    if (at == NULL) {
        return -ENOMEM;
    }
    memcpy(at, bytes, len);
    stale->len += len;
    return 0;
}

/* The bytes of sub-block @sub that no extent covers; returns how many ranges. */
static uint32_t uncovered(const struct store_settle_block *b, uint32_t sub,
                          uint8_t ranges[RANGES_MAX * RANGE_BYTES])
{
    uint32_t start = sub * STORE_SUBBLOCK;
    uint32_t at = 0;
    uint32_t n = 0;

    for (size_t i = 0; i <= b->extents.n && at < STORE_SUBBLOCK; i++) {
        uint32_t begin = STORE_SUBBLOCK;
        uint32_t end = STORE_SUBBLOCK;

        if (i < b->extents.n) {
            uint32_t from = (uint32_t)(b->extents.all[i].offset % STORE_BLOCK);
            uint32_t to = from + b->extents.all[i].len;

            if (to <= start || from >= start + STORE_SUBBLOCK) {
                continue;
            }
            begin = from > start ? from - start : 0;
            end = to - start < STORE_SUBBLOCK ? to - start : STORE_SUBBLOCK;
        }
        if (begin > at) {
            ASSERT(n < RANGES_MAX);
            store_u16(ranges + n * RANGE_BYTES, at);
            store_u16(ranges + n * RANGE_BYTES + 2, begin);
            n++;
        }
        at = end > at ? end : at;
    }
    return n;
}

int store_stale_note(struct store_stale *stale, const struct store_settle_block *b,
                     uint32_t sub, const uint8_t *bytes)
{
    uint8_t ranges[RANGES_MAX * RANGE_BYTES];
    uint32_t n = uncovered(b, sub, ranges);
    size_t len = NOTE_BYTES + (size_t)n * RANGE_BYTES;
    uint8_t *at = room(stale, len);
    struct wire_enc enc;

    if (at == NULL) {
        return -ENOMEM;
    }
    enc = wire_enc(at, len);
    wire_put_u64(&enc, b->ino);
    wire_put_u64(&enc, b->block);
    wire_put_u16(&enc, (uint16_t)sub);
    wire_put_u16(&enc, (uint16_t)n);
    wire_put_u32(&enc, b->crcs[sub]);
    wire_put_u32(&enc, sum(ranges, n, bytes));
    wire_put_bytes(&enc, ranges, (size_t)n * RANGE_BYTES);
    ASSERT(!enc.failed && enc.len == len);
    stale->len += len;
    return 0;
}

static int is_marked(struct store *store, const struct note *note)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(&store->db, &stmt, SQL_MARK_GET, "ii", note->ino, note->block);

    if (rv == 0) {
        store_db_done(stmt);
    }
    return rv;
}

/* Append those of the notes before for which @needed gives 0; OUT_NOENT: not this one. */
static int carry_on(struct store_settle *settle,
                    int (*needed)(struct store_settle *settle, const struct note *note))
{
    const struct store_stale *old = &settle->store->stale;
    struct wire_dec dec;
    struct note note;
    int rv = 0;

    if (old->data == NULL) {
        return 0;
    }
    dec = notes_of(old);
    for (size_t from = dec.at; rv == 0 && next_note(&dec, &note); from = dec.at) {
        rv = needed(settle, &note);
        if (rv == 0) {
            rv = append(&settle->stale, old->data + MAGIC_BYTES + from, dec.at - from);
        } else if (rv == OUT_NOENT) {
            rv = 0;
        }
    }
    return rv;
}

static int of_marked(struct store_settle *settle, const struct note *note)
{
    return store_settle_find(settle, note->ino, note->block) != NULL
               ? OUT_NOENT
               : is_marked(settle->store, note);
}

/* What could not be noted anew. */
static int of_plan(struct store_settle *settle, const struct note *note)
{
    const struct store_settle_block *b =
        store_settle_find(settle, note->ino, note->block);

    return b != NULL && note->sub < STORE_SUBBLOCKS && (b->noted >> note->sub & 1) == 0
               ? 0
               : OUT_NOENT;
}

int store_stale_plan(struct store_settle *settle)
{
    int rv = append(&settle->stale, (const uint8_t *)MAGIC, MAGIC_BYTES);

    return rv == 0 ? carry_on(settle, of_marked) : rv;
}

int store_stale_write(struct store_settle *settle)
{
    struct store *store = settle->store;
    struct store_stale *stale = &settle->stale;
    char path[STORE_PATH_MAX];
    uint8_t *at;
    int rv = carry_on(settle, of_plan);

    if (rv != 0) {
        return rv;
    }
    at = room(stale, 4);
    if (at == NULL) {
        return -ENOMEM;
    }
    wire_store_u32(at, crc32c(0, stale->data, stale->len));
    stale->len += 4;
    stale->strict = true;
    path_of(store, path);
    rv = disk_replace_file(store->disk, path, stale->data, stale->len);
    settle->noted = rv == 0;
    return rv;
}

void store_stale_adopt(struct store *store, struct store_settle *settle)
{
    if (settle->noted) {
        store_stale_free(&store->stale);
        store->stale = settle->stale;
        settle->stale = (struct store_stale){0};
    }
}
