/* A growing queue of plain items, for replica's waiting lists. */
#include "base/assert.h"
#include "raft/replica_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void replica_fifo_init(struct replica_fifo *fifo, size_t item_size)
{
    *fifo = (struct replica_fifo){.item_size = (uint32_t)item_size};
}

void replica_fifo_deinit(struct replica_fifo *fifo)
{
    free(fifo->items);
    fifo->items = NULL;
    fifo->n = 0;
    fifo->cap = 0;
    fifo->at = 0;
}

static int fifo_grow(struct replica_fifo *fifo)
{
    uint32_t cap = fifo->cap == 0 ? 64 : fifo->cap * 2;
    uint8_t *items = calloc(cap, fifo->item_size);

    if (items == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < fifo->n; i++) {
        memcpy(items + (size_t)i * fifo->item_size, replica_fifo_at(fifo, i),
               fifo->item_size);
    }
    free(fifo->items);
    fifo->items = items;
    fifo->cap = cap;
    fifo->at = 0;
    return 0;
}

void *replica_fifo_push(struct replica *r, struct replica_fifo *fifo)
{
    void *item;

    if (fifo->n == fifo->cap && fifo_grow(fifo) != 0) {
        replica_fault(r, -ENOMEM);
        return NULL;
    }
    fifo->n++;
    item = replica_fifo_at(fifo, fifo->n - 1);
    memset(item, 0, fifo->item_size);
    return item;
}

void *replica_fifo_at(struct replica_fifo *fifo, uint32_t i)
{
    ASSERT(i < fifo->n);
    return fifo->items + (size_t)((fifo->at + i) % fifo->cap) * fifo->item_size;
}

void replica_fifo_pop(struct replica_fifo *fifo)
{
    ASSERT(fifo->n > 0);
    fifo->at = (fifo->at + 1) % fifo->cap;
    fifo->n--;
}

void replica_fifo_pop_back(struct replica_fifo *fifo)
{
    ASSERT(fifo->n > 0);
    fifo->n--;
}
