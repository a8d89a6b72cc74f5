/*
 * One flipped bit of file data, for who salvages it from a dataset that nobody can heal.
 *
 * The CRC of a sub-block, or of a piece that is no longer, says which bit it was
 * (crc32c_flipped). Bytes that are something else altogether look like one flip once in
 * 32768 there: so a member never answers with what is guessed, not even as the last one
 * that has the file; and a longer piece is left bad.
 */
#include "base/crc32c.h"
#include "store/store_priv.h"

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
