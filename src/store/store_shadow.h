/*
 * store_shadow: what the parts of a shadow share. A shadow is the meta.db of the next
 * generation. Its block rows are data that the live files hold already, and pulled blocks
 * that were placed in data/, where they stay (store_place.c). Its extents are pulled blocks
 * that could not be: they lie in pull.<generation>/ until they settle as any extent does.
 */
#ifndef STORE_STORE_SHADOW_H
#define STORE_STORE_SHADOW_H

#include "store/store_priv.h"

#define SHADOW_FILES_MAX 128u  /* Written and not yet synced. */
#define SHADOW_BLOCKS_MAX 256u /* Written between two commits. */

/* A number of the shadow: the live applied index at which what is placed was placed. */
#define STORE_PLACED_AT STORE_LOCAL "placed_at"

/* What the row of a block in `list` says of it. */
enum shadow_state {
    SHADOW_HERE = 0,          /* Taken over, or pulled and beside. */
    SHADOW_WANTED = 1,        /* To be pulled. */
    SHADOW_PLACED = 2,        /* Pulled, and in data/. */
    SHADOW_PLACED_BEFORE = 3, /* By an earlier loading; this one did not list it yet. */
};

struct shadow_file {
    uint64_t ino;
    uint64_t generation; /* Of the folder: 0 for data/. */
    uint64_t size;
    struct disk_file *file;
};

/* The folders of one place. */
struct shadow_folders {
    bool dirty[STORE_FOLDERS];
    bool synced[STORE_FOLDERS]; /* At least once since the shadow was opened. */
};

struct store_shadow {
    struct store *store;
    struct store_db db;
    uint64_t generation;
    bool in_txn;
    bool begun;     /* RECORD_HEAD came. */
    bool ended;     /* RECORD_END came, and all was there. */
    uint64_t index; /* Of the view. */
    uint64_t records;
    uint32_t crc;
    uint64_t epoch; /* The live store's, when its first block was taken over. */
    struct shadow_file files[SHADOW_FILES_MAX];
    uint32_t n_files;
    uint32_t n_blocks;
    struct shadow_folders beside;
    struct shadow_folders placed;
    uint64_t placed_at; /* The live applied index, and the epoch at which it was so. */
    uint64_t place_epoch;
    bool moved;         /* It is another by now. */
    uint64_t asked_ino; /* The last that shadow_place_may looked at; 0 none. */
    bool asked_may;
    struct store_pulled pulled;
    uint64_t intended_ino; /* The last that has a row of garbage; 0 none. */
    struct store_layers layers;
    uint8_t *bytes; /* STORE_BLOCK. */
};

/* Begin a transaction unless there is one. */
int shadow_begin(struct store_shadow *shadow);
/* Loading begins: all rows go, but not the blocks that were pulled before. */
int shadow_restart(struct store_shadow *shadow);
/* Sync what was written, then commit the rows that tell of it. */
int shadow_commit(struct store_shadow *shadow, bool durable);
/* The file of @ino in data/ (@generation 0) or in the pull's folder, to be written; it is
 * synced with the next commit. */
int shadow_file_get(struct store_shadow *shadow, uint64_t generation, uint64_t ino,
                    struct shadow_file **out);
int shadow_write(struct store_shadow *shadow, struct shadow_file *file,
                 const struct iovec *iov, uint64_t offset);
/* A block is there: note it, and commit now and then. */
int shadow_put_done(struct store_shadow *shadow, const struct store_want *block,
                    enum shadow_state state);
/* Put a block's bytes beside the live ones and a row for them. @len 0: zeros. */
int shadow_put_block(struct store_shadow *shadow, const struct store_want *block,
                     const void *data, size_t len);
/* Remember that the pulled state is only right from @index on. */
int shadow_raise_floor(struct store_shadow *shadow, uint64_t index);
/* True if the live store's block has this version and is wholly settled. */
int shadow_live_settled(struct store_shadow *shadow, const struct store_want *block,
                        bool *same);

/*
 * store_place.c: blocks that are pulled into data/ itself.
 */
/* Loading begins, in a transaction: keep what earlier ones placed, if it can be relied on. */
int shadow_place_begin(struct store_shadow *shadow);
/* True if blocks of @ino may be placed. */
int shadow_place_may(struct store_shadow *shadow, uint64_t ino, bool *may);
/* Blocks of @ino are going to be, if they may: say so, before the loading's last commit. */
int shadow_place_intend(struct store_shadow *shadow, uint64_t ino);
/* @block, of just the view's version, which is @data and zeros behind it. */
int shadow_place_put(struct store_shadow *shadow, const struct store_want *block,
                     struct slice data);
/* True if an earlier loading placed it, at this version; its row is kept. */
int shadow_place_before(struct store_shadow *shadow, const struct store_want *block,
                        bool *have);
/* All rows came: drop what was placed before and is no longer part of the zone. */
int shadow_place_loaded(struct store_shadow *shadow);
/* Before the switch: *@lost: some blocks are wanted again. */
int shadow_place_check(struct store_shadow *shadow, bool *lost);

#endif
