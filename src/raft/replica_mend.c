/*
 * An entry that this member's journal cannot give back, and that is not applied yet.
 *
 * It is committed, so others have it: this member takes the state anew from one that has
 * applied it. A leader hands over first, and steps aside if nobody takes over; meanwhile
 * it could apply nothing. For the pull the member is deaf, as during a roll call: it
 * acknowledges, votes for and leads nothing, so that nothing which it vouches for can hang
 * on what is being replaced. Its log stays, but for what the pulled state covers: what it
 * has acknowledged above that is still there when it comes back, as after a restart.
 *
 * If nobody can give the state, the member takes part again for a while: the others may
 * need its vote, or the end of its log, before one of them can apply the entry. Then the
 * entry is read once more, and if need be the pull is tried anew. The entry is never
 * skipped. A sole voter stops with the fault: there is nobody whose word counts.
 *
 * An entry that is not committed, either, is met by a leader that is to send it. It cannot
 * hand over, since the others would need that entry first. So it steps aside, deaf for
 * some election timeouts, in which the others elect one of them if they are a majority;
 * what that one has is the log, and takes the entry's place here.
 */
#include "base/assert.h"
#include "base/log.h"
#include "raft/replica_impl.h"

#include <errno.h>
#include <inttypes.h>

#define STUCK_ELECTIONS 2u /* So many election timeouts a leader waits for a majority, */
#define ASIDE_ELECTIONS 4u /* and so many it leaves to the others, to elect another. */

bool replica_mend_wanted(struct replica *r, uint64_t index, int rv)
{
    ASSERT(rv < 0 && index == r->applied + 1);
    if (rv == -ENOMEM || rgroup_is_sole_voter(r->group)) {
        return false;
    }
    if (r->mend.index != index) {
        log_error("raft",
                  "msg=\"an entry that is to be applied cannot be read: the state comes "
                  "from another member\" id=%" PRIu64 " index=%" PRIu64 " fault=%d",
                  r->config.self, index, rv);
        r->mend = (struct replica_mend){.index = index, .rv = rv};
        replica_note(r);
    }
    r->mend.waits = true;
    return true;
}

bool replica_deaf(const struct replica *r)
{
    return replica_roll_open(r) || (r->pull.own && r->pull.state != PULL_NONE);
}

/* Leadership, if there is any, ends here: raft hears nothing more until it is made anew. */
static void begin(struct replica *r, struct replica_pull pull)
{
    r->pull = pull;
    r->pull.own = true;
    replica_pull_cut_unissued(r);
    attrs_forget(&r->attrs);
    r->compact_due = false;
    replica_lease_stop(r);
    replica_lease_wait(r);
    replica_read_fail_all(r);
    replica_group_leave(r);
    replica_note(r);
}

void replica_mend_gave_up(struct replica *r)
{
    r->mend.waits = false; /* It is read once more. */
    r->mend.gave_way = false;
    r->mend.after_ms = r->now_ms + REPLICA_MEND_PAUSE_MS;
}

/*
 * The state at P is here, durable, and its descriptor with it. The log goes on after P if
 * it has P as it was committed; else it is older than P or beside it, and nothing of it
 * counts: replica_group_start begins it anew.
 */
void replica_mend_done(struct replica *r)
{
    uint64_t index = r->snapshot.index;
    int rv;

    r->pull = (struct replica_pull){0};
    attrs_forget(&r->attrs);
    if (index > r->log.base_index && replica_log_term(r, index) == r->snapshot.term) {
        replica_compact(r, index);
    }
    rv = replica_group_start(r);
    if (rv != 0) {
        replica_fault(r, rv);
    }
    r->settle_rest = true; /* Pulled blocks lie beside until they settle. */
    /* Said again behind what cannot be read: the journal begins a segment with it, and
     * nothing in the bad one is needed but entries. */
    r->meta_dirty = true;
    replica_note(r);
}

/* A leader's attempt to hand over; when that is decided and it leads on, it goes. */
static bool gives_way(struct replica *r)
{
    if (!replica_is_leader(r)) {
        r->mend.gave_way = false;
        return false;
    }
    if (r->transfer.active) {
        return true;
    }
    if (!r->mend.gave_way) {
        r->mend.gave_way = replica_transfer_away(r);
        return true;
    }
    return false;
}

uint64_t replica_mend_stuck(const struct replica *r)
{
    uint64_t known = r->commit > r->applied ? r->commit : r->applied;

    return replica_is_leader(r) && r->unreadable > known ? r->unreadable : 0;
}

/* Followers wait for an entry that this leader cannot read, and so does all that comes
 * after it. If a majority had it, it would be committed by now. */
static bool is_stuck(const struct replica *r)
{
    return replica_mend_stuck(r) != 0 && !r->stopping && r->now_ms >= r->mend.after_ms &&
           r->now_ms - r->unreadable_ms >= STUCK_ELECTIONS * r->config.election_ms;
}

static void step_aside(struct replica *r)
{
    log_error("raft",
              "msg=\"an entry that followers wait for cannot be read: another member is "
              "to lead\" id=%" PRIu64 " index=%" PRIu64 " fault=%d",
              r->config.self, r->unreadable, r->unreadable_rv);
    r->unreadable = 0; /* It is read once more, should this member lead again. */
    begin(r, (struct replica_pull){
                 .state = PULL_PAUSE,
                 .retry_ms = r->now_ms + ASIDE_ELECTIONS * r->config.election_ms,
                 .aside = true});
}

void replica_mend_go_on(struct replica *r)
{
    if (r->pull.state != PULL_NONE || r->rv != 0) {
        return;
    }
    if (is_stuck(r)) {
        step_aside(r);
        return;
    }
    if (r->mend.index == 0) {
        return;
    }
    if (r->applied >= r->mend.index) {
        r->mend = (struct replica_mend){0};
        replica_note(r);
        return;
    }
    if (!r->mend.waits || r->stopping || replica_roll_open(r) || gives_way(r) ||
        r->now_ms < r->mend.after_ms) {
        return;
    }
    begin(r, (struct replica_pull){.state = PULL_DRAIN,
                                   .index = r->mend.index,
                                   .leader = replica_is_leader(r) ? 0 : r->leader});
}
