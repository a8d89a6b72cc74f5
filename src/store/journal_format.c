#include "store/journal_format.h"

#include "base/crc32c.h"
#include "base/wire.h"

#include <errno.h>
#include <string.h>

#define MAGIC_SEGMENT 0x534a5647u /* "GVJS" */
#define MAGIC_BATCH 0x424a5647u   /* "GVJB" */
#define MAGIC_FLOOR 0x464a5647u   /* "GVJF" */
#define VERSION 1u

/* Where each structure's own CRC lies: behind everything that it covers, except in a
 * record, where it also covers the head that follows. */
enum {
    SEGMENT_CRC_AT = 48,
    BATCH_CRC_AT = 60,
    RECORD_HEAD_LEN_AT = 40,
    FLOOR_CRC_AT = JOURNAL_FLOOR_BYTES - 4,
};

static uint64_t fill8(uint64_t len)
{
    return (len + 7) & ~7ULL;
}

/* Magic, version and CRC of a structure whose CRC lies at @crc_at. */
static int check(const uint8_t *in, uint32_t magic, size_t crc_at)
{
    if (wire_load_u32(in) != magic ||
        wire_load_u32(in + crc_at) != crc32c(0, in, crc_at)) {
        return -EUCLEAN;
    }
    return wire_load_u32(in + 4) == VERSION ? 0 : -EPROTONOSUPPORT;
}

/* The bit at which the CRC at @crc_at and the @crc_at bytes before it disagree. */
static bool flip_of(const uint8_t *in, size_t crc_at, struct journal_flip *out)
{
    uint64_t bit =
        crc32c_flipped(wire_load_u32(in + crc_at) ^ crc32c(0, in, crc_at), crc_at);

    if (bit == CRC32C_NO_BIT) {
        return false;
    }
    *out = (struct journal_flip){.at = (uint32_t)(bit / 8),
                                 .mask = (uint8_t)(1u << bit % 8)};
    return true;
}

static void seal(uint8_t *out, uint32_t magic, size_t crc_at)
{
    wire_store_u32(out, magic);
    wire_store_u32(out + 4, VERSION);
    wire_store_u32(out + crc_at, crc32c(0, out, crc_at));
}

void journal_segment_head_put(const struct journal_segment_head *head,
                              uint8_t block[JOURNAL_BLOCK])
{
    memset(block, 0, JOURNAL_BLOCK);
    wire_store_u64(block + 8, head->number);
    wire_store_u64(block + 16, head->salt);
    wire_store_u64(block + 24, head->bytes);
    memcpy(block + 32, head->zone_id, sizeof head->zone_id);
    seal(block, MAGIC_SEGMENT, SEGMENT_CRC_AT);
}

int journal_segment_head_get(const uint8_t block[JOURNAL_BLOCK],
                             struct journal_segment_head *out)
{
    int rv = check(block, MAGIC_SEGMENT, SEGMENT_CRC_AT);

    if (rv != 0) {
        return rv;
    }
    out->number = wire_load_u64(block + 8);
    out->salt = wire_load_u64(block + 16);
    out->bytes = wire_load_u64(block + 24);
    memcpy(out->zone_id, block + 32, sizeof out->zone_id);
    return 0;
}

bool journal_segment_head_flip(const uint8_t block[JOURNAL_BLOCK],
                               struct journal_flip *out)
{
    return flip_of(block, SEGMENT_CRC_AT, out);
}

void journal_batch_head_put(const struct journal_batch_head *head,
                            uint8_t out[JOURNAL_BATCH_BYTES])
{
    memset(out, 0, JOURNAL_BATCH_BYTES);
    wire_store_u64(out + 8, head->salt);
    wire_store_u64(out + 16, head->segment);
    wire_store_u32(out + 24, head->offset);
    wire_store_u32(out + 28, head->body_len);
    wire_store_u64(out + 32, head->first_seq);
    wire_store_u64(out + 40, head->durable);
    wire_store_u32(out + 48, head->n_records);
    wire_store_u32(out + 52, head->life);
    wire_store_u32(out + 56, head->link);
    seal(out, MAGIC_BATCH, BATCH_CRC_AT);
}

int journal_batch_head_get(const uint8_t in[JOURNAL_BATCH_BYTES],
                           struct journal_batch_head *out)
{
    int rv = check(in, MAGIC_BATCH, BATCH_CRC_AT);

