#include "base/seldom.h"

#include <stddef.h>

static struct seldom_row *find(struct seldom *seldom, uint64_t a, uint64_t b)
{
    for (uint32_t i = 0; i < seldom->n_rows; i++) {
        if (seldom->rows[i].a == a && seldom->rows[i].b == b) {
            return &seldom->rows[i];
        }
    }
    return NULL;
}

/* A row that was told and is not needed to keep quiet; NULL: there is none. */
static struct seldom_row *room(struct seldom *seldom, uint64_t now, uint64_t every)
{
    if (seldom->n_rows < SELDOM_ROWS) {
        return &seldom->rows[seldom->n_rows++];
    }
    for (uint32_t i = 0; i < seldom->n_rows; i++) {
        if (now - seldom->rows[i].told >= every) {
            return &seldom->rows[i];
        }
    }
    return NULL;
}

static uint32_t count(struct seldom_row *row, uint64_t now, uint64_t every)
{
    uint32_t n = row->n < UINT32_MAX ? row->n + 1 : row->n;

    if (now - row->told < every) {
        row->n = n;
        return 0;
    }
    row->told = now;
    row->n = 0;
    return n;
}

uint32_t seldom_tell(struct seldom *seldom, uint64_t a, uint64_t b, uint64_t now,
                     uint64_t every)
{
    struct seldom_row *row = find(seldom, a, b);

    if (row != NULL) {
        return count(row, now, every);
    }
    row = room(seldom, now, every);
    if (row != NULL) {
        *row = (struct seldom_row){.a = a, .b = b, .told = now};
        return 1;
    }
    if (seldom->n_others++ == 0) {
        seldom->others.told = now;
        return 1;
    }
    return count(&seldom->others, now, every);
}

void seldom_forget(struct seldom *seldom, uint64_t a, uint64_t b)
{
    struct seldom_row *row = find(seldom, a, b);

    if (row != NULL) {
        *row = seldom->rows[--seldom->n_rows];
    }
}
