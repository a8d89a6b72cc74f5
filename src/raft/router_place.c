/*
 * Which member gets a read.
 *
 * Every member gives the same answer, so what counts is how soon: this node's own member,
 * else the closest one; and of those about as close, for a large read, the one that has
 * least to read already. So a file that is read ahead comes from several disks at a time,
 * each READ whole from one of them. One that was silent is left alone for a while, and
 * what it was asked goes to the next.
 */
#include "base/assert.h"
#include "raft/router_impl.h"

#define FAR_US 1000000u /* Where a node is whose distance is not known. */
#define NEAR_US 1000u   /* Not worth telling apart. */

static uint64_t distance_us(const struct router *router, const struct router_node *node)
{
    if (node->node == router->config.self) {
        return 0;
    }
    return node->rtt_us == 0 ? FAR_US : node->rtt_us;
}

static bool is_quiet(const struct router *router, const struct router_node *node)
{
    return node->quiet_until_ms > router->now_ms;
}

/* Leave of @nodes those for which @keep says so; how many, all if it would be none. */
static uint32_t narrow(const struct router *router, const struct router_op *op,
                       const struct router_node *nodes[], uint32_t n,
                       bool (*keep)(const struct router *, const struct router_op *,
                                    const struct router_node *))
{
    uint32_t n_kept = 0;

    for (uint32_t i = 0; i < n; i++) {
        n_kept += keep(router, op, nodes[i]) ? 1 : 0;
    }
    if (n_kept == 0) {
        return n;
    }
    n_kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (keep(router, op, nodes[i])) {
            nodes[n_kept++] = nodes[i];
        }
    }
    return n_kept;
}

static bool is_answering(const struct router *router, const struct router_op *op,
                         const struct router_node *node)
{
    (void)op;
    return !is_quiet(router, node);
}

static bool is_new_to(const struct router *router, const struct router_op *op,
                      const struct router_node *node)
{
    (void)router;
    for (uint32_t i = 0; i < op->n_asked && i < ROUTER_ASKED_MAX; i++) {
        if (op->asked[i] == node->node) {
            return false;
        }
    }
    return true;
}

/* The members that are up, the first one in front whose turn it is. */
static uint32_t members_up(const struct router *router, const struct router_op *op,
                           const struct router_node *out[ROUTER_MEMBERS_MAX])
{
    const struct router_zone *zone = &op->zone->zone;
    uint32_t n = 0;

    for (uint32_t i = 0; i < zone->n_members; i++) {
        uint64_t number = zone->nodes[(op->turn + i) % zone->n_members];
        const struct router_node *node = router_node_find(router, number);

        if (node != NULL && node->up) {
            out[n++] = node;
        }
    }
    return n;
}

static uint64_t closest_us(const struct router *router, const struct router_node *nodes[],
                           uint32_t n)
{
    uint64_t least = UINT64_MAX;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t us = distance_us(router, nodes[i]);

        least = us < least ? us : least;
    }
    return least;
}

/* The first of those that are about as close as the closest. */
static const struct router_node *close_one(const struct router *router,
                                           const struct router_node *nodes[], uint32_t n)
{
    uint64_t near_us = closest_us(router, nodes, n);
    uint32_t i = 0;

    near_us += near_us / 4;
    while (distance_us(router, nodes[i]) > near_us) {
        i++;
    }
    return nodes[i];
}

static const struct router_node *least_busy(const struct router *router,
                                            const struct router_node *nodes[], uint32_t n)
{
    uint64_t near_us = 2 * closest_us(router, nodes, n) + NEAR_US;
    const struct router_node *best = NULL;

    for (uint32_t i = 0; i < n; i++) {
        if (distance_us(router, nodes[i]) <= near_us &&
            (best == NULL || nodes[i]->reading_bytes < best->reading_bytes)) {
            best = nodes[i];
        }
    }
    return best;
}

static bool is_own(const struct router *router, const struct router_zone *zone)
{
    for (uint32_t i = 0; i < zone->n_members; i++) {
        if (zone->nodes[i] == router->config.self) {
            return !is_quiet(router, router_node_find(router, zone->nodes[i]));
        }
    }
    return false;
}

uint64_t router_place_read(const struct router *router, const struct router_op *op)
{
    const struct router_node *nodes[ROUTER_MEMBERS_MAX];
    uint32_t n;

    if (op->turn == 0 && is_own(router, &op->zone->zone)) {
        return router->config.self;
    }
    n = members_up(router, op, nodes);
    if (n == 0) {
        return 0;
    }
    n = narrow(router, op, nodes, n, is_answering);
    n = narrow(router, op, nodes, n, is_new_to);
    if (op->read_bytes >= ROUTER_STRIPE_BYTES) {
        return least_busy(router, nodes, n)->node;
    }
    return close_one(router, nodes, n)->node;
}

void router_op_place(struct router *router, struct router_op *op, uint64_t node)
{
    struct router_node *before = op->out == 0 ? NULL : router_node_find(router, op->out);
    struct router_node *after = node == 0 ? NULL : router_node_find(router, node);

    if (before != NULL && op->is_read) {
        ASSERT(before->reading_bytes >= op->read_bytes);
        before->reading_bytes -= op->read_bytes;
    }
    if (after != NULL && op->is_read) {
        after->reading_bytes += op->read_bytes;
    }
    op->out = node;
}

void router_node_quiet(struct router *router, uint64_t node)
{
    struct router_node *found = router_node_find(router, node);

    if (found != NULL) {
        found->quiet_until_ms = router->now_ms + ROUTER_QUIET_MS;
    }
}
