/*
 * node_events: what of a zone's state a person wants to know, told when it changes.
 *
 * States are looked at, not reported: some of them (offline, catching up) come about by
 * time alone. Being offline is told once it has lasted: every start and every change of
 * leader passes through it.
 */
#include "daemon/node.h"

#include "daemon/event.h"

#include <stdlib.h>
#include <string.h>

#define OFFLINE_LASTS_MS 2000u

/* What was told of a group, so that only changes are. */
struct node_watch {
    const char *word; /* Its state at the last look; NULL: there was none. */
    uint64_t word_ms; /* Since when it has been so. */
    const char *told; /* The state that was told last; NULL: none. */
    uint64_t leader;
    uint64_t term;
    bool has_members;
    uint32_t n_members;
    struct rgroup_server members[RGROUP_MEMBERS_MAX];
};

void node_watch_free(struct node_watch *watch)
{
    free(watch);
}

static const char *role_name(enum rgroup_role role)
{
    return role == RGROUP_VOTER ? "voter" : "stand-by";
}

static const struct rgroup_server *server_of(const struct node_watch *watch, uint64_t id)
{
    for (uint32_t i = 0; i < watch->n_members; i++) {
        if (watch->members[i].id == id) {
            return &watch->members[i];
        }
    }
    return NULL;
}

static bool reports(const struct replica_status *status, uint64_t id)
{
    for (uint32_t i = 0; i < status->n_members; i++) {
        if (status->members[i].id == id) {
            return true;
        }
    }
    return false;
}

static const char *member_name(const struct node *node, uint64_t raft_id)
{
    const char *name = node_name_of(node, directory_raft_node(raft_id));

    return name[0] == '\0' ? "(a node that left)" : name;
}

static void tell_member(struct node *node, const char *zone,
                        const struct node_watch *watch,
                        const struct replica_member *member)
{
    const struct rgroup_server *before = server_of(watch, member->id);

    if (before == NULL) {
        event_tell(EVENT_MEMBER_ADDED, zone, "%s is a member now, as %s",
                   member_name(node, member->id), role_name(member->role));
    } else if (before->role != member->role && member->role == RGROUP_VOTER) {
        event_tell(EVENT_MEMBER_PROMOTED, zone, "%s has caught up and votes now",
                   member_name(node, member->id));
    }
}

/* What the group was at the first look is no news. */
static void watch_members(struct node *node, const char *zone, struct node_watch *watch,
                          const struct replica_status *status)
{
    if (status->n_members == 0) {
        return;
    }
    for (uint32_t i = 0; watch->has_members && i < status->n_members; i++) {
        tell_member(node, zone, watch, &status->members[i]);
    }
    for (uint32_t i = 0; watch->has_members && i < watch->n_members; i++) {
        if (!reports(status, watch->members[i].id)) {
            event_tell(EVENT_MEMBER_REMOVED, zone, "%s is no longer a member",
                       member_name(node, watch->members[i].id));
        }
    }
    watch->has_members = true;
    watch->n_members = status->n_members;
    for (uint32_t i = 0; i < status->n_members; i++) {
        watch->members[i] = (struct rgroup_server){.id = status->members[i].id,
                                                   .role = status->members[i].role};
    }
}

static void watch_leader(struct node *node, const char *zone, struct node_watch *watch,
                         const struct replica_status *status)
{
    if (status->state == RGROUP_CANDIDATE && status->term != watch->term) {
        event_tell(EVENT_ELECTION, zone, "this node stands for election in term %llu",
                   (unsigned long long)status->term);
    }
    if (status->leader != 0 &&
        (status->leader != watch->leader || status->term != watch->term)) {
        event_tell(EVENT_LEADER, zone, "%s leads in term %llu",
                   member_name(node, status->leader), (unsigned long long)status->term);
        watch->leader = status->leader;
    }
    watch->term = status->term;
}

static void tell_word(const char *zone, const char *word,
                      const struct host_report *report)
{
    if (strcmp(word, "online") == 0) {
        event_tell(EVENT_ONLINE, zone, "entry %llu of %llu is applied",
                   (unsigned long long)report->replica.applied_index,
                   (unsigned long long)report->replica.commit_index);
    } else if (strcmp(word, "offline") == 0) {
        event_tell(EVENT_OFFLINE, zone,
                   report->replica.leader == 0
                       ? "no leader is known: a majority of the members cannot talk"
                       : "this node leads and does not hear a majority of the members");
    } else if (strcmp(word, "catching-up") == 0) {
        if (report->replica.commit_index == 0) {
            /* How much there is shows when its files are open. */
            event_tell(EVENT_CATCHING_UP, zone, "%s", host_state_name(report->state));
            return;
        }
        event_tell(EVENT_CATCHING_UP, zone, "%s; applied %llu of %llu entries",
                   host_state_name(report->state),
                   (unsigned long long)report->replica.applied_index,
                   (unsigned long long)report->replica.commit_index);
    }
    /* full, no-data and failed were told with their reasons where they began. */
}

static void watch_word(const char *zone, struct node_watch *watch,
                       const struct host_report *report)
{
    const char *word = host_report_word(report);
    uint64_t now_ms = host_now_ms();

    if (watch->word == NULL || strcmp(word, watch->word) != 0) {
        watch->word = word;
        watch->word_ms = now_ms;
    }
    if ((watch->told != NULL && strcmp(word, watch->told) == 0) ||
        (strcmp(word, "offline") == 0 && now_ms < watch->word_ms + OFFLINE_LASTS_MS)) {
        return;
    }
    watch->told = word;
    tell_word(zone, word, report);
}

static void look(struct node *node, struct host *host, struct node_watch **place)
{
    struct node_watch *watch = *place;
    struct host_report report;

    if (watch == NULL) {
        watch = calloc(1, sizeof *watch);
        *place = watch;
    }
    if (watch == NULL) {
        return; /* The next tick tries again. */
    }
    host_report(host, &report);
    if (report.state == HOST_RUNNING || report.state == HOST_PULLING) {
        watch_members(node, host_label(host), watch, &report.replica);
        watch_leader(node, host_label(host), watch, &report.replica);
        node_clock_look(node, &report.replica);
    }
    watch_word(host_label(host), watch, &report);
}

void node_events_tick(struct node *node)
{
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (node->zones[i].host != NULL) {
            look(node, node->zones[i].host, &node->zones[i].watch);
        }
    }
    if (node->home != NULL) {
        look(node, node->home, &node->home_watch);
    }
    node_clock_tell(node);
}
