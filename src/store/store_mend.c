/*
 * The last resort for a bad block of which no member has a good copy: one flipped bit.
 *
 * The CRC of a sub-block, or of a piece that is no longer, says which bit it was
 * (crc32c_flipped). Bytes that are something else altogether look like one flip once in
 * 32768 there, so this is for who has nobody to ask; and a longer piece is left bad.
 *
 * What was set right is put as if another member had sent it: see store_heal.c.
 */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

bool store_mend_bit(struct store *store, uint8_t *bytes, size_t len, uint32_t crc)
{
    uint64_t bit;

    if (!store->mends || len > STORE_SUBBLOCK) {
        return false;
    }
    bit = crc32c_flipped(crc ^ crc32c(0, bytes, len), len);
    if (bit >= 8 * (uint64_t)len) {
        return false; /* The CRC is of a row, which has a check of its own. */
    }
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    store->n_mended++;
    return true;
}

void store_mend_reads(struct store *store)
{
    store->mends = true;
}

uint64_t store_mended(const struct store *store)
{
    return store->n_mended;
}

int store_mend(struct store *store, uint64_t ino, uint64_t block)
{
    uint64_t before = store->n_mended;
    struct store_copy copy = {.ino = ino, .block = block};
    struct buf *buf;
    int rv;

    ASSERT(!store->in_txn && ino <= STORE_INO_MAX);
    if (store_settle_find(store->settle, ino, block) != NULL) {
        return OUT_TRY_LATER;
    }
    buf = buf_new(STORE_BLOCK);
    if (buf == NULL) {
        return -ENOMEM;
    }
    memset(buf->data, 0, STORE_BLOCK);
    store->mends = true;
    rv = store_read_block(store, ino, block, buf->data);
    store->mends = false;
    if (rv == 0 && store->n_mended > before) {
        log_warn("store",
                 "msg=\"a flipped bit of a block is set right\" ino=%" PRIu64
                 " block=%" PRIu64,
                 ino, block);
        copy.version = store_layers_version(&store->layers);
        copy.data = slice_borrow(buf->data, STORE_BLOCK);
        while (copy.data.len > 0 && buf->data[copy.data.len - 1] == 0) {
            copy.data.len--;
        }
        rv = store_heal(store, &copy);
    } else if (rv == 0) {
        rv = OUT_NOENT; /* It is not bad, or not there. */
    }
    buf_unref(buf);
    return rv;
}
