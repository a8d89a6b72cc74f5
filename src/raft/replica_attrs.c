/*
 * Attributes beside the zone (attrs.h): touched by what is handed over to be applied, put
 * by what was read or applied, got when a read is ready.
 *
 * A read that may be carried out now would see what was handed over before it, and
 * nothing else, since the zone's thread does one thing after another. Attributes that
 * are known are those, so the read may have them instead.
 */
#include "raft/replica_impl.h"

void replica_attrs_touch(struct replica *r, const struct replica_entry *entry)
{
    uint64_t ino[ZONE_TOUCH_MAX];
    uint32_t n = ZONE_TOUCH_ANY;

    if (entry->type != RGROUP_COMMAND) {
        n = 0;
    } else if (attrs_used(&r->attrs)) {
        n = zone_entry_touches(entry->head, entry->payload, ino);
    }
    attrs_touch(&r->attrs, ino, n);
}

static void put_results(struct replica *r, uint64_t stamp,
                        const struct zone_result *result)
{
    if (result->has_obj) {
        attrs_put(&r->attrs, stamp, &result->obj, false);
    }
    if (result->dir.has_after) {
        attrs_put(&r->attrs, stamp, &result->dir.after, false);
    }
    if (result->to.has_after) {
        attrs_put(&r->attrs, stamp, &result->to.after, false);
    }
}

/*
 * What an entry changed is told here in the step that answers it, before anybody can know
 * its effect: until this step nobody was told anything (attrs_get gives nothing while an
 * entry waits to tell). Attributes that were read before it and come home later are
 * refused by their stamp.
 */
void replica_attrs_applied(struct replica *r, const struct replica_event *event)
{
    for (uint32_t i = 0; i < event->n_entries; i++) {
        const struct replica_result *result = &event->results[i];
        uint64_t stamp = r->apply_stamp + i + 1;

        attrs_told(&r->attrs, stamp, result->touched,
                   result->touched == NULL ? ZONE_TOUCH_ANY : result->n_touched);
        if (result->own != NULL && result->own->outcome == 0 &&
            r->pull.state == PULL_NONE) {
            put_results(r, stamp, result->own);
        }
    }
    attrs_told_all(&r->attrs);
}

bool replica_attrs_get(struct replica *replica, struct zone_handle obj,
                       struct zone_attr *out, uint64_t *index)
{
    if (replica->pull.state != PULL_NONE || !attrs_get(&replica->attrs, obj, out)) {
        return false;
    }
    *index = replica->applied;
    return true;
}

void replica_attrs_seen(struct replica *replica, uint64_t stamp,
                        const struct zone_attr *attr)
{
    if (replica->pull.state == PULL_NONE) {
        attrs_put(&replica->attrs, stamp, attr, true);
    }
}
