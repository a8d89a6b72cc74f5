/*
 * seldom: what may happen any number of times is told at once, and then only now and then,
 * with how often it was.
 *
 * A pure table, of one thread. Zero is empty. Time is an argument, of any unit: ms, or a
 * count of what happens. Of things told apart by {a, b}, SELDOM_ROWS have a row; all
 * others, while those rows are in use, share one. So at most SELDOM_ROWS + 1 tellings come
 * within @every.
 */
#ifndef BASE_SELDOM_H
#define BASE_SELDOM_H

#include <stdint.h>

#define SELDOM_ROWS 64u

struct seldom_row {
    uint64_t a;
    uint64_t b;
    uint64_t told; /* When. */
    uint32_t n;    /* Since then. */
};

struct seldom {
    struct seldom_row rows[SELDOM_ROWS];
    uint32_t n_rows;
    struct seldom_row others; /* Its n counts from the first on: it may be told at 0. */
    uint32_t n_others;
};

/* {a, b} happened. 0: say nothing. Else how often it did since it was told last, this time
 * with it: 1 for the first. */
uint32_t seldom_tell(struct seldom *seldom, uint64_t a, uint64_t b, uint64_t now,
                     uint64_t every);
/* {a, b} is over: if it happens again, that is news. */
void seldom_forget(struct seldom *seldom, uint64_t a, uint64_t b);

#endif
