/*
 * admin_recover: go on without the majority of a zone's members (docs/adr/0006-recover.md).
 *
 * Every node that can be reached is asked how far its member is, and whom it reaches.
 * Without "confirm" the call only tells what it would do. With it, it writes one row; all
 * else follows from that on every node, after crashes too (node_recover).
 */
#include "daemon/admin.h"

#include "daemon/json.h"
#include "daemon/recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUP_MEMBERS_MAX RGROUP_MEMBERS_MAX

struct looking {
    uint8_t group[16];
    char what[DIRECTORY_NAME_MAX + 16]; /* Recovered, as a person is told. */
    uint32_t n;
    uint32_t self;
    struct recover_member members[GROUP_MEMBERS_MAX];
};

/* The asked side. */

static void put_links(cJSON *json, const struct node *node)
{
    cJSON *links = cJSON_AddArrayToObject(json, "links");

    for (uint32_t i = 0; i < node->n_known; i++) {
        if (node->link_up[i]) {
            cJSON_AddItemToArray(links,
                                 cJSON_CreateNumber((double)node->known[i].number));
        }
    }
}

static bool is_voter(const struct host_report *report, uint64_t raft_id)
{
    for (uint32_t i = 0; i < report->replica.n_members; i++) {
        if (report->replica.members[i].id == raft_id) {
            return report->replica.members[i].role == RGROUP_VOTER;
        }
    }
    return false;
}

void admin_recover_look(struct admin_call *call)
{
    cJSON *json = cJSON_CreateObject();
    struct replica_log_end end;
    struct host_report report;
    uint64_t commit = 0;
    struct host *host;
    uint8_t id[16];

    put_links(json, call->node);
    host =
        json_hex(call->args, "group", id, sizeof id) ? node_host(call->node, id) : NULL;
    cJSON_AddBoolToObject(json, "opens",
                          host != NULL && host_state(host) == HOST_OPENING);
    if (host != NULL && host_log_end(host, &end) == 0) {
        (void)json_u64(call->args, "commit_index", &commit);
        json_put_u64(json, "raft_id", host_raft_id(host));
        json_put_u64(json, "term", end.term);
        json_put_u64(json, "last_index", end.last_index);
        json_put_u64(json, "last_term", end.last_term);
        json_put_u64(json, "commit_index", end.commit_index);
        json_put_u64(json, "commit_term", end.commit_term);
        json_put_u64(json, "ahead_index", host_ahead_index(host));
        json_put_u64(json, "term_there", host_term_at(host, commit));
        host_report(host, &report);
        cJSON_AddBoolToObject(json, "voter", is_voter(&report, host_raft_id(host)));
    }
    admin_done(call, json);
}

/* The asking side. */

static struct recover_member *member_on(struct looking *looking, uint64_t node)
{
    for (uint32_t i = 0; i < looking->n; i++) {
        if (looking->members[i].node == node) {
            return &looking->members[i];
        }
    }
    return NULL;
}

static void hear_links(struct looking *looking, const cJSON *links)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, links)
    {
        struct recover_member *member;
        uint64_t number = 0;

        member = json_u64_of(item, &number) ? member_on(looking, number) : NULL;
        if (member != NULL) {
            member->heard_by = true;
        }
    }
}

static void on_look(struct admin_call *call, uint64_t from, const cJSON *answer)
{
    struct looking *looking = call->state;
    const cJSON *json = cJSON_GetObjectItemCaseSensitive(answer, "result");
    struct recover_member *member = member_on(looking, from);
    struct recover_member *self = &looking->members[looking->self];
    struct host *host = node_host(call->node, looking->group);
    struct replica_log_end *end;
    uint64_t term_there = 0;
    uint64_t raft_id = 0;

    hear_links(looking, cJSON_GetObjectItemCaseSensitive(json, "links"));
    if (member == NULL || host == NULL) {
        return;
    }
    end = &member->end;
    member->told = json != NULL;
    member->answers = json_u64(json, "raft_id", &raft_id) && raft_id == member->raft_id &&
                      json_u64(json, "term", &end->term) &&
                      json_u64(json, "last_index", &end->last_index) &&
                      json_u64(json, "last_term", &end->last_term) &&
                      json_u64(json, "commit_index", &end->commit_index) &&
                      json_u64(json, "commit_term", &end->commit_term) &&
                      json_u64(json, "term_there", &term_there);
    /* Nodes of before do not say these. */
    (void)json_u64(json, "ahead_index", &member->ahead_index);
    member->opens = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "opens"));
    member->held = end->commit_index <= self->end.commit_index ||
                   host_term_at(host, end->commit_index) == end->commit_term;
    member->holds = self->end.commit_index <= end->commit_index ||
                    term_there == self->end.commit_term;
}

