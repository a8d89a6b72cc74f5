/*
 * store_shadow: what the parts of a shadow share. A shadow is the meta.db of the next
 * generation: its block rows are data that the live files hold already, its extents are
 * pulled blocks, which lie in pull.<generation>/ until they settle as any extent does.
 */
#ifndef STORE_STORE_SHADOW_H
#define STORE_STORE_SHADOW_H

#include "store/store_priv.h"

#define SHADOW_FILES_MAX 128u  /* Written and not yet synced. */
#define SHADOW_BLOCKS_MAX 256u /* Written between two commits. */

struct shadow_file {
    uint64_t ino;
    struct disk_file *file;
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
    bool dirty_folders[STORE_FOLDERS];
    bool synced_folders[STORE_FOLDERS]; /* At least once since the shadow was opened. */
    struct store_layers layers;
    uint8_t *bytes; /* STORE_BLOCK. */
};

/* Begin a transaction unless there is one. */
int shadow_begin(struct store_shadow *shadow);
/* Loading begins: all rows go, but not the blocks that were pulled before. */
int shadow_restart(struct store_shadow *shadow);
/* Sync what was written, then commit the rows that tell of it. */
int shadow_commit(struct store_shadow *shadow, bool durable);
/* Put a block's bytes beside the live ones and a row for them. @len 0: zeros. */
int shadow_put_block(struct store_shadow *shadow, const struct store_want *block,
                     const void *data, size_t len);
/* Remember that the pulled state is only right from @index on. */
int shadow_raise_floor(struct store_shadow *shadow, uint64_t index);
/* True if the live store's block has this version and is wholly settled. */
int shadow_live_settled(struct store_shadow *shadow, const struct store_want *block,
                        bool *same);

#endif
