#include "store/journal_impl.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int journal_index_reserve(struct journal_index *index, size_t n)
{
    struct journal_slot *slots;
    size_t cap;

    if (index->cap - index->at - index->n >= n) {
        return 0;
    }
    /* Moving to the front pays once as much was dropped as there is to move. */
    if (index->at >= index->n && index->cap - index->n >= n) {
        memmove(index->slots, index->slots + index->at, index->n * sizeof *slots);
        index->at = 0;
        return 0;
    }
    cap = (index->n + n) * 2;
    slots = malloc(cap * sizeof *slots);
    if (slots == NULL) {
        return -ENOMEM;
    }
    if (index->n > 0) {
        memcpy(slots, index->slots + index->at, index->n * sizeof *slots);
    }
    free(index->slots);
    index->slots = slots;
    index->at = 0;
    index->cap = cap;
    return 0;
}

void journal_index_put(struct journal_index *index, uint64_t at,
                       const struct journal_slot *slot)
{
    ASSERT(at >= index->first && at - index->first <= index->n);
    index->n = (size_t)(at - index->first);
    ASSERT(index->at + index->n < index->cap);
    index->slots[index->at + index->n] = *slot;
    index->n++;
}

const struct journal_slot *journal_index_get(const struct journal_index *index,
                                             uint64_t at)
{
    if (at < index->first || at - index->first >= index->n) {
        return NULL;
    }
    return &index->slots[index->at + (size_t)(at - index->first)];
}

void journal_index_drop(struct journal_index *index, uint64_t base)
{
    uint64_t n;

    if (base < index->first) {
        return;
    }
    n = base - index->first + 1;
    if (n >= index->n) {
        journal_index_reset(index, base);
        return;
    }
    index->at += (size_t)n;
    index->n -= (size_t)n;
    index->first = base + 1;
}

void journal_index_reset(struct journal_index *index, uint64_t base)
{
    index->first = base + 1;
    index->at = 0;
    index->n = 0;
}

uint64_t journal_index_last(const struct journal_index *index)
{
    return index->first + index->n - 1;
}