static void ask_nodes(struct admin_call *call, const struct looking *looking)
{
    struct node *node = call->node;

    for (uint32_t i = 0; i < node->n_known; i++) {
        cJSON *args;

        if (node->known[i].number == node->number || !node->link_up[i]) {
            continue;
        }
        args = cJSON_CreateObject();
        json_put_hex(args, "group", looking->group, sizeof looking->group);
        json_put_u64(args, "commit_index",
                     looking->members[looking->self].end.commit_index);
        admin_ask(call, node->known[i].number, "recover-look", args, on_look);
    }
}

static void look_add(struct looking *looking, const struct host_report *report,
                     uint64_t raft_id)
{
    if (looking->n < GROUP_MEMBERS_MAX) {
        looking->members[looking->n++] =
            (struct recover_member){.node = directory_raft_node(raft_id),
                                    .raft_id = raft_id,
                                    .voter = is_voter(report, raft_id)};
    }
}

/* Right after a start the member's data is still being read: the call is polled again. Else it
 * is ended with why the member does not run. */
static void does_not_run(struct admin_call *call, const struct host *host,
                         const char *what)
{
    char text[CONFIG_ERROR_MAX];

    snprintf(text, sizeof text,
             "this node's member of %s does not run (%s): ask on another", what,
             host_state_name(host_state(host)));
    if (host_state(host) != HOST_OPENING) {
        admin_error(call, "%s", text);
    } else {
        (void)admin_late(call, text);
    }
}

/* Members are those of raft's configuration, which vote, and those of the row. False: the
 * call was ended, or it is too early. */
static bool look_begin(struct admin_call *call, struct host *host,
                       const struct directory_zone *zone)
{
    struct looking *looking = calloc(1, sizeof *looking);
    struct host_report report;
    struct recover_member *self;

    free(call->state);
    call->state = looking;
    if (looking == NULL) {
        admin_error(call, "out of memory");
        return false;
    }
    host_report(host, &report);
    memcpy(looking->group, host_zone_id(host), sizeof looking->group);
    snprintf(looking->what, sizeof looking->what,
             zone == NULL ? "the grapevine" : "zone '%s'", call->slug);
    for (uint32_t i = 0; i < report.replica.n_members; i++) {
        look_add(looking, &report, report.replica.members[i].id);
    }
    for (uint32_t i = 0; zone != NULL && i < zone->n_members; i++) {
        if (member_on(looking, zone->members[i].node) == NULL) {
            look_add(looking, &report, zone->members[i].raft_id);
        }
    }
    self = member_on(looking, call->node->number);
    if (self == NULL || self->raft_id != host_raft_id(host) ||
        host_log_end(host, &self->end) != 0) {
        does_not_run(call, host, looking->what);
        return false;
    }
    self->answers = true;
    self->ahead_index = host_ahead_index(host);
    looking->self = (uint32_t)(self - looking->members);
    ask_nodes(call, looking);
    return true;
}

/* What a member has that is still being opened is not known: look again. */
static void look_again(struct admin_call *call, const char *node, const char *what)
{
    char text[CONFIG_ERROR_MAX];

    snprintf(text, sizeof text,
             "node '%s' is still reading what it has of %s: try again when it has, or "
             "stop its daemon if it never does",
             node, what);
    if (!admin_late(call, text)) {
        call->phase = 0;
    }
}

/* True if it may be done; else the call looks again, or was ended with why not. */
static bool look_decide(struct admin_call *call, struct recover_plan *plan)
{
    const struct looking *looking = call->state;
    struct recover_group group;
    const char *other;

    group = (struct recover_group){looking->members, looking->n, looking->self};
    recover_decide(&group, plan);
    other = plan->other == NULL ? "" : node_name_of(call->node, plan->other->node);
    switch (plan->verdict) {
    case RECOVER_GO:
        return true;
    case RECOVER_MAJORITY:
        admin_error(call,
                    "a majority of the members of %s answers: nothing is lost. Take "
                    "dead ones out with gvraft zone remove-member, gvraft node remove",
                    looking->what);
        break;
    case RECOVER_BEHIND:
        admin_error(call,
                    "node '%s' has more of %s than this one: do it there, or more would "
                    "be lost",
                    other, looking->what);
        break;
    case RECOVER_REACHED:
        admin_error(call,
                    "node '%s' is not gone: another node reaches it. Mend the network "
                    "between it and this one",
                    other);
        break;
    case RECOVER_EMPTY:
        admin_error(call, "this node's member of %s has nothing yet: ask on another",
                    looking->what);
        break;
    case RECOVER_OPENS:
        look_again(call, other, looking->what);
        break;
    }
    return false;
}

