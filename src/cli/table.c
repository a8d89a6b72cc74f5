#include "cli/table.h"

#include "base/assert.h"
#include "cli/units.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MIN 64u
#define GAP 2u

void table_row(struct table *table, const char *const *cells)
{
    if (table->n_cells + table->n_columns > table->cap) {
        table->cap = table->cap == 0 ? CELLS_MIN : table->cap * 2;
        table->cells = realloc(table->cells, table->cap * sizeof *table->cells);
        ASSERT(table->cells != NULL);
    }
    for (size_t i = 0; i < table->n_columns; i++) {
        char *copy = strdup(cells[i]);

        ASSERT(copy != NULL);
        table->cells[table->n_cells++] = copy;
    }
}

void table_init(struct table *table, const char *const *heads)
{
    *table = (struct table){0};
    while (heads[table->n_columns] != NULL) {
        table->n_columns++;
    }
    ASSERT(table->n_columns > 0 && table->n_columns <= TABLE_COLUMNS_MAX);
    table_row(table, heads);
}

/* Characters, not bytes: names are UTF-8. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static bool is_right(const struct table *table, size_t column)
{
    return table->cells[column][0] == '>';
}

static const char *cell_text(const struct table *table, size_t cell)
{
    const char *text = table->cells[cell];

    return cell < table->n_columns && text[0] == '>' ? text + 1 : text;
}

static void put_spaces(size_t n, FILE *file)
{
    while (n-- > 0) {
        fputc(' ', file);
    }
}

void table_print(const struct table *table, size_t indent, FILE *file)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};

    for (size_t i = 0; i < table->n_cells; i++) {
        size_t width = width_of(cell_text(table, i));
        size_t column = i % table->n_columns;

        widths[column] = width > widths[column] ? width : widths[column];
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        const char *text = cell_text(table, i);
        size_t column = i % table->n_columns;
        size_t pad = widths[column] - width_of(text);
        bool last = column + 1 == table->n_columns;

        put_spaces(column == 0 ? indent : GAP, file);
        put_spaces(is_right(table, column) ? pad : 0, file);
        units_put_text(file, text);
        if (last) {
            fputc('\n', file);
        } else if (!is_right(table, column)) {
            put_spaces(pad, file);
        }
    }
}

void table_deinit(struct table *table)
{
    for (size_t i = 0; i < table->n_cells; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    *table = (struct table){0};
}