    if (rv != 0) {
        return rv;
    }
    out->salt = wire_load_u64(in + 8);
    out->segment = wire_load_u64(in + 16);
    out->offset = wire_load_u32(in + 24);
    out->body_len = wire_load_u32(in + 28);
    out->first_seq = wire_load_u64(in + 32);
    out->durable = wire_load_u64(in + 40);
    out->n_records = wire_load_u32(in + 48);
    out->life = wire_load_u32(in + 52);
    out->link = wire_load_u32(in + 56);
    return 0;
}

bool journal_batch_head_flip(const uint8_t in[JOURNAL_BATCH_BYTES],
                             struct journal_flip *out)
{
    return flip_of(in, BATCH_CRC_AT, out);
}

uint32_t journal_batch_head_crc(const uint8_t in[JOURNAL_BATCH_BYTES])
{
    return wire_load_u32(in + BATCH_CRC_AT);
}

uint64_t journal_batch_span(uint64_t body_len)
{
    return (JOURNAL_BATCH_BYTES + body_len + JOURNAL_BLOCK - 1) &
           ~(uint64_t)(JOURNAL_BLOCK - 1);
}

/* The CRC at 0 covers the rest of the header and the head. */
static uint32_t record_crc(const uint8_t *header, const void *head, size_t head_len)
{
    uint32_t crc = crc32c(0, header + 4, JOURNAL_RECORD_BYTES - 4);

    return head_len == 0 ? crc : crc32c(crc, head, head_len);
}

void journal_record_put(const struct journal_record *record, const void *head,
                        uint8_t out[JOURNAL_RECORD_BYTES])
{
    memset(out, 0, JOURNAL_RECORD_BYTES);
    out[4] = VERSION;
    out[5] = record->type;
    out[6] = record->entry_type;
    wire_store_u64(out + 8, record->seq);
    wire_store_u64(out + 16, record->salt);
    wire_store_u64(out + 24, record->index);
    wire_store_u64(out + 32, record->term);
    wire_store_u32(out + RECORD_HEAD_LEN_AT, record->head_len);
    wire_store_u32(out + 44, record->payload_len);
    wire_store_u32(out + 48, record->payload_crc);
    wire_store_u32(out, record_crc(out, head, record->head_len));
}

int journal_record_head_get(const uint8_t *at, size_t room, struct journal_record *out)
{
    uint32_t head_len;

    if (room < JOURNAL_RECORD_BYTES) {
        return -EUCLEAN;
    }
    head_len = wire_load_u32(at + RECORD_HEAD_LEN_AT);
    if (head_len > room - JOURNAL_RECORD_BYTES ||
        wire_load_u32(at) != record_crc(at, at + JOURNAL_RECORD_BYTES, head_len)) {
        return -EUCLEAN;
    }
    if (at[4] != VERSION) {
        return -EPROTONOSUPPORT;
    }
    out->type = at[5];
    out->entry_type = at[6];
    out->seq = wire_load_u64(at + 8);
    out->salt = wire_load_u64(at + 16);
    out->index = wire_load_u64(at + 24);
    out->term = wire_load_u64(at + 32);
    out->head_len = head_len;
    out->payload_len = wire_load_u32(at + 44);
    out->payload_crc = wire_load_u32(at + 48);
    return 0;
}

int journal_record_get(const uint8_t *at, size_t room, struct journal_record *out)
{
    struct journal_record record;
    int rv = journal_record_head_get(at, room, &record);

    if (rv != 0) {
        return rv;
    }
    if (journal_record_span(record.head_len, record.payload_len) > room ||
        crc32c(0, at + journal_record_payload_at(record.head_len), record.payload_len) !=
            record.payload_crc) {
        return -EUCLEAN;
    }
    *out = record;
    return 0;
}

/* Is it the record that is wanted, if this bit is set right? */
static bool flips_to(uint8_t *at, size_t room, const struct journal_record *want,
                     struct journal_flip flip)
{
    struct journal_record record;
    bool is_it;

    at[flip.at] ^= flip.mask;
    is_it = journal_record_head_get(at, room, &record) == 0 &&
            record.salt == want->salt && record.seq == want->seq &&
            journal_record_span(record.head_len, record.payload_len) <= room;
    at[flip.at] ^= flip.mask;
    return is_it;
}

/* The bit that the CRC points to, the bytes of the head being as many as it says. */
static bool record_flip_of(const uint8_t *at, size_t room, struct journal_flip *out)
{
    uint32_t head_len = wire_load_u32(at + RECORD_HEAD_LEN_AT);
    uint64_t covered = (uint64_t)JOURNAL_RECORD_BYTES - 4 + head_len;
    uint64_t bit;

    if (head_len > room - JOURNAL_RECORD_BYTES || head_len > JOURNAL_FLIP_MAX) {
        return false;
    }
    bit = crc32c_flipped(
        wire_load_u32(at) ^ record_crc(at, at + JOURNAL_RECORD_BYTES, head_len), covered);
    if (bit == CRC32C_NO_BIT) {
        return false;
    }
    bit = bit < 8 * covered ? bit + 32 : bit - 8 * covered; /* The CRC comes first. */
    *out = (struct journal_flip){.at = (uint32_t)(bit / 8),
                                 .mask = (uint8_t)(1u << bit % 8)};
    return true;
}

