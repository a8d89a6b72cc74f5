/*
 * simdisk_pages: the bytes of one simulated file, sparse. Used by simdisk alone.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    PAGES_BYTES = 4096,
};

struct page {
    uint64_t number; /* Offset / PAGES_BYTES. */
    uint8_t *bytes;
};

/* All zero is an empty file. */
struct pages {
    uint64_t size;
    struct page *list; /* In rising order; what is not there is zeros. */
    size_t n;
    size_t cap;
};

void pages_write(struct pages *pages, uint64_t offset, const void *data, size_t len);
/* The range lies below the size. */
void pages_read(const struct pages *pages, uint64_t offset, void *out, size_t len);
/* Zero a range, dropping whole pages. The size stays. */
void pages_zero(struct pages *pages, uint64_t offset, uint64_t len);
void pages_resize(struct pages *pages, uint64_t size);
/* Pages that a write to this range would add. */
uint64_t pages_missing(const struct pages *pages, uint64_t offset, size_t len);
void pages_copy(struct pages *to, const struct pages *from);
void pages_clear(struct pages *pages);
