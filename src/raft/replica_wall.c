/*
 * The clock of the day by which entries are stamped: this member's own, or, if it is more
 * than a minute off the members' median, the median (raft/wall.h).
 *
 * Each member tells the others its clock when a connection comes up, when it jumps, and
 * every few seconds; and who is asked for its vote tells it first, on the channel of the
 * answer: so a new leader knows the clocks of a majority, whenever it started.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"

#define NS_IN_MS 1000000

static int64_t ms_of(int64_t ns)
{
    return ns / NS_IN_MS;
}

static void tell(struct replica *r, uint64_t id)
{
    int64_t ms = r->wall.own.start_ms + (int64_t)r->now_ms;
    uint64_t value = ms > 0 ? (uint64_t)ms : 0;

    replica_control(r, id, REPLICA_FRAME_CLOCK, replica_put_u64s(r, &value, 1), 0);
}

static void tell_all(struct replica *r)
{
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        uint64_t id = r->conf.servers[i].id;
        const struct replica_peer *peer = replica_peer_find(r, id, false);

        if (id != r->config.self && peer != NULL && peer->up) {
            tell(r, id);
        }
    }
    r->wall.told_ms = r->now_ms;
    r->wall.told_start_ms = r->wall.own.start_ms;
}

/* Of the members whose clock is known, and ours. */
static void judge(struct replica *r)
{
    int64_t starts[RGROUP_MEMBERS_MAX];
    uint32_t n = 0;

    starts[n++] = r->wall.own.start_ms;
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n && n < RGROUP_MEMBERS_MAX; i++) {
        uint64_t id = r->conf.servers[i].id;
        const struct replica_peer *peer = replica_peer_find(r, id, false);

        if (id != r->config.self && peer != NULL &&
            wall_is_fresh(&peer->wall, r->now_ms)) {
            starts[n++] = peer->wall.start_ms;
        }
    }
    r->wall.judged_ms = r->wall.own.start_ms;
    r->wall.verdict = wall_judge(starts, n, r->now_ms, ms_of(r->last_time_ns));
}

void replica_wall_own(struct replica *r, int64_t wall_ns)
{
    int64_t moved;

    if (wall_ns < 0 || !wall_heard(&r->wall.own, (uint64_t)ms_of(wall_ns), r->now_ms)) {
        return;
    }
    moved = r->wall.own.start_ms - r->wall.judged_ms;
    if (r->wall.verdict.n == 0 || moved > WALL_MOVED_MS || moved < -WALL_MOVED_MS) {
        judge(r);
    }
}

void replica_wall_peer(struct replica *r, uint64_t id)
{
    if (r->wall.own.known && id != r->config.self) {
        tell(r, id);
    }
}

void replica_wall_frame(struct replica *r, struct replica_peer *peer, struct slice head)
{
    uint64_t ms;

    if (replica_get_u64s(head, &ms, 1) == 0 && wall_heard(&peer->wall, ms, r->now_ms) &&
        r->wall.own.known) {
        judge(r);
    }
}

void replica_wall_tick(struct replica *r)
{
    int64_t moved = r->wall.own.start_ms - r->wall.told_start_ms;

    if (!r->wall.own.known) {
        return;
    }
    if (r->now_ms - r->wall.told_ms >= WALL_TELL_MS || r->wall.told_ms == 0 ||
        moved > WALL_MOVED_MS || moved < -WALL_MOVED_MS) {
        tell_all(r);
    }
    judge(r);
}

int64_t replica_wall_time(const struct replica *r, int64_t wall_ns)
{
    int64_t start_ms = r->wall.verdict.start_ms;
    int64_t own_ms = ms_of(wall_ns) - (int64_t)r->now_ms;

    if (r->wall.verdict.n < 2 || r->config.mutation == REPLICA_MUT_OWN_CLOCK ||
        !wall_is_off(own_ms, start_ms)) {
        return wall_ns;
    }
    return (start_ms + (int64_t)r->now_ms) * NS_IN_MS;
}