/* The leader of before may have been heard a moment ago, and what it granted may still be
 * good: look again. True while that is so, or if the call was ended. */
static bool hears_leader(struct admin_call *call, struct host *host)
{
    struct host_report report;

    host_report(host, &report);
    if (!report.replica.has_quorum) {
        return false;
    }
    if (!admin_late(call, "this member still hears a leader: see gvraft status")) {
        call->phase = 0;
    }
    return true;
}

/* What it would do. */

static cJSON *members_json(const struct admin_call *call)
{
    const struct looking *looking = call->state;
    cJSON *members = cJSON_CreateArray();

    for (uint32_t i = 0; i < looking->n; i++) {
        const struct recover_member *member = &looking->members[i];
        cJSON *json = cJSON_CreateObject();

        cJSON_AddStringToObject(json, "node", node_name_of(call->node, member->node));
        cJSON_AddBoolToObject(json, "voter", member->voter);
        cJSON_AddBoolToObject(json, "answers", member->answers);
        json_put_u64(json, "last_index", member->end.last_index);
        json_put_u64(json, "commit_index", member->end.commit_index);
        cJSON_AddItemToArray(members, json);
    }
    return members;
}

static cJSON *torn_json(const struct host_torn *torn)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *paths = cJSON_AddArrayToObject(json, "paths");

    json_put_u64(json, "files", torn->count);
    for (uint32_t i = 0; i < torn->n; i++) {
        cJSON_AddItemToArray(paths, cJSON_CreateString(torn->paths[i]));
    }
    return json;
}

/* @torn: NULL unless this member has blocks as of entries that nobody has. */
static cJSON *plan_json(const struct admin_call *call, struct host *host,
                        const struct host_torn *torn)
{
    const struct looking *looking = call->state;
    const struct replica_log_end *end = &looking->members[looking->self].end;
    cJSON *json = cJSON_CreateObject();
    struct host_report report;

    host_report(host, &report);
    cJSON_AddStringToObject(json, "slug", call->slug);
    cJSON_AddStringToObject(json, "node", call->node->config.name);
    json_put_u64(json, "last_index", end->last_index);
    json_put_u64(json, "commit_index", end->commit_index);
    json_put_u64(json, "applied_index", report.replica.applied_index);
    json_put_u64(json, "last_s",
                 end->time_ns > 0 ? (uint64_t)(end->time_ns / 1000000000) : 0);
    cJSON_AddItemToObject(json, "members", members_json(call));
    if (torn != NULL) {
        cJSON_AddItemToObject(json, "torn", torn_json(torn));
    }
    return json;
}

/* False: the call goes on later, or was ended, with the plan, or since the name is wrong. */
static bool is_confirmed(struct admin_call *call, struct host *host,
                         const struct recover_plan *plan)
{
    const struct looking *looking = call->state;
    const struct host_torn *torn = NULL;
    char name[DIRECTORY_NAME_MAX + 1] = "";

    if (cJSON_GetObjectItemCaseSensitive(call->args, "confirm") == NULL) {
        if (plan->torn) {
            torn = host_torn(host, looking->members[looking->self].end.last_index);
        }
        if (plan->torn && torn == NULL) {
            (void)admin_late(call, "it takes long to look for the files that have a part "
                                   "of what is lost: try again");
        } else if (torn != NULL && torn->rv != 0) {
            admin_error(call,
                        "the names of the files that have a part of what is lost "
                        "cannot be read: %s",
                        strerror(-torn->rv));
        } else {
            admin_done(call, plan_json(call, host, torn));
        }
        return false;
    }
    if (!json_text(call->args, "confirm", name, sizeof name) ||
        strcmp(name, call->slug) != 0) {
        admin_error(call, "'%s' is not '%s': nothing was done", name, call->slug);
        return false;
    }
    return true;
}

/* Zones. */

static struct host *own_host(struct admin_call *call, const struct directory_zone *zone)
{
    struct host *host = node_host(call->node, zone->id);

