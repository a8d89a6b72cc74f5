/*
 * journal_bench: what the journal reaches on one folder: small appends one at a time,
 * small appends in groups, and 1 MiB payloads, on prewritten segments.
 *
 * usage: journal_bench DIR [SECONDS]; DIR must not exist yet. One line of JSON a case.
 */
#include "store/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    KEEP_SEGMENTS = 4, /* As if settling kept up. */
    GROUP_MAX = 64,
    DISK_BYTES = 1 << 20,
};

struct load {
    const char *name;
    uint32_t group;
    size_t head;
    size_t payload;
};

static double now_s(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Drop what is old, as compaction and settling would. */
static int trim(struct journal *journal)
{
    uint64_t segment = journal_segment(journal);
    int rv;

    if (segment < journal_floor_segment(journal) + KEEP_SEGMENTS) {
        return 0;
    }
    rv = journal_compact(journal, journal_last_index(journal), 1);
    return rv == 0 ? journal_release(journal, segment - 1) : rv;
}

static int run(struct journal *journal, const struct load *load, const uint8_t *bytes,
               double seconds)
{
    struct journal_entry entries[GROUP_MAX];
    double begin = now_s();
    double took = 0;
    uint64_t n = 0;

    while (took < seconds) {
        uint64_t next = journal_last_index(journal) + 1;
        struct journal_batch batch = {.entries = entries, .n_entries = load->group};
        int rv;

        for (uint32_t i = 0; i < load->group; i++) {
            entries[i] = (struct journal_entry){
                .index = next + i,
                .term = 1,
                .type = 1,
                .head = slice_borrow(bytes, load->head),
                .payload = slice_borrow(bytes, load->payload),
            };
        }
        rv = journal_append(journal, &batch);
        if (rv == 0) {
            rv = journal_prepare(journal);
        }
        if (rv == 0) {
            rv = trim(journal);
        }
        if (rv != 0) {
            (void)fprintf(stderr, "%s: error %d\n", load->name, -rv);
            return rv;
        }
        n += load->group;
        took = now_s() - begin;
    }
    (void)printf("{\"case\":\"%s\",\"entries_per_s\":%.0f,\"mb_per_s\":%.1f}\n",
                 load->name, (double)n / took,
                 (double)n * (double)(load->head + load->payload) / took / 1e6);
    return 0;
}

/* What the disk itself does: one prewritten 4 KiB block and a sync at a time. */
static int run_disk(const char *dir, const uint8_t *bytes, double seconds)
{
    struct disk *disk = disk_posix();
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = DISK_BYTES};
    struct disk_file *file = NULL;
    char path[4096];
    double begin;
    double took = 0;
    uint64_t n = 0;
    int rv;

    (void)snprintf(path, sizeof path, "%s/disk.tmp", dir);
    rv = disk->ops->open(disk, path, DISK_WRITE | DISK_CREATE, &file);
    if (rv != 0) {
        return rv;
    }
    rv = disk->ops->pwritev(disk, file, &iov, 1, 0);
    rv = rv == 0 ? disk->ops->datasync(disk, file) : rv;
    begin = now_s();
    iov.iov_len = 4096;
    while (rv == 0 && took < seconds) {
        rv = disk->ops->pwritev(disk, file, &iov, 1, n * 4096 % DISK_BYTES);
        rv = rv == 0 ? disk->ops->datasync(disk, file) : rv;
        n++;
        took = now_s() - begin;
    }
    disk->ops->close(disk, file);
    (void)disk->ops->unlink(disk, path);
    (void)printf("{\"case\":\"the disk alone, 4 KiB\",\"entries_per_s\":%.0f,"
                 "\"mb_per_s\":%.1f}\n",
                 (double)n / took, (double)n * 4096 / took / 1e6);
    return rv;
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {
        {"warm-up", 1, 64, 1u << 20},
        {"256 B, one by one", 1, 256, 0},
        {"256 B, groups of 64", 64, 256, 0},
        {"4 KiB payload, one by one", 1, 128, 4096},
        {"4 KiB payload, groups of 32", 32, 128, 4096},
        {"1 MiB payload, one by one", 1, 128, 1u << 20},
        {"1 MiB payload, groups of 4", 4, 128, 1u << 20},
    };
    double seconds = argc > 2 ? atof(argv[2]) : 2.0;
    uint8_t *bytes = calloc(1, JOURNAL_PAYLOAD_MAX);
    struct journal_config config = {
        .disk = disk_posix(), .spare_segments = 8, .create = true};
    struct journal_state state;
    struct journal *journal = NULL;
    int rv;

    if (argc < 2 || argc > 3 || bytes == NULL) {
        (void)fprintf(stderr, "usage: %s DIR [SECONDS]\n", argv[0]);
        free(bytes);
        return 2;
    }
    config.dir = argv[1];
    memset(bytes, 0x5a, JOURNAL_PAYLOAD_MAX);
    rv = journal_open(&config, &state, NULL, NULL, &journal);
    for (size_t i = 0; rv == 0 && i < sizeof loads / sizeof loads[0]; i++) {
        rv = run(journal, &loads[i], bytes, seconds);
    }
    rv = rv == 0 ? run_disk(argv[1], bytes, seconds) : rv;
    journal_close(journal);
    free(bytes);
    return rv == 0 ? 0 : 1;
}
