/*
 * A journal that somebody else wrote: a good one, of which headers, records and the floor say
 * what the bytes want, with checksums and links that are right, or not; blocks that are gone, and
 * bits that flipped. It opens, or it does not; what opens can be read, written to and opened
 * again. Each byte is one choice.
 */
#include "base/assert.h"
#include "base/wire.h"
#include "choices.h"
#include "lib/simdisk.h"
#include "store/journal.h"
#include "store/journal_format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEGMENT_BYTES = 32768,
    FILES_MAX = 8,
    EDITS_MAX = 8,
    FETCH_MAX = 64,
    HEAD_BYTES = 200,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The folder's files, as they are before and while they are edited. */
struct image {
    char name[32];
    uint8_t bytes[SEGMENT_BYTES];
    size_t len;
};

static struct image base[FILES_MAX];
static struct image now[FILES_MAX];
static unsigned n_files;

static uint64_t value(struct choices *from, uint64_t was)
{
    static const uint64_t ends[] = {0,          1,        UINT64_MAX, INT64_MAX,
                                    UINT32_MAX, 1u << 31, 3u << 20,   1u << 20};
    uint8_t byte = next(from);

    if (byte < 160) {
        return was + byte % 16 - 8;
    }
    return byte < 224 ? byte - 160u : ends[byte % 8];
}

/* Making the good one. */

static int ignore(void *ctx, const struct journal_entry *entry)
{
    (void)ctx;
    (void)entry;
    return 0;
}

static struct journal_config config_of(struct simdisk *sim, uint64_t seed)
{
    return (struct journal_config){.disk = simdisk_disk(sim),
                                   .dir = "journal",
                                   .zone_id = {1, 2, 3},
                                   .segment_bytes = SEGMENT_BYTES,
                                   .spare_segments = 1,
                                   .create = true,
                                   .seed = seed};
}

static int put(struct journal *journal, uint64_t index, uint32_t n)
{
    static uint8_t bytes[4096];
    struct journal_entry entries[4];

    for (uint32_t i = 0; i < n; i++) {
        entries[i] =
            (struct journal_entry){.index = index + i,
                                   .term = 1 + index / 8,
                                   .type = 1,
                                   .head = slice_borrow(bytes, HEAD_BYTES),
                                   .payload = slice_borrow(bytes, index % 32 * 100)};
    }
    return journal_append(journal,
                          &(struct journal_batch){.entries = entries, .n_entries = n});
}

static int keep(void *ctx, const char *name)
{
    struct disk *disk = ctx;
    struct image *image = &base[n_files];
    char path[64];
    char *bytes = NULL;

    ASSERT(n_files < FILES_MAX);
    (void)snprintf(path, sizeof path, "journal/%s", name);
    ASSERT(disk_read_file(disk, path, SEGMENT_BYTES, &bytes, &image->len) == 0);
    (void)snprintf(image->name, sizeof image->name, "%s", name);
    memcpy(image->bytes, bytes, image->len);
    free(bytes);
    n_files++;
    return 0;
}

/* Four segments, the first of them released: votes, entries, some voided, a compaction. */
static void make_base(void)
{
    struct simdisk *sim = simdisk_new(0);
    struct journal_config config = config_of(sim, 9);
    struct journal_batch vote = {.has_meta = true, .term = 3, .vote = 2};
    struct journal_state state;
    struct journal *journal = NULL;

    ASSERT(journal_open(&config, &state, ignore, NULL, &journal) == 0);
    for (uint64_t index = 1; index < 22; index += 2) {
        ASSERT(put(journal, index, 2) == 0);
        if (index == 9) {
            ASSERT(journal_append(journal, &vote) == 0 && put(journal, 9, 3) == 0);
        }
    }
    ASSERT(journal_compact(journal, 8, 1) == 0);
    ASSERT(journal_release(journal, 2) == 0);
    journal_close(journal);
    ASSERT(config.disk->ops->list(config.disk, "journal", keep, config.disk) == 0);
    simdisk_free(sim);
}

