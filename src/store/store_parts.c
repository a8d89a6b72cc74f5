/*
 * CRCs of the parts of a piece in the journal, in memory.
 *
 * A piece has one CRC32C, of up to 128 KiB, and until its data settles a read of 4 KiB
 * would read and check all of it. So whoever does notes what the piece's parts have while
 * its own CRC matches: later reads check the parts that they want against that. Parts that
 * do not match, or are not known, are a matter for the whole piece.
 */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#define SETS 512u
#define WAYS 4u

struct piece {
    uint64_t segment;
    uint64_t place;
    uint32_t len; /* 0: nothing here. */
    uint32_t crc;
    uint32_t parts[STORE_PARTS];
};

struct store_parts {
    uint32_t turn; /* Whose place in a full set is taken next. */
    struct piece sets[SETS][WAYS];
};

static struct piece *set_of(struct store_parts *parts, const struct store_extent *extent)
{
    uint64_t hash = (extent->segment ^ extent->place << 20) * 0x9e3779b97f4a7c15ull;

    return parts->sets[(hash >> 32) % SETS];
}

static bool is_of(const struct piece *piece, const struct store_extent *extent)
{
    return piece->len == extent->piece_len && piece->segment == extent->segment &&
           piece->place == extent->place && piece->crc == extent->crc;
}

static uint32_t part_len(const struct store_extent *extent, uint32_t part)
{
    uint32_t left = extent->piece_len - part * STORE_PART;

    return left < STORE_PART ? left : STORE_PART;
}

void store_parts_note(struct store *store, const struct store_extent *extent,
                      const uint8_t *bytes)
{
    struct store_parts *parts = store->parts;
    struct piece *set;
    struct piece *place;

    ASSERT(extent->piece_len > 0 && extent->piece_len <= STORE_BLOCK);
    if (parts == NULL) {
        parts = calloc(1, sizeof *parts);
        store->parts = parts;
    }
    if (parts == NULL) {
        return; /* No memory: the whole piece again, next time. */
    }
    set = set_of(parts, extent);
    place = &set[parts->turn++ % WAYS];
    for (uint32_t i = 0; i < WAYS; i++) {
        if (is_of(&set[i], extent) || set[i].len == 0) {
            place = &set[i];
            break;
        }
    }
    *place = (struct piece){.segment = extent->segment,
                            .place = extent->place,
                            .len = extent->piece_len,
                            .crc = extent->crc};
    for (uint32_t i = 0; i * STORE_PART < extent->piece_len; i++) {
        place->parts[i] = crc32c(0, bytes + (size_t)i * STORE_PART, part_len(extent, i));
    }
}

static const struct piece *find(const struct store *store,
                                const struct store_extent *extent)
{
    const struct piece *set;

    if (store->parts == NULL) {
        return NULL;
    }
    set = set_of(store->parts, extent);
    for (uint32_t i = 0; i < WAYS; i++) {
        if (is_of(&set[i], extent)) {
            return &set[i];
        }
    }
    return NULL;
}

int store_parts_read(struct store *store, const struct store_extent *extent,
                     struct store_part_range want, uint8_t *out)
{
    const struct piece *piece = find(store, extent);
    uint32_t first = want.from / STORE_PART;
    uint32_t last = (want.from + want.len - 1) / STORE_PART;
    uint32_t start = first * STORE_PART;
    uint32_t end = last * STORE_PART + part_len(extent, last);
    bool exact = start == want.from && end == want.from + want.len;
    uint8_t *to = exact ? out : store->scratch; /* No byte too many: no copy. */

    ASSERT(want.len > 0 && want.from + want.len <= extent->piece_len);
    if (piece == NULL || journal_pread(store->journal,
                                       (struct journal_place){
                                           .segment = extent->segment,
                                           .offset = extent->place + start,
                                       },
                                       to, end - start) != 0) {
        return OUT_NOENT;
    }
    for (uint32_t i = first; i <= last; i++) {
        if (crc32c(0, to + (i * STORE_PART - start), part_len(extent, i)) !=
            piece->parts[i]) {
            return OUT_NOENT;
        }
    }
    if (!exact) {
        memcpy(out, to + (want.from - start), want.len);
    }
    return 0;
}

void store_parts_free(struct store *store)
{
    free(store->parts);
    store->parts = NULL;
}
