#include "peer/peer_table.h"

#include "base/assert.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int peer_address(const char *host, uint16_t port, struct sockaddr_storage *out)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, /* So it asks nobody. */
    };
    struct addrinfo *found = NULL;
    char service[8];

    snprintf(service, sizeof service, "%u", (unsigned)port);
    if (getaddrinfo(host, service, &hints, &found) != 0) {
        return -EINVAL;
    }
    ASSERT(found->ai_addrlen <= sizeof *out);
    memset(out, 0, sizeof *out);
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct peer_node *left = a;
    const struct peer_node *right = b;

    return (left->number > right->number) - (left->number < right->number);
}

const char *peer_node_fault(const struct peer_node *node, const struct peer_node *others,
                            uint32_t n)
{
    struct sockaddr_storage address;

    if (node->number == 0) {
        return "number 0";
    }
    if (memchr(node->host, 0, sizeof node->host) == NULL ||
        peer_address(node->host, node->port, &address) != 0) {
        return "its address is not numeric";
    }
    for (uint32_t i = 0; i < n; i++) {
        if (others[i].number == node->number) {
            return "its number is another node's";
        }
        /* Two nodes with one key would make the sender's number a claim, not a fact. */
        if (memcmp(others[i].fingerprint, node->fingerprint, PEER_FINGERPRINT_BYTES) ==
            0) {
            return "its key is another node's";
        }
    }
    return NULL;
}

/* The usable ones of @nodes, by number; their count. */
static uint32_t pick(struct peer_node *sorted, const struct peer_node *nodes, uint32_t n)
{
    uint32_t kept = 0;

    memcpy(sorted, nodes, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_number);
    for (uint32_t i = 0; i < n; i++) {
        if (peer_node_fault(&sorted[i], sorted, kept) == NULL) {
            sorted[kept++] = sorted[i];
        }
    }
    return kept;
}

int peer_table_init(struct peer_table *table, const struct peer_node *nodes, uint32_t n)
{
    struct peer_node *sorted;

    *table = (struct peer_table){0};
    if (n > PEER_NODES_MAX) {
        return -E2BIG;
    }
    if (n == 0) {
        return 0;
    }
    sorted = calloc(n, sizeof *sorted);
    table->rows = calloc(n, sizeof *table->rows);
    if (sorted == NULL || table->rows == NULL) {
        free(sorted);
        peer_table_deinit(table);
        return -ENOMEM;
    }
    table->n = pick(sorted, nodes, n);
    for (uint32_t i = 0; i < table->n; i++) {
        table->rows[i].node = sorted[i];
    }
    free(sorted);
    return 0;
}

void peer_table_deinit(struct peer_table *table)
{
    free(table->rows);
    *table = (struct peer_table){0};
}

struct peer_row *peer_table_find(const struct peer_table *table, uint64_t number)
{
    const struct peer_node wanted = {.number = number};

    if (table->n == 0) {
        return NULL;
    }
    return bsearch(&wanted, table->rows, table->n, sizeof *table->rows, by_number);
}

struct peer_row *peer_table_find_key(const struct peer_table *table,
                                     const uint8_t fingerprint[PEER_FINGERPRINT_BYTES])
{
    for (uint32_t i = 0; i < table->n; i++) {
        if (memcmp(table->rows[i].node.fingerprint, fingerprint,
                   PEER_FINGERPRINT_BYTES) == 0) {
            return &table->rows[i];
        }
    }
    return NULL;
}

/* The row in @table for the same node, key and address as @row; NULL if there is none. */
static struct peer_row *find_same(const struct peer_table *table,
                                  const struct peer_row *row)
{
    const struct peer_node *node = &row->node;
    struct peer_row *old = peer_table_find(table, node->number);

    if (old != NULL && old->node.port == node->port &&
        strcmp(old->node.host, node->host) == 0 &&
        memcmp(old->node.fingerprint, node->fingerprint, PEER_FINGERPRINT_BYTES) == 0) {
        return old;
    }
    return NULL;
}

bool peer_table_same(const struct peer_table *table, const struct peer_row *row)
{
    return find_same(table, row) != NULL;
}

void peer_table_carry(struct peer_table *to, struct peer_table *from)
{
    for (uint32_t i = 0; i < to->n; i++) {
        struct peer_row *old = find_same(from, &to->rows[i]);

        if (old != NULL) {
            to->rows[i].state = old->state;
            old->state = NULL;
        }
    }
}
