/*
 * journal_format: the bytes of the journal's files. Described in docs/formats/journal.md.
 *
 * Pure: no file is touched here. Every _get checks magic, CRC and version and trusts
 * nothing; it returns 0, -EUCLEAN (these bytes are not what they should be) or
 * -EPROTONOSUPPORT (intact, but written by a newer version).
 */
#ifndef STORE_JOURNAL_FORMAT_H
#define STORE_JOURNAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_BLOCK 4096u      /* Every batch begins on a multiple of this. */
#define JOURNAL_BATCH_BYTES 64u  /* A batch's header. */
#define JOURNAL_RECORD_BYTES 64u /* A record's header. */
#define JOURNAL_STATE_BYTES 40u  /* The head of a STATE record. */
#define JOURNAL_FLOOR_BYTES 68u  /* The whole of the file "floor". */
#define JOURNAL_FLIP_MAX 512u /* Bytes of a head, or payload, where one is looked for. */
#define JOURNAL_SEGMENT_MIN (4u * JOURNAL_BLOCK)
#define JOURNAL_SEGMENT_MAX (1u << 30)

/*
 * The one bit whose flip explains that a structure does not check; it is still to be set
 * right, and the structure to be looked at again. The _flip functions are false if there is
 * none, or more than one.
 */
struct journal_flip {
    uint32_t at; /* Byte, from the structure's first on. */
    uint8_t mask;
};

/* The first block of a segment. */
struct journal_segment_head {
    uint64_t number; /* From 1; the file's name says it too. */
    uint64_t salt;   /* In every batch and record: older contents have another. */
    uint64_t bytes;  /* The file's size. */
    uint8_t zone_id[16];
};
void journal_segment_head_put(const struct journal_segment_head *head,
                              uint8_t block[JOURNAL_BLOCK]);
int journal_segment_head_get(const uint8_t block[JOURNAL_BLOCK],
                             struct journal_segment_head *out);
bool journal_segment_head_flip(const uint8_t block[JOURNAL_BLOCK],
                               struct journal_flip *out);

/* What a batch begins with. A batch without records is a mark: it only says @durable. */
struct journal_batch_head {
    uint64_t salt;
    uint64_t segment;
    uint32_t offset;    /* Of this header in its segment. */
    uint32_t body_len;  /* Bytes of records after the header. */
    uint64_t first_seq; /* Of the first record. */
    uint64_t durable;   /* Records up to this sequence were durable before. */
    uint32_t n_records;
    uint32_t life; /* Drawn at each open, so that no two lives write the same header. */
    uint32_t link; /* The CRC of the header of the batch before; 0 for the first. */
};
void journal_batch_head_put(const struct journal_batch_head *head,
                            uint8_t out[JOURNAL_BATCH_BYTES]);
int journal_batch_head_get(const uint8_t in[JOURNAL_BATCH_BYTES],
                           struct journal_batch_head *out);
bool journal_batch_head_flip(const uint8_t in[JOURNAL_BATCH_BYTES],
                             struct journal_flip *out);
/* The header's own CRC: the next batch's link. */
uint32_t journal_batch_head_crc(const uint8_t in[JOURNAL_BATCH_BYTES]);
/* Bytes from this batch to the next place where one may begin. */
uint64_t journal_batch_span(uint64_t body_len);

enum journal_record_type {
    JOURNAL_STATE = 1, /* First in each segment: everything older segments said. */
    JOURNAL_META = 2,  /* index: term, term: vote. */
    JOURNAL_CUT = 3,   /* index, term: of the new base. */
    JOURNAL_ENTRY = 4,
};

/* A record's header; head, then payload follow it, each filled up to 8 bytes. */
struct journal_record {
    uint8_t type;
    uint8_t entry_type; /* ENTRY only. */
    uint64_t seq;
    uint64_t salt;
    uint64_t index;
    uint64_t term;
    uint32_t head_len;
    uint32_t payload_len;
    uint32_t payload_crc;
};
/* @head: its bytes go into the header's CRC. */
void journal_record_put(const struct journal_record *record, const void *head,
                        uint8_t out[JOURNAL_RECORD_BYTES]);
/* Checks header and head, which lie in the @room bytes at @at. */
int journal_record_head_get(const uint8_t *at, size_t room, struct journal_record *out);
/* The same, and the payload, which lies there too. */
int journal_record_get(const uint8_t *at, size_t room, struct journal_record *out);
/* In header or head. @want: the salt and seq that the record must have. @at is as before on
 * return. */
bool journal_record_flip(uint8_t *at, size_t room, const struct journal_record *want,
                         struct journal_flip *out);
/* In the payload of @record, which lies there whole; header and head check. */
bool journal_payload_flip(const uint8_t *at, const struct journal_record *record,
                          struct journal_flip *out);
/* Bytes that a record with these lengths takes; the payload's distance from its start. */
uint64_t journal_record_span(uint32_t head_len, uint32_t payload_len);
uint64_t journal_record_payload_at(uint32_t head_len);

/* What a STATE record says: everything about the log before its own batch. */
struct journal_snapshot {
    uint64_t term;
    uint64_t vote;
    uint64_t base_index;
    uint64_t base_term;
    uint64_t last_index;
};
void journal_snapshot_put(const struct journal_snapshot *state,
                          uint8_t out[JOURNAL_STATE_BYTES]);
void journal_snapshot_get(const uint8_t in[JOURNAL_STATE_BYTES],
                          struct journal_snapshot *out);

/* The file "floor": what compaction and release made durable. */
struct journal_floor {
    uint8_t zone_id[16];
    uint64_t segment; /* The lowest live one. */
    uint64_t base_index;
    uint64_t base_term;
    uint64_t durable; /* A sequence, as in a batch's header. */
};
void journal_floor_put(const struct journal_floor *floor,
                       uint8_t out[JOURNAL_FLOOR_BYTES]);
int journal_floor_get(const uint8_t *in, size_t len, struct journal_floor *out);
bool journal_floor_flip(const uint8_t *in, size_t len, struct journal_flip *out);

#endif
