/*
 * Leaves a dataset as a pull does whose source had applied more than its log brought until
 * the power went: torn DATASET ZONE-ID INODE LENGTH INDEX. Of file INODE, LENGTH bytes long,
 * the second half was cut off by entry INDEX, as far as its blocks say.
 */
#include "base/disk.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int ignore(void *ctx, const struct journal_entry *entry)
{
    (void)ctx;
    (void)entry;
    return 0;
}

static int make_torn(struct store *store, char **numbers)
{
    uint64_t ino = strtoull(numbers[0], NULL, 10);
    uint64_t len = strtoull(numbers[1], NULL, 10);
    uint64_t index = strtoull(numbers[2], NULL, 10);
    int rv = store_begin(store);

    if (rv == 0) {
        rv = store_data_resize(store, ino, len, len / 2, index);
    }
    if (rv == 0) {
        rv = store_number_set(store, STORE_SERVE_FROM, index);
    }
    return rv == 0 ? store_commit(store, true) : rv;
}

int main(int argc, char **argv)
{
    struct journal_config journal = {.disk = disk_posix(), .segment_bytes = 16u << 20};
    struct store_config config = {.disk = disk_posix()};
    struct journal_state state;
    struct store *store;
    char dir[4096];
    int rv;

    if (argc != 6 || strlen(argv[2]) != 32) {
        return 2;
    }
    for (int i = 0; i < 16; i++) {
        char byte[3] = {argv[2][2 * i], argv[2][2 * i + 1], '\0'};

        journal.zone_id[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    memcpy(config.zone_id, journal.zone_id, sizeof config.zone_id);
    (void)snprintf(dir, sizeof dir, "%s/journal", argv[1]);
    journal.dir = dir;
    config.dir = argv[1];
    rv = journal_open(&journal, &state, ignore, NULL, &config.journal);
    if (rv == 0) {
        rv = store_open(&config, &store);
    }
    if (rv == 0) {
        rv = make_torn(store, argv + 3);
        store_close(store);
        journal_close(config.journal);
    }
    return rv == 0 ? 0 : 1;
}
