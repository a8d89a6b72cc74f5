/*
 * admin_address: gvraft node set-address, where a node cannot write its own new address
 * (node_address.c): the nodes with lower numbers dial it, at the old one.
 */
#include "daemon/admin.h"

#include "daemon/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The address argument, as one that @node can have. False: the call was ended. */
static bool parse(struct admin_call *call, const struct directory_node *node,
                  struct config_address *out)
{
    char text[sizeof out->host + 16];

    if (!admin_arg(call, "address", text, sizeof text)) {
        return false;
    }
    if (config_parse_address(text, out) != 0 || out->port == 0 ||
        config_check_host(out->host) != 0) {
        admin_error(call,
                    "'%s' is no address of one machine: give numbers and a port, such as "
                    "192.0.2.7:2646 or [2001:db8::7]:2646",
                    text);
        return false;
    }
    if (join_is_loopback(out->host) && !join_is_loopback(node->peer.host)) {
        admin_error(call,
                    "%s is every machine's own address: give one at which other "
                    "machines reach '%s'",
                    out->host, node->name);
        return false;
    }
    return true;
}

static void written(struct admin_call *call)
{
    if (call->outcome == OUT_MISMATCH) {
        /* The row changed, by the node itself perhaps, which is there now: look again. */
        call->phase = 0;
        (void)admin_late(call, "the directory changes all the time: try again");
    } else if (call->outcome != 0) {
        admin_error(call,
                    "the directory could not be written (%s): is a majority of the nodes "
                    "reachable, and is that the node's address?",
                    admin_outcome(call->outcome));
    } else {
        admin_done(call, NULL);
    }
}

void admin_node_address(struct admin_call *call)
{
    const struct directory_node *node;
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    struct config_address address;
    struct directory_node fresh;
    char key[DIRECTORY_NAME_MAX + 8];
    char *text;

    if (call->phase == 1) {
        written(call);
        return;
    }
    node = admin_node(call, "node");
    if (node == NULL || !parse(call, node, &address)) {
        return;
    }
    if (node->peer.number == call->node->number) {
        admin_error(call, "this node's address is [listen] peer or advertise in its "
                          "configuration: change it there, and restart grapevined");
        return;
    }
    fresh = *node;
    strcpy(fresh.peer.host, address.host);
    fresh.peer.port = address.port;
    text = directory_node_json(&fresh);
    if (text == NULL) {
        admin_error(call, "out of memory");
        return;
    }
    node_address_try(call->node, node, &address);
    snprintf(key, sizeof key, "node/%s", node->name);
    op.kv[0] = admin_pair(key, text, node->version);
    call->phase = 1;
    admin_op(call, call->node->grapevine_id, &op);
    free(text);
}
