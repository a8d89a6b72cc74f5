/*
 * scrub: when a member of a zone looks at its data, how fast, and what came of it.
 *
 * A pure state machine: host_scrub.c reads the disk, heals and asks the others. A scrub
 * first reads every block at a bounded rate, and has what is bad healed; then it compares
 * this member's digest with the others'. It goes on after a restart where it was: the
 * state is kept in the dataset. Times are seconds since 1970 (the schedule) and monotonic
 * milliseconds (the pace).
 */
#ifndef DAEMON_SCRUB_H
#define DAEMON_SCRUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRUB_NAMES_MAX 16u
#define SCRUB_STATE_MAX 512u /* Encoded. */
#define SCRUB_READ_BYTES (256u << 10)
#define SCRUB_SAVE_MS 5000u
/* What a read took is followed by as many times that without one: clients come first, and
 * where they make it wait it waits the longer. */
#define SCRUB_IDLE_TIMES 3u
#define SCRUB_COMPARE_TRIES 10u
#define SCRUB_COMPARE_MS 1000u /* Between two tries. */

struct scrub_config {
    uint64_t rate_bytes; /* A second; not 0. */
    uint64_t every_s;    /* 0: only when it is asked for. */
};

enum scrub_phase { SCRUB_IDLE = 0, SCRUB_READING = 1, SCRUB_COMPARING = 2 };

enum scrub_verdict {
    SCRUB_NOT_COMPARED = 0, /* Not yet, or nobody could be compared with. */
    SCRUB_EQUAL = 1,        /* With everybody that could be asked. */
    SCRUB_DIFFERS = 2,      /* With .other. */
};

struct scrub_place {
    uint64_t ino;
    uint64_t block;
};

struct scrub_state {
    enum scrub_phase phase;
    struct scrub_place next;
    uint64_t begun_s; /* 0: never. */
    uint64_t ended_s;
    uint64_t blocks; /* Looked at. */
    uint64_t bytes;
    uint64_t bad;
    uint64_t healed;
    uint64_t unhealed; /* The first of them by name: */
    struct scrub_place names[SCRUB_NAMES_MAX];
    enum scrub_verdict verdict;
    uint64_t compared_index;
    uint64_t compared; /* Members. */
    uint64_t other;    /* Raft id. */
};

struct scrub {
    struct scrub_config config;
    struct scrub_state state;
    bool busy;        /* A read is under way. */
    uint32_t pending; /* Bad blocks that are being healed. */
    uint64_t next_ms;
    uint64_t saved_ms;
    uint32_t tries; /* To compare. */
    bool unsaved;
};

/* What this member was told when it last ran: @bytes, or none. A member that never was
 * scrubbed is first when config->every_s have passed. */
void scrub_init(struct scrub *scrub, const struct scrub_config *config,
                const uint8_t *bytes, size_t len, uint64_t now_s);
void scrub_start(struct scrub *scrub, uint64_t now_s, uint64_t now_ms);
void scrub_stop(struct scrub *scrub, uint64_t now_s);

enum scrub_action {
    SCRUB_DO_NOTHING = 0,
    SCRUB_DO_READ = 1,    /* From state.next on; scrub_read_done will be called. */
    SCRUB_DO_COMPARE = 2, /* scrub_compared will be called. */
    SCRUB_DO_SAVE = 3,    /* The encoded state; scrub_saved will be called. */
};
enum scrub_action scrub_next(struct scrub *scrub, uint64_t now_s, uint64_t now_ms);

struct scrub_read {
    int rv; /* Not 0: it is tried again. */
    struct scrub_place next;
    uint32_t blocks;
    uint64_t bytes;
    uint64_t took_ms; /* With the time it waited for its turn. */
    uint32_t n_bad;   /* Each is followed by scrub_block_done. */
    bool end;
};
void scrub_read_done(struct scrub *scrub, const struct scrub_read *read, uint64_t now_ms);
void scrub_block_done(struct scrub *scrub, const struct scrub_place *place, bool healed);

struct scrub_compare {
    uint32_t equal;
    uint32_t open; /* Could not be asked, or are at another index. */
    uint64_t index;
    uint64_t differs; /* Raft id; 0 none. */
};
void scrub_compared(struct scrub *scrub, const struct scrub_compare *compare,
                    uint64_t now_s, uint64_t now_ms);
void scrub_saved(struct scrub *scrub, int rv, uint64_t now_ms);
/* Returns the length. */
size_t scrub_encode(const struct scrub *scrub, uint8_t out[SCRUB_STATE_MAX]);
/* When scrub_next has something, as far as the pace goes; UINT64_MAX: the schedule's. */
uint64_t scrub_wake_ms(const struct scrub *scrub);

#endif
