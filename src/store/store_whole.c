/* Settling blocks that were written whole, one behind the other: what large sequential
 * writes leave. They are read and written together, and nothing is merged. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/direct.h"
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int store_whole_init(struct store_whole *whole, struct store_settle *settle)
{
    *whole = (struct store_whole){.settle = settle};
    whole->bytes = direct_get();
    return whole->bytes != NULL ? 0 : -ENOMEM;
}

void store_whole_deinit(struct store_whole *whole)
{
    direct_put(whole->bytes);
}

/* All of the block comes from one piece in the journal that is as long. */
static bool is_whole(const struct store_settle_block *b)
{
    const struct store_extent *e = b->extents.all;

    return b->extents.n == 1 && e->kind == STORE_DATA && e->len == STORE_BLOCK &&
           e->piece_len == STORE_BLOCK && b->mask == 0xff && b->small == NULL;
}

/* How many of @n blocks lie one behind the other, in the file and in the journal. */
static uint32_t count(const struct store_settle_block *blocks, uint32_t n)
{
    uint32_t done = 0;

    while (done < n && done < STORE_WHOLE_MAX && is_whole(&blocks[done])) {
        const struct store_extent *first = blocks[0].extents.all;
        const struct store_extent *e = blocks[done].extents.all;

        if (blocks[done].block != blocks[0].block + done ||
            e->segment != first->segment ||
            e->place != first->place + (uint64_t)done * STORE_BLOCK) {
            break;
        }
        done++;
    }
    return done;
}

/* Fills whole->bytes. In the journal the blocks are aligned to nothing, so what is read for
 * them is a little more, and moved. */
static int read_blocks(struct store_whole *whole, const struct store_extent *e,
                       size_t len)
{
    struct journal *journal = whole->settle->store->journal;
    struct journal_place place = {.segment = e->segment, .offset = e->place};
    uint8_t *at;
    int rv;

    if (!whole->settle->unread) {
        return journal_pread(journal, place, whole->bytes, len);
    }
    rv = journal_read_once(
        journal, place, (struct iovec){.iov_base = whole->bytes, .iov_len = DIRECT_BYTES},
        len, &at);
    if (rv == 0) {
        memmove(whole->bytes, at, len);
    }
    return rv;
}

/* Zeros are not written but punched: not here. */
static bool check_block(struct store_settle_block *b, const uint8_t *bytes)
{
    uint32_t crc = 0;

    if (bytes[0] == 0 && memcmp(bytes, bytes + 1, STORE_BLOCK - 1) == 0) {
        return false;
    }
    for (uint32_t i = 0; i < STORE_SUBBLOCKS; i++) {
        b->fresh[i] = crc32c(0, bytes + i * STORE_SUBBLOCK, STORE_SUBBLOCK);
        crc = crc32c_join(crc, b->fresh[i], STORE_SUBBLOCK);
    }
    return crc == b->extents.all[0].crc;
}

static int write_blocks(struct store_whole *whole, struct disk_file *file, uint64_t at,
                        size_t len)
{
    struct store_settle *settle = whole->settle;
    struct disk *disk = settle->store->disk;
    struct iovec iov = {.iov_base = whole->bytes, .iov_len = len};
    int rv;

    (void)pthread_mutex_lock(&settle->write_lock);
    rv = settle->unread ? disk_write_direct(disk, file, &iov, 1, at)
                        : disk->ops->pwritev(disk, file, &iov, 1, at);
    (void)pthread_mutex_unlock(&settle->write_lock);
    return rv;
}

int store_whole_run(struct store_whole *whole, struct disk_file *file,
                    struct store_settle_block *blocks, uint32_t n, uint32_t *done)
{
    uint32_t good = 0;
    int rv;

    *done = 0;
    /* A reader waits for what is being written where it reads: with readers, one block. */
    n = count(blocks, whole->settle->unread ? n : 1);
    if (n == 0 ||
        read_blocks(whole, blocks[0].extents.all, (size_t)n * STORE_BLOCK) != 0) {
        return 0;
    }
    while (good < n && check_block(&blocks[good], whole->bytes + good * STORE_BLOCK)) {
        blocks[good].published = true;
        good++;
    }
    if (good == 0) {
        return 0;
    }
    rv = write_blocks(whole, file, blocks[0].block * STORE_BLOCK,
                      (size_t)good * STORE_BLOCK);
    if (rv == 0) {
        *done = good;
    }
    /* Which of them the file system refuses is found out one by one. */
    return store_is_own_fault(rv) ? 0 : rv;
}
