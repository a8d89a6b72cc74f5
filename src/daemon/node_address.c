/*
 * node_address: this node's address in the directory becomes the one in its configuration.
 *
 * Others dial what the row says. A first node that was begun with `peer` on loopback, and a
 * machine that was given another address, write the new one there by themselves, as soon as
 * a majority of the directory is reached. A node that has to be dialled at its new address
 * for that cannot: then a node that dials it is told (gvraft node set-address), and looks for
 * it there before the directory says so, which may need that very link.
 *
 * One compare-and-set on this node's own row; a race with another change is tried again.
 */
#include "daemon/node.h"

#include "base/log.h"
#include "daemon/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_AGAIN_MS 3000u

bool node_address_differs(const struct node *node)
{
    const struct config_address *own = &node->config.advertise;
    const struct directory_node *row = directory_node(&node->directory, node->number);

    /* Port 0 is any free one, which changes at every start: for tests. */
    return row != NULL && own->port != 0 &&
           (strcmp(row->peer.host, own->host) != 0 || row->peer.port != own->port);
}

static void on_written(void *arg, const struct zone_result *result)
{
    struct node *node = arg;

    node->address_busy = false;
    if (result->outcome == 0) {
        log_info("daemon",
                 "msg=\"other nodes are told a new address of this one\" "
                 "address=%s port=%u",
                 node->config.advertise.host, node->config.advertise.port);
    }
}

static void write_row(struct node *node, const struct directory_node *row)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    struct directory_node fresh = *row;
    char key[DIRECTORY_NAME_MAX + 8];
    char *text;

    strcpy(fresh.peer.host, node->config.advertise.host);
    fresh.peer.port = node->config.advertise.port;
    text = directory_node_json(&fresh);
    if (text == NULL) {
        return;
    }
    snprintf(key, sizeof key, "node/%s", row->name);
    op.kv[0] = (struct zone_kv){.key = slice_borrow(key, strlen(key)),
                                .value = slice_borrow(text, strlen(text)),
                                .version = row->version};
    node->address_busy = true;
    node_directory_op(node, &op, on_written);
    free(text);
}

void node_address_tick(struct node *node)
{
    const struct directory_node *row = directory_node(&node->directory, node->number);
    uint64_t now_ms = host_now_ms();

    if (node->address_busy || node->home == NULL || node->twin ||
        now_ms < node->address_ms || !node_address_differs(node)) {
        return;
    }
    /* As when joining: an address at which others would find themselves replaces none. */
    if (join_is_loopback(node->config.advertise.host) &&
        !join_is_loopback(row->peer.host)) {
        return;
    }
    node->address_ms = now_ms + ADDRESS_AGAIN_MS;
    write_row(node, row);
}

void node_address_tried(const struct node *node, const struct directory_node *row,
                        struct peer_node *out)
{
    if (row->peer.number == node->tried_number && row->version == node->tried_version) {
        memset(out->host, 0, sizeof out->host);
        snprintf(out->host, sizeof out->host, "%s", node->tried.host);
        out->port = node->tried.port;
    }
}

/* It holds until the row is written anew: the directory may be read before, once the link
 * gives it a majority, and must not break that link. */
void node_address_try(struct node *node, const struct directory_node *row,
                      const struct config_address *address)
{
    node->tried_number = row->peer.number;
    node->tried_version = row->version;
    node->tried = *address;
    node_net_refresh(node);
}
