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

void roll_voters(struct roll_conf *out, const struct rgroup_conf *conf)
{
    out->n = 0;
    for (uint32_t i = 0; i < conf->n; i++) {
        if (conf->servers[i].role == RGROUP_VOTER) {
            out->voters[out->n++] = conf->servers[i].id;
        }
    }
}

/* Whoever can be elected has what is committed, and its configuration is that or a later
 * one. Committed entries are in one order, so their indexes tell which. */
static void note_committed(struct roll *roll, const struct roll_conf *conf)
{
    if (conf->committed > roll->committed) {
        roll->committed = conf->committed;
    }
}

void roll_answer(struct roll *roll, uint64_t from, const struct roll_answer *answer)
{
    if (roll_is_below(roll->floor, answer->floor)) {
        roll->floor = answer->floor;
    }
    note_committed(roll, &answer->conf);
    if (!roll_has_answered(roll, from) && roll->n < RGROUP_MEMBERS_MAX) {
        roll->answered[roll->n++] = from;
        roll->untold = roll->untold || answer->bare;
    }
    if (answer->leads) {
        roll->open = false;
    }
}

/* How many of the voters have answered, with @self. */
static uint32_t there(const struct roll *roll, const struct roll_conf *conf,
                      uint64_t self)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < conf->n; i++) {
        uint64_t id = conf->voters[i];

        n += id == self || roll_has_answered(roll, id) ? 1 : 0;
    }
    return n;
}

void roll_count(struct roll *roll, const struct roll_conf *own, uint64_t self,
                uint64_t now_ms)
{
    uint32_t n = there(roll, own, self);

    note_committed(roll, own);
    if (own->n == 0 || (own->index < roll->committed && !roll->untold)) {
        return;
    }
    if (n == own->n || (n > own->n / 2 && now_ms >= roll->until_ms)) {
        roll->open = false;
    }
}

/* All of them are not enough at once: it may be a configuration that never was committed
 * and leaves out who is needed in the one that was. */
void roll_count_told(struct roll *roll, const struct roll_answer *told, uint64_t self,
                     uint64_t now_ms)
{
    const struct roll_conf *conf = &told->conf;

    if (conf->index < roll->committed || roll_is_below(told->end, roll->floor)) {
        return; /* This member would not vote for it. */
    }
    if (there(roll, conf, self) > conf->n / 2 && now_ms >= roll->until_ms) {
        roll->open = false;
    }
}
