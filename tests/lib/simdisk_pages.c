#include "lib/simdisk_pages.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

/* Where page @number is, or would go. */
static size_t find(const struct pages *pages, uint64_t number)
{
    size_t from = 0;
    size_t to = pages->n;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (pages->list[middle].number < number) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

static uint8_t *page_at(struct pages *pages, uint64_t number)
{
    size_t at = find(pages, number);

    if (at < pages->n && pages->list[at].number == number) {
        return pages->list[at].bytes;
    }
    if (pages->n == pages->cap) {
        pages->cap = pages->cap == 0 ? 8 : 2 * pages->cap;
        pages->list = realloc(pages->list, pages->cap * sizeof *pages->list);
        ASSERT(pages->list != NULL);
    }
    memmove(pages->list + at + 1, pages->list + at,
            (pages->n - at) * sizeof *pages->list);
    pages->n++;
    pages->list[at].number = number;
    pages->list[at].bytes = calloc(1, PAGES_BYTES);
    ASSERT(pages->list[at].bytes != NULL);
    return pages->list[at].bytes;
}

void pages_write(struct pages *pages, uint64_t offset, const void *data, size_t len)
{
    const uint8_t *from = data;

    if (len > 0 && offset + len > pages->size) {
        pages->size = offset + len;
    }
    while (len > 0) {
        size_t within = (size_t)(offset % PAGES_BYTES);
        size_t n = len < PAGES_BYTES - within ? len : PAGES_BYTES - within;

        memcpy(page_at(pages, offset / PAGES_BYTES) + within, from, n);
        from += n;
        offset += n;
        len -= n;
    }
}

void pages_read(const struct pages *pages, uint64_t offset, void *out, size_t len)
{
    uint8_t *to = out;

    ASSERT(offset <= pages->size && len <= pages->size - offset);
    while (len > 0) {
        size_t within = (size_t)(offset % PAGES_BYTES);
        size_t n = len < PAGES_BYTES - within ? len : PAGES_BYTES - within;
        uint64_t number = offset / PAGES_BYTES;
        size_t at = find(pages, number);

        if (at < pages->n && pages->list[at].number == number) {
            memcpy(to, pages->list[at].bytes + within, n);
        } else {
            memset(to, 0, n);
        }
        to += n;
        offset += n;
        len -= n;
    }
}

/* Zero part of a page if it is there. */
static void zero_part(struct pages *pages, uint64_t offset, size_t len)
{
    uint64_t number = offset / PAGES_BYTES;
    size_t at = find(pages, number);

    if (at < pages->n && pages->list[at].number == number) {
        memset(pages->list[at].bytes + offset % PAGES_BYTES, 0, len);
    }
}

/* Drop the pages [from, to). */
static void drop(struct pages *pages, uint64_t from, uint64_t to)
{
    size_t first = find(pages, from);
    size_t end = find(pages, to);

    if (from >= to) {
        return;
    }
    for (size_t i = first; i < end; i++) {
        free(pages->list[i].bytes);
    }
    if (end > first) {
        memmove(pages->list + first, pages->list + end,
                (pages->n - end) * sizeof *pages->list);
        pages->n -= end - first;
    }
}

void pages_zero(struct pages *pages, uint64_t offset, uint64_t len)
{
    uint64_t end;
    uint64_t first;

    if (offset >= pages->size) {
        return;
    }
    end = len < pages->size - offset ? offset + len : pages->size;
    first = (offset + PAGES_BYTES - 1) / PAGES_BYTES;
    if (first > end / PAGES_BYTES) {
        zero_part(pages, offset, (size_t)(end - offset)); /* Within one page. */
        return;
    }
    zero_part(pages, offset, (size_t)(first * PAGES_BYTES - offset));
    drop(pages, first, end / PAGES_BYTES);
    zero_part(pages, end - end % PAGES_BYTES, (size_t)(end % PAGES_BYTES));
}

void pages_resize(struct pages *pages, uint64_t size)
{
    if (size < pages->size) {
        pages_zero(pages, size, pages->size - size);
        drop(pages, (size + PAGES_BYTES - 1) / PAGES_BYTES, UINT64_MAX);
    }
    pages->size = size;
}

uint64_t pages_missing(const struct pages *pages, uint64_t offset, size_t len)
{
    uint64_t first = offset / PAGES_BYTES;
    uint64_t end = (offset + len + PAGES_BYTES - 1) / PAGES_BYTES;

    return len == 0 ? 0 : end - first - (find(pages, end) - find(pages, first));
}

void pages_copy(struct pages *to, const struct pages *from)
{
    pages_clear(to);
    to->list = calloc(from->n + 1, sizeof *to->list);
    ASSERT(to->list != NULL);
    to->cap = from->n + 1;
    to->size = from->size;
    for (; to->n < from->n; to->n++) {
        to->list[to->n].number = from->list[to->n].number;
        to->list[to->n].bytes = malloc(PAGES_BYTES);
        ASSERT(to->list[to->n].bytes != NULL);
        memcpy(to->list[to->n].bytes, from->list[to->n].bytes, PAGES_BYTES);
    }
}

void pages_clear(struct pages *pages)
{
    for (size_t i = 0; i < pages->n; i++) {
        free(pages->list[i].bytes);
    }
    free(pages->list);
    *pages = (struct pages){0};
}
