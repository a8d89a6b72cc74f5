/*
 * table: columns of text, aligned.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16u

struct table {
    size_t n_columns;
    size_t n_cells; /* All rows, the heads first. */
    size_t cap;
    char **cells;
};

/* @heads: NULL-ended; a head that starts with '>' stands over a column of numbers, which
 * is aligned to the right. */
void table_init(struct table *table, const char *const *heads);
/* Add one row of as many cells as there are heads; copies them. */
void table_row(struct table *table, const char *const *cells);
void table_print(const struct table *table, size_t indent, FILE *file);
void table_deinit(struct table *table);

#endif