/* Changing it. */

static void edit_floor(struct choices *from, struct image *image)
{
    struct journal_floor floor;

    if (journal_floor_get(image->bytes, image->len, &floor) != 0) {
        return;
    }
    switch (next(from) % 4) {
    case 0:
        floor.segment = value(from, floor.segment);
        break;
    case 1:
        floor.base_index = value(from, floor.base_index);
        break;
    case 2:
        floor.base_term = value(from, floor.base_term);
        break;
    default:
        floor.durable = value(from, floor.durable);
        break;
    }
    journal_floor_put(&floor, image->bytes);
}

static void edit_batch(struct choices *from, uint8_t *at)
{
    struct journal_batch_head head;

    if (journal_batch_head_get(at, &head) != 0) {
        return;
    }
    switch (next(from) % 6) {
    case 0:
        head.body_len = (uint32_t)value(from, head.body_len);
        break;
    case 1:
        head.first_seq = value(from, head.first_seq);
        break;
    case 2:
        head.durable = value(from, head.durable);
        break;
    case 3:
        head.n_records = (uint32_t)value(from, head.n_records);
        break;
    case 4:
        head.offset = (uint32_t)value(from, head.offset);
        break;
    default:
        head.link = (uint32_t)value(from, head.link);
        break;
    }
    journal_batch_head_put(&head, at);
}

static void edit_record(struct choices *from, uint8_t *at, size_t room)
{
    struct journal_record record;
    uint8_t *head = at + JOURNAL_RECORD_BYTES;

    if (journal_record_head_get(at, room, &record) != 0) {
        return;
    }
    switch (next(from) % 8) {
    case 0:
        record.index = value(from, record.index);
        break;
    case 1:
        record.term = value(from, record.term);
        break;
    case 2:
        record.seq = value(from, record.seq);
        break;
    case 3:
        record.type = next(from) % 6;
        break;
    case 4:
        record.head_len = (uint32_t)value(from, record.head_len);
        break;
    case 5:
        record.payload_len = (uint32_t)value(from, record.payload_len);
        break;
    case 6:
        record.payload_crc++;
        break;
    default:
        if (record.head_len >= JOURNAL_STATE_BYTES) {
            head += 8 * (next(from) % 5u);
            wire_store_u64(head, value(from, wire_load_u64(head)));
            head = at + JOURNAL_RECORD_BYTES;
        }
        break;
    }
    if (record.head_len > room - JOURNAL_RECORD_BYTES) {
        wire_store_u32(at + 40, record.head_len); /* No checksum goes so far. */
        return;
    }
    journal_record_put(&record, head, at);
}

/* The @n-th record of the batch at @at. */
static uint8_t *record_of(uint8_t *at, size_t room, uint32_t n)
{
    struct journal_batch_head head;
    size_t done = JOURNAL_BATCH_BYTES;

    if (journal_batch_head_get(at, &head) != 0 || head.n_records == 0) {
        return NULL;
    }
    for (uint32_t i = 0; i < n % head.n_records; i++) {
        struct journal_record record;

        if (done > room ||
            journal_record_head_get(at + done, room - done, &record) != 0) {
            return NULL;
        }
        done += journal_record_span(record.head_len, record.payload_len);
    }
    return done < room ? at + done : NULL;
}

/* Each batch follows the one before it in the file. */
static void relink(struct image *image)
{
    uint32_t link = 0;

    for (size_t at = JOURNAL_BLOCK; at < image->len; at += JOURNAL_BLOCK) {
        struct journal_batch_head head;

        if (journal_batch_head_get(image->bytes + at, &head) == 0) {
            head.link = link != 0 ? link : head.link;
            journal_batch_head_put(&head, image->bytes + at);
            link = journal_batch_head_crc(image->bytes + at);
        }
    }
}

