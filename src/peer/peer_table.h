/*
 * peer_table: the nodes that this one talks to, by number and by key.
 *
 * Pure. The table owns no state of its user: a row carries one pointer for it.
 */
#ifndef PEER_PEER_TABLE_H
#define PEER_PEER_TABLE_H

#include "peer/peer_uv.h"

struct sockaddr_storage;

struct peer_row {
    struct peer_node node; /* First: rows are found by it. */
    void *state;           /* The user's. */
};

struct peer_table {
    struct peer_row *rows; /* Ascending by number. */
    uint32_t n;
};

/* Of @nodes in rising order, those without a fault beside the ones taken before them
 * (peer_node_fault); one bad row costs no other its place. 0, -E2BIG or -ENOMEM. */
int peer_table_init(struct peer_table *table, const struct peer_node *nodes, uint32_t n);
void peer_table_deinit(struct peer_table *table);

/* NULL if there is none. */
struct peer_row *peer_table_find(const struct peer_table *table, uint64_t number);
struct peer_row *peer_table_find_key(const struct peer_table *table,
                                     const uint8_t fingerprint[PEER_FINGERPRINT_BYTES]);

/* True if @table has @row's node with the same key and address. */
bool peer_table_same(const struct peer_table *table, const struct peer_row *row);
/* Move the state of every row that is the same in @from and @to (number, key, address).
 * What is left in @from is to be given up. */
void peer_table_carry(struct peer_table *to, struct peer_table *from);

/* A numeric @host, with a scope if need be. 0 or -EINVAL. */
int peer_address(const char *host, uint16_t port, struct sockaddr_storage *out);

#endif
