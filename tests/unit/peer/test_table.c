#include "lib/check.h"
#include "peer/peer_table.h"

#include <errno.h>
#include <string.h>

static struct peer_node node(uint64_t number, const char *host)
{
    struct peer_node out = {.number = number, .port = 2646};

    memset(out.fingerprint, (int)number, sizeof out.fingerprint);
    memcpy(out.host, host, strlen(host) + 1);
    return out;
}

/* Rows are found by number and by key, in whatever order the directory gives them. */
static void found_by_number_and_key(void)
{
    struct peer_node nodes[] = {node(9, "127.0.0.3"), node(1, "127.0.0.1"),
                                node(4, "::1")};
    struct peer_table table;

    CHECK_INT(peer_table_init(&table, nodes, 3), 0);
    CHECK_STR(peer_table_find(&table, 4)->node.host, "::1");
    CHECK_PTR(peer_table_find(&table, 5), NULL);
    CHECK_UINT(peer_table_find_key(&table, nodes[0].fingerprint)->node.number, 9);
    nodes[0].fingerprint[31] ^= 1;
    CHECK_PTR(peer_table_find_key(&table, nodes[0].fingerprint), NULL);
    peer_table_deinit(&table);
    CHECK_PTR(peer_table_find(&table, 4), NULL);
}

/* A row that is ambiguous or cannot be dialled costs no other row its place; of two with
 * one key or number the earlier one stays. */
static void bad_rows_are_left_out(void)
{
    struct peer_node nodes[] = {node(7, "127.0.0.7"), node(0, "127.0.0.9"),
                                node(2, "localhost"), node(3, "127.0.0.3"),
                                node(4, "127.0.0.4"), node(5, "127.0.0.5"),
                                node(4, "127.0.0.6")};
    struct peer_table table;

    nodes[6].fingerprint[0] = 77; /* A second number 4. */
    memcpy(nodes[0].fingerprint, nodes[3].fingerprint, sizeof nodes[0].fingerprint);
    memset(nodes[5].host, '1', sizeof nodes[5].host); /* It never ends. */
    CHECK_INT(peer_table_init(&table, nodes, 7), 0);
    CHECK_UINT(table.n, 2);
    CHECK_UINT(table.rows[0].node.number, 3);
    CHECK_UINT(table.rows[1].node.number, 4);
    CHECK_PTR(peer_table_find(&table, 7), NULL);
    CHECK_STR(peer_table_find(&table, 3)->node.host, "127.0.0.3");
    peer_table_deinit(&table);
}

/* Why a row is left out can be told. */
static void faults_have_words(void)
{
    struct peer_node one = node(1, "127.0.0.1");
    struct peer_node two = node(2, "::1");

    CHECK_PTR((void *)peer_node_fault(&two, &one, 1), NULL);
    memcpy(two.fingerprint, one.fingerprint, sizeof two.fingerprint);
    CHECK_STR(peer_node_fault(&two, &one, 1), "its key is another node's");
    CHECK_PTR((void *)peer_node_fault(&two, &one, 0), NULL);
    two.number = 1;
    CHECK_STR(peer_node_fault(&two, &one, 1), "its number is another node's");
    memcpy(two.host, "a.b", 4);
    CHECK_STR(peer_node_fault(&two, &one, 1), "its address is not numeric");
}

static void sizes(void)
{
    struct peer_table table;

    CHECK_INT(peer_table_init(&table, NULL, PEER_NODES_MAX + 1), -E2BIG);
    CHECK_INT(peer_table_init(&table, NULL, 0), 0);
    peer_table_deinit(&table);
}

/* Only an unchanged node keeps its state: another key or address is another node. */
static void state_goes_to_what_is_the_same(void)
{
    struct peer_node before[] = {node(1, "127.0.0.1"), node(2, "127.0.0.2"),
                                 node(3, "127.0.0.3"), node(4, "127.0.0.4"),
                                 node(5, "127.0.0.5")};
    struct peer_node after[] = {node(1, "127.0.0.1"), node(2, "127.0.0.9"),
                                node(3, "127.0.0.3"), node(4, "127.0.0.4")};
    struct peer_table old;
    struct peer_table new;

    after[2].fingerprint[0] ^= 1;
    after[3].port = 1;
    CHECK_INT(peer_table_init(&old, before, 5), 0);
    CHECK_INT(peer_table_init(&new, after, 4), 0);
    for (uint32_t i = 0; i < old.n; i++) {
        old.rows[i].state = &before[i];
    }
    peer_table_carry(&new, &old);
    CHECK_PTR(new.rows[0].state, &before[0]);
    CHECK_PTR(old.rows[0].state, NULL);
    for (uint32_t i = 1; i < 4; i++) {
        CHECK_PTR(new.rows[i].state, NULL);
        CHECK_PTR(old.rows[i].state, &before[i]);
    }
    peer_table_deinit(&old);
    peer_table_deinit(&new);
}

TEST_MAIN(CHECK_TEST(found_by_number_and_key), CHECK_TEST(bad_rows_are_left_out),
          CHECK_TEST(faults_have_words), CHECK_TEST(sizes),
          CHECK_TEST(state_goes_to_what_is_the_same))