    if (host == NULL) {
        admin_error(call, "this node has no data of '%s': ask on one of its members",
                    call->slug);
    }
    return host;
}

static void zone_look(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    struct host *host = zone == NULL ? NULL : own_host(call, zone);
    const struct directory_member *member;
    struct host_report home;

    if (host == NULL) {
        return;
    }
    member = directory_member(zone, call->node->number);
    host_report(call->node->home, &home);
    if (!home.replica.has_quorum) {
        if (!admin_may_yet_come(call)) { /* Right after a start it has yet to be heard. */
            admin_error(call,
                        "the grapevine itself has lost its majority too: begin with "
                        "gvraft recover");
        }
    } else if (member == NULL || member->raft_id != host_raft_id(host)) {
        admin_error(call, "this node is no longer a member of '%s'", call->slug);
    } else if (look_begin(call, host, zone)) {
        call->phase = 1;
    }
}

static void zone_write(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    struct host *host = zone == NULL ? NULL : own_host(call, zone);
    const struct looking *looking = call->state;
    struct recover_group group;
    struct recover_plan plan;
    struct directory_zone row;

    if (host == NULL || !look_decide(call, &plan) || hears_leader(call, host) ||
        !is_confirmed(call, host, &plan)) {
        return;
    }
    group = (struct recover_group){looking->members, looking->n, looking->self};
    recover_row(zone, &group, &plan, (uint64_t)time(NULL), &row);
    if (row.recovery.lead == 0 || row.next_life > UINT16_MAX) {
        admin_error(call, "the members of '%s' were changed meanwhile: look again",
                    call->slug);
        return;
    }
    call->number = row.recovery.lead;
    call->phase = 2;
    admin_row_write(call, &row);
}

static void zone_wait(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    struct host *host = zone == NULL ? NULL : node_host(call->node, zone->id);

    if (zone == NULL) {
        return;
    }
    if (host != NULL && host_raft_id(host) == call->number && host_is_leader(host)) {
        admin_done(call, NULL);
        return;
    }
    (void)admin_late(call, "it is decided, but the zone does not run yet: see gvraft "
                           "status");
}

void admin_zone_recover(struct admin_call *call)
{
    if (call->phase == 0 && admin_again(call)) {
        zone_look(call);
    }
    if (call->ended || call->busy > 0) {
        return;
    }
    if (call->phase == 1) {
        zone_write(call);
    } else if (call->phase == 2) {
        if (admin_row_written(call)) {
            call->phase = 3;
        }
    } else if (call->phase == 3) {
        zone_wait(call);
    }
}

/* The grapevine itself: confirmed with the name of this node, which goes on. */

static void home_look(struct admin_call *call)
{
    snprintf(call->slug, sizeof call->slug, "%s", call->node->config.name);
    if (call->node->home == NULL) {
        admin_error(call, "this node belongs to no grapevine");
    } else if (look_begin(call, call->node->home, NULL)) {
        call->phase = 1;
    }
}

static void home_write(struct admin_call *call)
{
    struct node *node = call->node;
    struct recover_plan plan;
    cJSON *result;
    int rv;

    if (!look_decide(call, &plan) || hears_leader(call, node->home) ||
        !is_confirmed(call, node->home, &plan)) {
        return;
    }
    rv = node_epoch_force(node, plan.term);
    if (rv != 0) {
        admin_error(call, "could not write to the state folder %s: %s",
                    node->config.state, strerror(-rv));
        return;
    }
    result = cJSON_CreateObject();
    json_put_u64(result, "epoch", node->next_epoch);
    admin_done(call, result);
    node_restart(node);
}

/* "epoch": wait until the grapevine runs in that one. */
static void home_wait(struct admin_call *call, uint64_t epoch)
{
    struct node *node = call->node;

    if (node->epoch == epoch && node->directory.epoch == epoch &&
        node->home_epoch == epoch) {
        admin_done(call, NULL);
    } else {
        (void)admin_late(call, "it is decided, but the grapevine does not run yet: see "
                               "gvraft status");
    }
}

void admin_recover(struct admin_call *call)
{
    uint64_t epoch = 0;

    if (json_u64(call->args, "epoch", &epoch)) {
        home_wait(call, epoch);
        return;
    }
    if (call->phase == 0 && admin_again(call)) {
        home_look(call);
    }
    if (!call->ended && call->busy == 0 && call->phase == 1) {
        home_write(call);
    }
}
