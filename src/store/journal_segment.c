#include "store/journal_impl.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ZERO_BYTES = 65536,
    ZERO_IOVS = 64, /* 4 MiB in one write. */
};

void journal_path(const struct journal *journal, enum journal_file kind, uint64_t number,
                  char out[JOURNAL_PATH_MAX])
{
    int n;

    if (kind == JOURNAL_FILE_NEW) {
        n = snprintf(out, JOURNAL_PATH_MAX, "%s/new.tmp", journal->dir);
    } else {
        n = snprintf(out, JOURNAL_PATH_MAX, "%s/%016" PRIx64 ".%s", journal->dir, number,
                     kind == JOURNAL_FILE_SEGMENT ? "seg" : "spare");
    }
    ASSERT(n > 0 && n < JOURNAL_PATH_MAX); /* journal_new checked the folder's length. */
}

struct journal_segment *journal_segment_ready(struct journal *journal)
{
    struct journal_segment *segment = NULL;

    pthread_mutex_lock(&journal->lock);
    if (journal->current + 1 < journal->n_segments) {
        segment = journal->segments[journal->current + 1];
    }
    pthread_mutex_unlock(&journal->lock);
    return segment;
}

int journal_segments_add(struct journal *journal, struct journal_segment *segment)
{
    int rv = 0;

    pthread_mutex_lock(&journal->lock);
    if (journal->n_segments == journal->cap_segments) {
        size_t cap = journal->cap_segments == 0 ? 32 : 2 * journal->cap_segments;
        struct journal_segment **list = NULL;

        if (cap <= JOURNAL_SEGMENTS_MAX) {
            list = realloc(journal->segments, cap * sizeof(*list));
        }
        if (list == NULL) {
            rv = -ENOMEM;
            goto out;
        }
        journal->segments = list;
        journal->cap_segments = cap;
    }
    if (journal->n_segments > 0) {
        ASSERT(segment->number == journal->segments[journal->n_segments - 1]->number + 1);
    }
    journal->segments[journal->n_segments] = segment;
    journal->n_segments++;
out:
    pthread_mutex_unlock(&journal->lock);
    return rv;
}

/* Past the page cache: each page of it would be new, and written to for nothing. */
static int write_zeros(struct journal *journal, struct disk_file *file)
{
    static const _Alignas(DISK_DIRECT_ALIGN) uint8_t zeros[ZERO_BYTES];
    struct iovec iov[ZERO_IOVS];
    uint64_t at = 0;

    while (at < journal->segment_bytes) {
        uint64_t end = at;
        int n = 0;
        int rv;

        for (; n < ZERO_IOVS && end < journal->segment_bytes; n++) {
            uint64_t left = journal->segment_bytes - end;

            iov[n].iov_base = (void *)(uintptr_t)zeros;
            iov[n].iov_len = left < ZERO_BYTES ? (size_t)left : ZERO_BYTES;
            end += iov[n].iov_len;
        }
        rv = disk_write_direct(journal->disk, file, iov, n, at);
        if (rv != 0) {
            return rv;
        }
        at = end;
    }
    return 0;
}

/* Open a spare of the right size, if there is one. Its name goes to @path. */
static struct disk_file *take_spare(struct journal *journal, char path[JOURNAL_PATH_MAX])
{
    const struct disk_ops *ops = journal->disk->ops;

    while (journal->n_spares > 0) {
        struct disk_file *file = NULL;
        uint64_t size = 0;
        uint64_t number;

        journal->n_spares--;
        number = journal->spares[journal->n_spares];
        journal_path(journal, JOURNAL_FILE_SPARE, number, path);
        if (ops->open(journal->disk, path, DISK_WRITE, &file) != 0) {
            continue;
        }
        if (ops->size(journal->disk, file, &size) == 0 &&
            size == journal->segment_bytes) {
            return file;
        }
        ops->close(journal->disk, file);
        (void)ops->unlink(journal->disk, path);
    }
    return NULL;
}

static int make_new(struct journal *journal, char path[JOURNAL_PATH_MAX],
                    struct disk_file **out)
{
    const struct disk_ops *ops = journal->disk->ops;
    struct disk_file *file = NULL;
    int rv;

    journal_path(journal, JOURNAL_FILE_NEW, 0, path);
    rv = ops->open(journal->disk, path, DISK_WRITE | DISK_CREATE, &file);
    if (rv != 0) {
        return rv;
    }
    rv = ops->truncate(journal->disk, file, 0);
    if (rv == 0) {
        rv = write_zeros(journal, file);
    }
    if (rv != 0) {
        ops->close(journal->disk, file);
        (void)ops->unlink(journal->disk, path);
        return rv;
    }
    *out = file;
    return 0;
}

/* Write the header and give the file its name. A file with a segment's name has a whole,
 * durable header of that number: the name comes last. */
static int christen(struct journal *journal, const char *from,
                    const struct journal_segment *segment)
{
    const struct disk_ops *ops = journal->disk->ops;
    uint8_t block[JOURNAL_BLOCK];
    struct iovec iov = {.iov_base = block, .iov_len = sizeof block};
    struct journal_segment_head head = {
        .number = segment->number, .salt = segment->salt, .bytes = segment->bytes};
    char to[JOURNAL_PATH_MAX];
    int rv;

    for (size_t i = 0; i < sizeof head.zone_id; i++) {
        head.zone_id[i] = journal->zone_id[i];
    }
    journal_segment_head_put(&head, block);
    rv = ops->pwritev(journal->disk, segment->file, &iov, 1, 0);
    if (rv == 0) {
        rv = ops->datasync(journal->disk, segment->file);
    }
    if (rv == 0) {
        journal_path(journal, JOURNAL_FILE_SEGMENT, segment->number, to);
        rv = ops->rename(journal->disk, from, to);
    }
    if (rv == 0) {
        rv = ops->syncdir(journal->disk, journal->dir);
    }
    return rv;
}

