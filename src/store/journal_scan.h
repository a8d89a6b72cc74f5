/*
 * journal_scan: what recovery's files share: replaying a journal that is whole
 * (journal_recover.c), setting a flipped bit right (journal_mend.c), and stepping over what
 * is not whole (journal_gap.c). Nobody else includes it.
 */
#ifndef STORE_JOURNAL_SCAN_H
#define STORE_JOURNAL_SCAN_H

#include "store/journal_impl.h"

#define JOURNAL_UNREADABLE_MAX 64u /* Blocks of one segment. */

#define JOURNAL_MENDED_MAX 64u /* Flipped bits of the whole journal. */

/* Numbers found in the folder. */
struct journal_numbers {
    uint64_t *list;
    size_t n;
    size_t cap;
};

/* Records that were durable and are not there: what is not known for want of them. */
struct journal_gap {
    bool entries; /* Where the log ended before the next entry. */
    bool meta;    /* Term and vote. */
    bool
        counted; /* The @n missing ones came next to entry @last, and are all there was. */
    uint64_t last;
    uint64_t n;
    uint64_t need_base; /* Entries up to here may be missing: the base must cover them. */
};

/* A byte of a segment in which a flipped bit is set right: in memory, until all is read. */
struct journal_mended {
    uint64_t segment;
    uint64_t offset;
    uint8_t byte;
};

struct journal_scan {
    struct journal *journal;
    struct journal_numbers segments;
    struct journal_numbers spares;
    struct journal_floor floor;
    bool has_floor;
    bool floor_mended;
    uint8_t *bytes; /* One segment, whole; what cannot be read of it is zeros. */
    uint64_t cap;
    uint64_t unreadable[JOURNAL_UNREADABLE_MAX]; /* Its blocks that cannot be read. */
    uint32_t n_unreadable;
    uint64_t next_seq; /* 0: not known before the first batch. */
    uint64_t durable;  /* The highest that anything says. */
    size_t end;        /* Position of the segment in which the log ends, and where; */
    uint64_t tail;
    uint64_t sound; /* from where on in it batch follows batch. */
    bool blind;     /* The newest batch may lie where nothing can be read. */
    bool steps;     /* Something durable is missing: step over it. */
    struct journal_mended mended[JOURNAL_MENDED_MAX];
    uint32_t n_mended;
    struct journal_gap gap;
};

int journal_scan_damaged(const struct journal_scan *scan, uint64_t segment,
                         uint64_t offset, const char *what);
/* A batch header that was written at @offset of this very segment. */
bool journal_scan_batch_at(const struct journal_scan *scan,
                           const struct journal_segment *segment, uint64_t offset,
                           struct journal_batch_head *out);
/* It was written right behind the batch replayed last. */
bool journal_scan_follows(const struct journal_scan *scan,
                          const struct journal_batch_head *head);
/* Every record is there, unharmed and in its place. */
bool journal_scan_whole(const struct journal_scan *scan,
                        const struct journal_segment *segment,
                        const struct journal_batch_head *head);
/* Replay the record at @offset. -EUCLEAN: it contradicts what was replayed. */
int journal_scan_apply(struct journal_scan *scan, const struct journal_record *record,
                       uint64_t segment, uint64_t offset);

/* Step over what is not whole at *@offset, to where the log goes on in this segment.
 * OUT_NOENT: nowhere, or nothing that was durable is missing there. */
int journal_gap_step(struct journal_scan *scan, struct journal_segment *segment,
                     uint64_t *offset);
/* The header follows, and all that it is the header of was durable. */
bool journal_gap_was_durable(const struct journal_scan *scan,
                             const struct journal_segment *segment,
                             const struct journal_batch_head *head);
/* Before the record is replayed: does it end a gap, and what does that cost? */
int journal_gap_state(struct journal_scan *scan, const struct journal_snapshot *state);
void journal_gap_meta(struct journal_scan *scan);
void journal_gap_cut(struct journal_scan *scan);
void journal_gap_entry(struct journal_scan *scan, uint64_t index);
/* Nothing that is needed is missing, the base being what it is. */
bool journal_gap_closed(const struct journal_scan *scan);

/* Read a segment into scan->bytes, as much of it as can be read. */
int journal_scan_load(struct journal_scan *scan, struct journal_segment *segment);
bool journal_scan_unreadable(const struct journal_scan *scan, uint64_t offset,
                             uint64_t len);

/* Set one flipped bit right in each structure of the batch at @offset that has one, in
 * scan->bytes; see journal_mend.c for when. False: there was nothing to be done. */
bool journal_mend_batch(struct journal_scan *scan, struct journal_segment *segment,
                        uint64_t offset);
/* The same in a segment's header, read into @block, and in the bytes of the file "floor". */
bool journal_mend_segment(struct journal_scan *scan, struct journal_segment *segment,
                          uint8_t block[JOURNAL_BLOCK]);
bool journal_mend_floor(struct journal_scan *scan, uint8_t *bytes, size_t len);
/* What was set right of a segment is so again, now that it is loaded again. */
void journal_mend_loaded(struct journal_scan *scan,
                         const struct journal_segment *segment);
/* Write what was set right, durably. */
int journal_mend_write(struct journal_scan *scan);

#endif
