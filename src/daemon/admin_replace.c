/*
 * admin_replace: one member for another, in one row.
 *
 * The new member's row says whom it replaces, so whoever leads the zone adds it, waits
 * until it votes and removes the other (reconcile), also after a crash of anybody.
 */
#include "daemon/admin.h"

#include <stdio.h>

static void replace_parse(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    const struct directory_node *old;
    char text[2 * DIRECTORY_NAME_MAX + 2];

    if (zone == NULL) {
        return;
    }
    old = admin_node(call, "node");
    if (old == NULL || !admin_arg(call, "member", text, sizeof text) ||
        !admin_member_parse(call, text, &call->zone.members[0])) {
        return;
    }
    if ((directory_member(zone, old->peer.number) == NULL ||
         directory_member(zone, call->zone.members[0].node) != NULL) &&
        admin_may_yet_come(call)) {
        return;
    }
    if (directory_member(zone, old->peer.number) == NULL) {
        admin_error(call, "node '%s' is no member of '%s'", old->name, call->slug);
        return;
    }
    if (directory_member(zone, call->zone.members[0].node) != NULL) {
        admin_error(
            call,
            "'%s': that node is a member of '%s' already, and a zone is on a node "
            "once. To put it into another pool, remove the member and add it with "
            "NODE:POOL; of two members or one, add another node first",
            text, call->slug);
        return;
    }
    if (zone->n_members == DIRECTORY_MEMBERS_MAX) {
        admin_error(call, "a zone has at most %u members", DIRECTORY_MEMBERS_MAX);
        return;
    }
    call->number = old->peer.number;
    call->zone.n_members = 1;
    call->phase = 1;
    admin_pools_ask(call);
}

static void replace_write(struct admin_call *call)
{
    struct directory_member member;
    const struct directory_zone *now;
    struct directory_zone zone;

    if (!admin_pools_check(call, false)) {
        return;
    }
    now = admin_zone(call);
    if (now == NULL) {
        return;
    }
    zone = *now;
    member = call->zone.members[0];
    for (uint32_t i = 0; i < zone.n_members; i++) {
        if (zone.members[i].node == call->number) {
            zone.members[i].leaving = true;
            member.replaces = zone.members[i].raft_id;
        }
    }
    if (member.replaces == 0) {
        admin_error(call, "the members of '%s' were changed meanwhile: look again",
                    call->slug);
    } else if (admin_member_join(call, &zone, &member)) {
        call->phase = 2;
        admin_row_write(call, &zone);
    }
}

/* The old member has left the row: the last of what there is to do. */
static void replace_wait(struct admin_call *call)
{
    const struct directory_zone *zone =
        directory_zone_named(&call->node->directory, call->slug);

    if (zone == NULL || directory_member(zone, call->number) == NULL) {
        admin_done(call, NULL);
    } else if (host_now_ms() >= call->deadline_ms) {
        admin_warn(call, "the new member is still getting the data: the old one goes by "
                         "itself once it has it; see gvraft status");
        admin_done(call, NULL);
    }
}

void admin_zone_replace(struct admin_call *call)
{
    if (call->phase == 0) {
        replace_parse(call);
    }
    if (call->ended || call->busy > 0) {
        return;
    }
    if (call->phase == 1) {
        replace_write(call);
    } else if (call->phase == 2) {
        if (admin_row_written(call)) {
            call->phase = 3;
        }
    } else if (call->phase == 3) {
        replace_wait(call);
    }
}