bool journal_record_flip(uint8_t *at, size_t room, const struct journal_record *want,
                         struct journal_flip *out)
{
    struct journal_flip found;
    uint32_t n = 0;

    if (room < JOURNAL_RECORD_BYTES) {
        return false;
    }
    if (record_flip_of(at, room, &found) && found.at / 4 != RECORD_HEAD_LEN_AT / 4 &&
        flips_to(at, room, want, found)) {
        n++;
    }
    /* If the length itself flipped, the CRC says nothing before it is right. */
    for (uint32_t bit = 0; bit < 32; bit++) {
        struct journal_flip flip = {.at = RECORD_HEAD_LEN_AT + bit / 8,
                                    .mask = (uint8_t)(1u << bit % 8)};

        if (flips_to(at, room, want, flip)) {
            found = flip;
            n++;
        }
    }
    if (n == 1) {
        *out = found;
    }
    return n == 1;
}

bool journal_payload_flip(const uint8_t *at, const struct journal_record *record,
                          struct journal_flip *out)
{
    uint64_t payload_at = journal_record_payload_at(record->head_len);
    uint32_t len = record->payload_len;
    uint64_t bit;

    if (len > JOURNAL_FLIP_MAX) {
        return false;
    }
    bit = crc32c_flipped(record->payload_crc ^ crc32c(0, at + payload_at, len), len);
    if (bit >= 8 * (uint64_t)len) {
        return false; /* None: the CRC lies in the header, and that checks. */
    }
    *out = (struct journal_flip){.at = (uint32_t)(payload_at + bit / 8),
                                 .mask = (uint8_t)(1u << bit % 8)};
    return true;
}

uint64_t journal_record_payload_at(uint32_t head_len)
{
    return JOURNAL_RECORD_BYTES + fill8(head_len);
}

uint64_t journal_record_span(uint32_t head_len, uint32_t payload_len)
{
    return journal_record_payload_at(head_len) + fill8(payload_len);
}

void journal_snapshot_put(const struct journal_snapshot *state,
                          uint8_t out[JOURNAL_STATE_BYTES])
{
    wire_store_u64(out, state->term);
    wire_store_u64(out + 8, state->vote);
    wire_store_u64(out + 16, state->base_index);
    wire_store_u64(out + 24, state->base_term);
    wire_store_u64(out + 32, state->last_index);
}

void journal_snapshot_get(const uint8_t in[JOURNAL_STATE_BYTES],
                          struct journal_snapshot *out)
{
    out->term = wire_load_u64(in);
    out->vote = wire_load_u64(in + 8);
    out->base_index = wire_load_u64(in + 16);
    out->base_term = wire_load_u64(in + 24);
    out->last_index = wire_load_u64(in + 32);
}

void journal_floor_put(const struct journal_floor *floor,
                       uint8_t out[JOURNAL_FLOOR_BYTES])
{
    memset(out, 0, JOURNAL_FLOOR_BYTES);
    memcpy(out + 8, floor->zone_id, sizeof floor->zone_id);
    wire_store_u64(out + 24, floor->segment);
    wire_store_u64(out + 32, floor->base_index);
    wire_store_u64(out + 40, floor->base_term);
    wire_store_u64(out + 48, floor->durable);
    seal(out, MAGIC_FLOOR, FLOOR_CRC_AT);
}

int journal_floor_get(const uint8_t *in, size_t len, struct journal_floor *out)
{
    int rv = len == JOURNAL_FLOOR_BYTES ? check(in, MAGIC_FLOOR, FLOOR_CRC_AT) : -EUCLEAN;

    if (rv != 0) {
        return rv;
    }
    memcpy(out->zone_id, in + 8, sizeof out->zone_id);
    out->segment = wire_load_u64(in + 24);
    out->base_index = wire_load_u64(in + 32);
    out->base_term = wire_load_u64(in + 40);
    out->durable = wire_load_u64(in + 48);
    return 0;
}

bool journal_floor_flip(const uint8_t *in, size_t len, struct journal_flip *out)
{
    return len == JOURNAL_FLOOR_BYTES && flip_of(in, FLOOR_CRC_AT, out);
}