static void edit_segment(struct choices *from, struct image *image)
{
    uint8_t what = next(from) % 16;
    size_t blocks = image->len / JOURNAL_BLOCK;
    size_t at = blocks == 0 ? 0 : next(from) % blocks * JOURNAL_BLOCK;
    struct journal_segment_head head;
    uint8_t *record;

    if (blocks == 0) {
        return;
    }
    if (what < 4) {
        edit_batch(from, image->bytes + at);
    } else if (what < 11) {
        record = record_of(image->bytes + at, image->len - at, next(from));
        if (record != NULL) {
            edit_record(from, record, image->len - (size_t)(record - image->bytes));
        }
    } else if (what == 11) {
        memset(image->bytes + at, 0, JOURNAL_BLOCK);
    } else if (what == 12) {
        memcpy(image->bytes + at, image->bytes + next(from) % blocks * JOURNAL_BLOCK,
               JOURNAL_BLOCK);
    } else if (what == 13) {
        image->len = (1 + next(from) % blocks) * JOURNAL_BLOCK;
    } else if (what == 14 && journal_segment_head_get(image->bytes, &head) == 0) {
        head.number = value(from, head.number);
        head.bytes = next(from) % 2 == 0 ? image->len : value(from, head.bytes);
        journal_segment_head_put(&head, image->bytes);
        (void)snprintf(image->name, sizeof image->name, "%016llx.seg",
                       (unsigned long long)head.number);
    } else {
        image->bytes[at + next(from) * 13u] ^= (uint8_t)(1u << next(from) % 8);
    }
    if (next(from) % 2 == 0) {
        relink(image);
    }
}

static void put_files(struct simdisk *sim, struct choices *from)
{
    struct disk *disk = simdisk_disk(sim);
    uint8_t bad = next(from);

    ASSERT(disk->ops->mkdir(disk, "journal") == 0);
    for (unsigned i = 0; i < n_files; i++) {
        char path[64];

        (void)snprintf(path, sizeof path, "journal/%.31s", now[i].name);
        ASSERT(disk_replace_file(disk, path, now[i].bytes, now[i].len) == 0);
        if (bad >= 248 && i == bad % n_files) {
            (void)simdisk_bad(sim, path, next(from) % 8u * JOURNAL_BLOCK);
        }
    }
}

/* What opened is a journal like any other. */
static void use(struct journal *journal, const struct journal_state *state)
{
    struct journal_entry entries[FETCH_MAX];
    uint64_t index = state->base_index + 1;
    uint32_t got = 0;

    ASSERT(state->last_index >= state->base_index);
    while (index <= state->last_index &&
           journal_fetch(journal, index, FETCH_MAX, 1u << 20, entries, &got) == 0) {
        for (uint32_t i = 0; i < got; i++) {
            slice_unref(&entries[i].head);
            slice_unref(&entries[i].payload);
        }
        index += got;
    }
    (void)put(journal, state->last_index + 1, 1);
    (void)journal_prepare(journal);
    (void)journal_compact(journal, state->last_index, 1);
    (void)journal_release(journal, journal_segment(journal));
}

static int reopen(struct simdisk *sim, uint64_t seed, struct journal_state *state)
{
    struct journal_config config = config_of(sim, seed);
    struct journal *journal = NULL;
    int rv;

    config.create = false;
    rv = journal_open(&config, state, ignore, NULL, &journal);
    if (rv == 0) {
        use(journal, state);
        journal_close(journal);
    }
    return rv;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choices from = {.data = data, .len = size};
    struct journal_state state;
    struct simdisk *sim;

    if (n_files == 0) {
        make_base();
    }
    memcpy(now, base, sizeof now);
    for (uint32_t i = 0; i < EDITS_MAX && from.at < from.len; i++) {
        struct image *image = &now[next(&from) % n_files];

        if (image->len == JOURNAL_FLOOR_BYTES) {
            edit_floor(&from, image);
        } else {
            edit_segment(&from, image);
        }
    }
    sim = simdisk_new(0);
    put_files(sim, &from);
    if (reopen(sim, 10, &state) == 0) {
        ASSERT(reopen(sim, 11, &state) == 0);
    }
    simdisk_free(sim);
    return 0;
}
