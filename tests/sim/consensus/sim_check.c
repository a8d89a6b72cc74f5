#include "sim.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Log matching: the same index and term mean the same entry and the same one before,
 * in every log there ever was. */
static struct sim_seen *seen_slot(const struct sim_seen *seen, uint64_t cap,
                                  uint64_t index, uint64_t term)
{
    uint64_t at = sim_mix(index * 1000003 + term) & (cap - 1);

    while (seen[at].index != 0 && (seen[at].index != index || seen[at].term != term)) {
        at = (at + 1) & (cap - 1);
    }
    return (struct sim_seen *)(uintptr_t)&seen[at];
}

static void seen_grow(struct sim *sim)
{
    uint64_t cap = sim->seen_cap == 0 ? 4096 : 2 * sim->seen_cap;
    struct sim_seen *grown = calloc(cap, sizeof *grown);
    uint64_t i;

    ASSERT(grown != NULL);
    for (i = 0; i < sim->seen_cap; i++) {
        if (sim->seen[i].index != 0) {
            *seen_slot(grown, cap, sim->seen[i].index, sim->seen[i].term) = sim->seen[i];
        }
    }
    free(sim->seen);
    sim->seen = grown;
    sim->seen_cap = cap;
}

void check_entry(struct sim *sim, const struct sim_node *node, uint64_t index,
                 const struct sim_entry *entry, uint64_t prev_term)
{
    struct sim_seen *slot;

    if (2 * (sim->seen_n + 1) > sim->seen_cap) {
        seen_grow(sim);
    }
    slot = seen_slot(sim->seen, sim->seen_cap, index, entry->term);
    if (slot->index == 0) {
        *slot = (struct sim_seen){.index = index,
                                  .term = entry->term,
                                  .hash = entry->hash,
                                  .prev_term = prev_term};
        sim->seen_n++;
    } else if (slot->hash != entry->hash ||
               (index > 1 && prev_term != 0 && slot->prev_term != 0 &&
                slot->prev_term != prev_term)) {
        sim_fail(sim, "log matching: node %u has another entry %lu^%lu than was seen",
                 node->id, index, entry->term);
    }
}

static struct sim_commit *commit_at(struct sim *sim, uint64_t index)
{
    uint64_t had = sim->commits_cap;

    sim->commits =
        sim_grow(sim->commits, &sim->commits_cap, index + 1, sizeof *sim->commits);
    if (sim->commits_cap > had) {
        memset(sim->commits + had, 0, (sim->commits_cap - had) * sizeof *sim->commits);
    }
    return &sim->commits[index];
}

void check_commit(struct sim *sim, const struct sim_node *node, uint64_t from,
                  uint64_t to)
{
    uint64_t index;

    for (index = from; index <= to; index++) {
        const struct sim_entry *entry = log_at(&node->log, index);
        struct sim_commit *commit = commit_at(sim, index);

        if (entry == NULL) {
            if (index <= node->snap.index) {
                continue;
            }
            sim_fail(sim, "node %u takes %lu for committed and has no such entry",
                     node->id, index);
        }
        if (commit->term == 0) {
            *commit = (struct sim_commit){
                .term = entry->term, .hash = entry->hash, .by_term = node->term};
            sim->counts.commits++;
            sim->commits_n = index > sim->commits_n ? index : sim->commits_n;
        } else if (commit->term != entry->term || commit->hash != entry->hash) {
            sim_fail(sim,
                     "state machine safety: node %u commits %lu^%lu, elsewhere it is "
                     "%lu^%lu",
                     node->id, index, entry->term, index, commit->term);
        }
    }
}

static void check_complete(struct sim *sim, const struct sim_node *node)
{
    uint64_t index;

    for (index = 1; index <= sim->commits_n; index++) {
        const struct sim_commit *commit = &sim->commits[index];
        const struct sim_entry *entry = log_at(&node->log, index);

        if (commit->term == 0 || commit->by_term >= node->term ||
            (entry == NULL && index <= node->snap.index)) {
            continue;
        }
        if (entry == NULL || entry->term != commit->term || entry->hash != commit->hash) {
            sim_fail(sim, "leader completeness: node %u leads term %lu without %lu^%lu",
                     node->id, node->term, index, commit->term);
        }
    }
}

void check_leader(struct sim *sim, const struct sim_node *node)
{
    uint64_t had = sim->leaders_cap;

    sim->leaders =
        sim_grow(sim->leaders, &sim->leaders_cap, node->term + 1, sizeof *sim->leaders);
    if (sim->leaders_cap > had) {
        memset(sim->leaders + had, 0, (sim->leaders_cap - had) * sizeof *sim->leaders);
    }
    if (sim->leaders[node->term] != 0 && sim->leaders[node->term] != node->id) {
        sim_fail(sim, "election safety: nodes %u and %u both lead term %lu",
                 sim->leaders[node->term], node->id, node->term);
    }
    sim->leaders[node->term] = node->id;
    check_complete(sim, node);
}

void check_applied(struct sim *sim, const struct sim_node *node, uint64_t index,
                   uint64_t state)
{
    uint64_t had = sim->states_cap;

    sim->states = sim_grow(sim->states, &sim->states_cap, index + 1, sizeof *sim->states);
    if (sim->states_cap > had) {
        memset(sim->states + had, 0, (sim->states_cap - had) * sizeof *sim->states);
    }
    if (sim->states[index] != 0 && sim->states[index] != state) {
        sim_fail(sim, "node %u has another state than others at %lu", node->id, index);
    }
    sim->states[index] = state;
}

/* What is not well yet; NULL if nothing. */
static const char *unwell(struct sim *sim, char *out, size_t cap)
{
    const struct sim_node *leader = NULL;
    struct rgroup_conf conf;
    uint32_t id;
    uint32_t i;

    for (id = 1; id <= sim->n_nodes; id++) {
        const struct sim_node *node = &sim->nodes[id];

        if (node->up && node->role == RGROUP_LEADER &&
            (leader == NULL || node->term > leader->term)) {
            leader = node;
        }
    }
    if (leader == NULL) {
        return "no leader";
    }
    if (sim->commits_n <= sim->calm_commit + 3) {
        return "nothing is committed";
    }
    rgroup_conf_now(leader->group, &conf);
    for (i = 0; i < conf.n; i++) {
        const struct sim_node *node = &sim->nodes[conf.servers[i].id];

        if (node->up && node->applied <= sim->calm_commit) {
            (void)snprintf(out, cap, "node %u has applied %lu, leader %u %lu", node->id,
                           node->applied, leader->id, leader->applied);
            return out;
        }
    }
    return NULL;
}

bool check_end(struct sim *sim, bool last)
{
    char text[128];
    const char *what = unwell(sim, text, sizeof text);

    if (what != NULL && last) {
        sim_fail(sim, "liveness: after the faults ended, %s", what);
    }
    return what == NULL;
}
