#include "raft/roll.h"

bool roll_is_below(struct roll_point a, struct roll_point b)
{
    return a.term < b.term || (a.term == b.term && a.index < b.index);
}

/* The place of @id, a free one, or that of the oldest term. */
static struct roll_mark *place_of(struct roll_marks *marks, uint64_t id)
{
    struct roll_mark *oldest = &marks->items[0];

    for (uint32_t i = 0; i < marks->n; i++) {
        struct roll_mark *mark = &marks->items[i];

        if (mark->id == id) {
            return mark;
        }
        if (mark->point.term < oldest->point.term) {
            oldest = mark;
        }
    }
    return marks->n < ROLL_MARKS_MAX ? &marks->items[marks->n++] : oldest;
}

bool roll_note(struct roll_marks *marks, uint64_t id, struct roll_point point)
{
    struct roll_mark *mark;

    if (id == 0 || point.term == 0 || !roll_is_below(roll_find(marks, id), point)) {
        return false;
    }
    mark = place_of(marks, id);
    *mark = (struct roll_mark){.id = id, .point = point};
    return true;
}

struct roll_point roll_find(const struct roll_marks *marks, uint64_t id)
{
    for (uint32_t i = 0; i < marks->n; i++) {
        if (marks->items[i].id == id) {
            return marks->items[i].point;
        }
    }
    return (struct roll_point){0};
}

void roll_begin(struct roll *roll, uint64_t life, uint64_t until_ms)
{
    *roll = (struct roll){.open = true, .life = life, .until_ms = until_ms};
}

bool roll_has_answered(const struct roll *roll, uint64_t id)
{
    for (uint32_t i = 0; i < roll->n; i++) {
        if (roll->answered[i] == id) {
            return true;
        }
    }
    return false;
}

void roll_answer(struct roll *roll, uint64_t from, struct roll_point floor, bool leads)
{
    if (roll_is_below(roll->floor, floor)) {
        roll->floor = floor;
    }
    if (!roll_has_answered(roll, from) && roll->n < RGROUP_MEMBERS_MAX) {
        roll->answered[roll->n++] = from;
    }
    if (leads) {
        roll->open = false;
    }
}

void roll_count(struct roll *roll, const struct rgroup_conf *conf, uint64_t self,
                uint64_t now_ms)
{
    uint32_t voters = 0;
    uint32_t there = 0;

    for (uint32_t i = 0; i < conf->n; i++) {
        const struct rgroup_server *server = &conf->servers[i];

        if (server->role == RGROUP_VOTER) {
            voters++;
            there += server->id == self || roll_has_answered(roll, server->id) ? 1 : 0;
        }
    }
    if (voters > 0 &&
        (there == voters || (there > voters / 2 && now_ms >= roll->until_ms))) {
        roll->open = false;
    }
}