int journal_segments_make(struct journal *journal)
{
    struct journal_segment *segment = calloc(1, sizeof *segment);
    char path[JOURNAL_PATH_MAX];
    int rv = 0;

    if (segment == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&journal->control);
    pthread_mutex_lock(&journal->lock);
    segment->number = 1;
    if (journal->n_segments > 0) {
        segment->number = journal->segments[journal->n_segments - 1]->number + 1;
    }
    pthread_mutex_unlock(&journal->lock);
    segment->bytes = journal->segment_bytes;
    segment->salt = prng_next(&journal->salts);
    segment->file = take_spare(journal, path);
    if (segment->file == NULL) {
        rv = make_new(journal, path, &segment->file);
        if (rv != 0) {
            goto out;
        }
    }
    rv = christen(journal, path, segment);
    if (rv == 0) {
        rv = journal_segments_add(journal, segment);
    }
    if (rv != 0) {
        (void)journal->disk->ops->unlink(journal->disk, path);
        journal->disk->ops->close(journal->disk, segment->file);
    }
out:
    pthread_mutex_unlock(&journal->control);
    if (rv != 0) {
        log_warn("store",
                 "msg=\"no new journal segment\" dir=%s segment=%" PRIu64 " error=%d",
                 journal->dir, segment->number, -rv);
        free(segment);
    }
    return rv;
}

void journal_keep_spares(struct journal *journal, uint32_t n)
{
    char path[JOURNAL_PATH_MAX];

    pthread_mutex_lock(&journal->control);
    journal->spare_max = n < journal->spare_room ? n : journal->spare_room;
    while (journal->n_spares > journal->spare_max) {
        journal->n_spares--;
        journal_path(journal, JOURNAL_FILE_SPARE, journal->spares[journal->n_spares],
                     path);
        (void)journal->disk->ops->unlink(journal->disk, path); /* The next open will. */
    }
    pthread_mutex_unlock(&journal->control);
}

int journal_segment_recycle(struct journal *journal, uint64_t number, bool keep)
{
    char from[JOURNAL_PATH_MAX];
    char to[JOURNAL_PATH_MAX];
    int rv;

    journal_path(journal, JOURNAL_FILE_SEGMENT, number, from);
    if (!keep || journal->n_spares >= journal->spare_max) {
        return journal->disk->ops->unlink(journal->disk, from);
    }
    journal_path(journal, JOURNAL_FILE_SPARE, number, to);
    rv = journal->disk->ops->rename(journal->disk, from, to);
    /* No sync: should a crash bring the old name back, it lies below the floor, and
     * nobody looks at what is in the file then. */
    if (rv == 0) {
        journal->spares[journal->n_spares] = number;
        journal->n_spares++;
    }
    return rv;
}

int journal_segments_drop(struct journal *journal, uint64_t floor)
{
    int rv = 0;

    while (rv == 0) {
        struct journal_segment *segment;
        uint64_t number;
        bool keep;
        bool read;

        pthread_mutex_lock(&journal->lock);
        segment = journal->segments[0];
        number = segment->number;
        if (number >= floor || journal->current == 0) {
            pthread_mutex_unlock(&journal->lock);
            break;
        }
        journal->n_segments--;
        journal->current--;
        for (size_t i = 0; i < journal->n_segments; i++) {
            journal->segments[i] = journal->segments[i + 1];
        }
        read = segment->readers > 0;
        keep = !read && !segment->bad;
        segment->gone = true;
        pthread_mutex_unlock(&journal->lock);

        /* While somebody reads it, it may be removed, but not written to again. And what
         * could not be read once is not to be relied on. */
        rv = journal_segment_recycle(journal, number, keep);
        if (!read) { /* Else the last reader may have freed it by now. */
            journal->disk->ops->close(journal->disk, segment->file);
            free(segment);
        }
    }
    return rv;
}

struct journal_segment *journal_segment_get(struct journal *journal, uint64_t number)
{
    struct journal_segment *segment = NULL;
    uint64_t first;

    pthread_mutex_lock(&journal->lock);
    first = journal->segments[0]->number;
    if (number >= first && number - first < journal->n_segments) {
        segment = journal->segments[number - first];
        ASSERT(segment->number == number);
        segment->readers++;
    }
    pthread_mutex_unlock(&journal->lock);
    return segment;
}

void journal_segment_put(struct journal *journal, struct journal_segment *segment)
{
    bool last;

    pthread_mutex_lock(&journal->lock);
    ASSERT(segment->readers > 0);
    segment->readers--;
    last = segment->gone && segment->readers == 0;
    pthread_mutex_unlock(&journal->lock);
    if (last) {
        journal->disk->ops->close(journal->disk, segment->file);
        free(segment);
    }
}

void journal_segment_judge(struct journal *journal, struct journal_segment *segment,
                           int rv)
{
    if (rv == -EIO || rv == -EUCLEAN) {
        pthread_mutex_lock(&journal->lock);
        segment->bad = true;
        pthread_mutex_unlock(&journal->lock);
    }
}

bool journal_segment_is_bad(struct journal *journal,
                            const struct journal_segment *segment)
{
    bool bad;

    pthread_mutex_lock(&journal->lock);
    bad = segment->bad;
    pthread_mutex_unlock(&journal->lock);
    return bad;
}
