/*
 * journal_impl: what the journal's own files share. Nobody else includes it.
 *
 * Two locks. @lock guards what readers see (the index and the list of segments); it is
 * held for moments only and never over I/O. @control is held over the I/O that changes
 * which files there are. Order: control, then lock.
 */
#ifndef STORE_JOURNAL_IMPL_H
#define STORE_JOURNAL_IMPL_H

#include "base/prng.h"
#include "store/journal.h"
#include "store/journal_format.h"

#include <limits.h>
#include <pthread.h>
#include <sys/uio.h>

#define JOURNAL_PATH_MAX PATH_MAX
#define JOURNAL_SEGMENTS_MAX 65536u
#define JOURNAL_STAGE_BYTES (1u << 20) /* Headers and small bodies of one write. */
#define JOURNAL_COPY_MAX 4096u         /* Up to this size bodies are copied there. */
#define JOURNAL_DIRECT_MIN \
    (256u << 10)              /* From here on a batch may go past the page cache. */
#define JOURNAL_IOV_MAX 1000u /* Below the disk's 1024. */

/* Where one live entry lies. */
struct journal_slot {
    uint64_t segment;
    uint64_t term;
    uint32_t offset; /* Of its record. */
    uint32_t head_len;
    uint32_t payload_len;
    uint8_t type;
};

/* The live entries [first, first + n), without holes. */
struct journal_index {
    uint64_t first;
    struct journal_slot *slots;
    size_t at; /* The first one's position in @slots. */
    size_t n;
    size_t cap;
};
/* Make room for @n more, so that as many puts cannot fail. */
int journal_index_reserve(struct journal_index *index, size_t n);
/* Put entry @at, voiding it and all behind it; @at is at most one beyond the last. */
void journal_index_put(struct journal_index *index, uint64_t at,
                       const struct journal_slot *slot);
const struct journal_slot *journal_index_get(const struct journal_index *index,
                                             uint64_t at);
/* Forget everything up to @base. */
void journal_index_drop(struct journal_index *index, uint64_t base);
/* Forget everything; the next entry is @base + 1. */
void journal_index_reset(struct journal_index *index, uint64_t base);
uint64_t journal_index_last(const struct journal_index *index);

struct journal_segment {
    uint64_t number;
    uint64_t salt;
    uint64_t bytes;
    struct disk_file *file;
    uint32_t readers; /* Inside now. */
    bool gone;        /* Off the list and off the disk: the last reader frees it. */
    bool bad;         /* Something in it was damaged, or could not be read. */
};

/* The batch being put together by the appending thread. */
struct journal_pack {
    uint8_t *stage; /* Begins with the batch's header. */
    size_t staged;
    struct iovec *iov;
    uint32_t n_iov;
    uint32_t n_records;
    uint64_t first_seq;
    uint64_t body_len;
};

struct journal {
    struct disk *disk;
    char *dir;
    uint8_t zone_id[16];
    uint64_t segment_bytes;
    uint32_t spare_max;  /* Kept at most, under @control; */
    uint32_t spare_room; /* never more than that. */

    pthread_mutex_t control;
    struct prng salts;
    uint64_t *spares; /* Numbers in the names of at most @spare_max files. */
    uint32_t n_spares;

    /* The appending thread's. */
    struct journal_segment *active; /* The current one; never recycled. */
    struct journal_pack pack;
    struct journal_snapshot stream; /* After the last record packed. */
    uint64_t next_seq;
    bool unread;   /* As of the batch that is being packed. */
    uint32_t life; /* As in a batch's header. */
    uint32_t link;
    uint64_t tail;         /* In the current segment: where the next batch goes. */
    bool unsynced;         /* The current segment was written to since its last sync. */
    bool marked;           /* @tail holds a mark of all that is durable. */
    int fault;             /* Of an earlier write or sync: stays. */
    bool leaves;           /* The batch is to go to the next segment, */
    bool stays;            /* which there was no room for: not before this one is full. */
    bool dry;              /* Packing only counts: nothing is copied or written. */
    uint32_t dry_segments; /* Empty ones that it went on to. */
    struct journal_segment dry_active; /* Stands for the last of them. */

    pthread_mutex_t lock;
    struct journal_segment **segments; /* Numbers rise by one. */
    size_t n_segments;
    size_t cap_segments;
    size_t current; /* Segments behind it are prewritten and empty. */
    struct journal_index index;
    uint64_t voids; /* How often entries were voided. */
    uint64_t base_index;
    uint64_t base_term;
    uint64_t durable;         /* Sequence of the last durable record; 0 none. */
    uint64_t durable_segment; /* Where that record is: at most the current one. */
};

enum journal_file { JOURNAL_FILE_SEGMENT, JOURNAL_FILE_SPARE, JOURNAL_FILE_NEW };
void journal_path(const struct journal *journal, enum journal_file kind, uint64_t number,
                  char out[JOURNAL_PATH_MAX]);

/* Append to the list. Takes @segment unless it fails. */
int journal_segments_add(struct journal *journal, struct journal_segment *segment);
/* Have one more empty segment behind the last, made from a spare or new, durable. */
int journal_segments_make(struct journal *journal);
/* Take the segments below @floor off the list and recycle them. Under @control. */
int journal_segments_drop(struct journal *journal, uint64_t floor);
/* Rename or remove a closed segment file that is no longer listed. Under @control. */
int journal_segment_recycle(struct journal *journal, uint64_t number, bool keep);
/* The empty segment behind the current one, or NULL. */
struct journal_segment *journal_segment_ready(struct journal *journal);
/* A reader's hold on a segment; NULL if it is not there (any more). */
struct journal_segment *journal_segment_get(struct journal *journal, uint64_t number);
void journal_segment_put(struct journal *journal, struct journal_segment *segment);
/* Reading from it gave @rv: remember a bad one. It is left for the next one soon, and its
 * file is not used again. */
void journal_segment_judge(struct journal *journal, struct journal_segment *segment,
                           int rv);
bool journal_segment_is_bad(struct journal *journal,
                            const struct journal_segment *segment);
/* Fill in a new journal from its folder. */
int journal_recover(struct journal *journal, bool create);
/* Replace the file "floor", durably. */
int journal_floor_write(struct journal *journal, const struct journal_floor *floor);
/* Write a mark where the next batch will go: everything so far is durable. */
int journal_mark(struct journal *journal, bool sync);

#endif
