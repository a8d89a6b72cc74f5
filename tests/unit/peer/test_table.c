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

/* A table that is ambiguous or cannot be dialled is refused whole. */
static void wrong_tables_are_refused(void)
{
    struct peer_node twice[] = {node(1, "127.0.0.1"), node(1, "127.0.0.2")};
    struct peer_node key[] = {node(1, "127.0.0.1"), node(2, "127.0.0.2")};
    struct peer_node zero = node(0, "127.0.0.1");
    struct peer_node name = node(1, "localhost");
    struct peer_node endless = node(1, "127.0.0.1");
    struct peer_table table;

    twice[1].fingerprint[0] = 77;
    CHECK_INT(peer_table_init(&table, twice, 2), -EINVAL);
    memcpy(key[1].fingerprint, key[0].fingerprint, sizeof key[0].fingerprint);
    CHECK_INT(peer_table_init(&table, key, 2), -EINVAL);
    CHECK_INT(peer_table_init(&table, &zero, 1), -EINVAL);
    CHECK_INT(peer_table_init(&table, &name, 1), -EINVAL);
    memset(endless.host, '1', sizeof endless.host);
    CHECK_INT(peer_table_init(&table, &endless, 1), -EINVAL);
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

TEST_MAIN(CHECK_TEST(found_by_number_and_key), CHECK_TEST(wrong_tables_are_refused),
          CHECK_TEST(state_goes_to_what_is_the_same))
