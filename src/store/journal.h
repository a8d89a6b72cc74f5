/*
 * journal: the truth of one zone on one member: raft's log, its term and vote, and the
 * payload of WRITEs, in prewritten, recycled segments.
 *
 * A batch of records is made durable by one write and one datasync (group commit). A
 * batch begins on a 4 KiB boundary, so a torn write never touches an older batch. Every
 * record has a version, a rising sequence number and a CRC32C; each batch header says
 * up to which sequence the journal was already durable, so recovery can tell a torn
 * tail (cut, nothing acknowledged was in it) from damage in the middle (-EUCLEAN,
 * nothing is changed). One flipped bit of a header, a head or a short payload is set
 * right at the opening. Format: docs/formats/journal.md.
 *
 * Threads: journal_append is called by one thread (the journal's own); journal_pread
 * and journal_fetch by any others; open, recover and close while nobody else is
 * inside. journal_append after a fault keeps failing: a failed sync is never retried.
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "base/buf.h"
#include "base/disk.h"

#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_HEAD_MAX (3u << 20)    /* Bytes of one entry's head. */
#define JOURNAL_PAYLOAD_MAX (1u << 20) /* Bytes of one entry's payload. */
#define JOURNAL_BATCH_MAX 4096u        /* Records in one append. */

struct journal;

/* Where a payload lies. Segment numbers rise for ever; 0 means nowhere. */
struct journal_place {
    uint64_t segment;
    uint64_t offset;
    uint32_t crc; /* CRC32C of the whole payload as it was written; 0: not known. */
};

/* One raft log entry. */
struct journal_entry {
    uint64_t index;
    uint64_t term;
    uint8_t type; /* enum rgroup_entry_type; opaque here. */
    struct slice head;
    struct slice payload;       /* May be empty. */
    struct journal_place place; /* Out: where the payload went. */
};

/*
 * One batch, in this order: the meta record if @has_meta, then a cut to @base if
 * @has_base, then the entries. An entry whose index is not beyond the last one voids
 * everything from there on (raft's truncation).
 */
struct journal_batch {
    bool has_meta;
    uint64_t term;
    uint64_t vote;
    bool has_base; /* The log is dropped and begins anew after @base_index. */
    uint64_t base_index;
    uint64_t base_term;
    /* Nobody is going to read this soon: a large batch need not go through the page cache.
     * It is as durable, and reads find it, either way. */
    bool unread;
    struct journal_entry *entries;
    uint32_t n_entries;
};

/* What recovery found. Entries come without payload bytes; heads are in memory. */
struct journal_state {
    uint64_t term;
    uint64_t vote;
    uint64_t base_index; /* Entries begin at base_index + 1; 0, 0 for a new log. */
    uint64_t base_term;
    uint64_t last_index;
};

struct journal_config {
    struct disk *disk;
    const char *dir; /* "<dataset>/journal", or on another device. */
    uint8_t zone_id[16];
    uint64_t segment_bytes;  /* Default 16 MiB; a new segment is prewritten. */
    uint32_t spare_segments; /* Recycled segments kept for reuse. */
    bool create;             /* Only for a new zone; else a missing folder is -ENOENT. */
    uint64_t
        seed; /* For salts; 0: from the system. A simulation: another at each open. */
};

/*
 * Open and recover. *@state is the durable state. @each is called for every live entry
 * in rising index order, after truncations are resolved (its head is borrowed for the
 * call). -EUCLEAN: damage below the durable mark, named in the log; -EEXIST: another
 * zone's journal.
 */
int journal_open(const struct journal_config *config, struct journal_state *state,
                 int (*each)(void *ctx, const struct journal_entry *entry), void *ctx,
                 struct journal **out);
void journal_close(struct journal *journal);

/*
 * Write and make durable. On return of 0 every place is filled in (also without payload:
 * where it would lie). -EINVAL: an entry leaves a gap or lies at or below the base, or
 * the base would go back; -EFBIG: an entry that no segment can hold. Both change nothing
 * and can be followed by a better batch. So does and can -ENOSPC: there is no room for a
 * segment that it takes, or the file system could not take the write. Any other fault
 * stays.
 */
int journal_append(struct journal *journal, struct journal_batch *batch);
/*
 * For the appending thread when it has nothing to append: write down that everything is
 * durable (so that damage to the newest batch is told from a torn tail), and have the
 * next segment prewritten. May take as long as writing one segment. Failing does no
 * harm yet: the next append tries again.
 */
int journal_prepare(struct journal *journal);

/* Read payload bytes back. -EUCLEAN cannot be seen here: the caller checks its CRC. */
int journal_pread(struct journal *journal, struct journal_place place, void *buf,
                  size_t len);
/*
 * The same past the page cache, for what is read once: @room bytes from @buf on, which is a
 * multiple of DISK_DIRECT_ALIGN, may be overwritten, and *@at is where in them the payload
 * begins. @room is at least @len and twice DISK_DIRECT_ALIGN.
 */
int journal_read_once(struct journal *journal, struct journal_place place,
                      struct iovec room, size_t len, uint8_t **at);
/*
 * Read entries [@first, @first + @n) back from disk, heads and payloads, in new buffers,
 * CRC checked, at most @max_bytes (but at least one). *@got says how many. The caller
 * unrefs each head and payload. Fewer than @n if the log ends before; OUT_NOENT if
 * @first is not in the log (compacted, or not yet durable). -EUCLEAN: damage.
 */
int journal_fetch(struct journal *journal, uint64_t first, uint32_t n, size_t max_bytes,
                  struct journal_entry *out, uint32_t *got);

/*
 * The log up to and including @index is compacted (covered by a snapshot descriptor
 * {index, term} that the caller made durable in meta.db): it stays on disk only as long
 * as its payload is pinned by extents. Sets the base reported at the next open. Durable
 * on return (two syncs: not for an event loop). Any one thread at a time may be in
 * journal_compact or journal_release, while others append and read. -EINVAL: @index is
 * beyond the last durable entry; no-op at or below the base.
 */
int journal_compact(struct journal *journal, uint64_t index, uint64_t term);
/*
 * Recycle or remove every segment below @segment whose entries are all compacted:
 * no extent points below @segment any more. Returns 0 or a fault.
 */
int journal_release(struct journal *journal, uint64_t segment);
/* Keep at most @n recycled segments from now on (no more than were configured), and
 * remove the others: on a full disk their room is needed. From any thread. */
void journal_keep_spares(struct journal *journal, uint32_t n);
/* The segment now written; extents of new entries lie in it or beyond. */
uint64_t journal_segment(const struct journal *journal);
/* The lowest live segment. */
uint64_t journal_floor_segment(const struct journal *journal);
/*
 * True if something in a live segment was damaged or could not be read: it is to be
 * released as soon as nothing needs it. *@index: the last entry of the log that lies in it
 * or before, and has to be compacted for that; 0: none. From any thread.
 */
bool journal_bad(const struct journal *journal, uint64_t *index);
/* Bytes of all live segments on disk. */
uint64_t journal_bytes(const struct journal *journal);
/* Live entries are [first, last]; none if last < first. From any thread. */
uint64_t journal_first_index(const struct journal *journal);
uint64_t journal_last_index(const struct journal *journal);

#endif
