#include "base/assert.h"
#include "zone/state.h"

#include <errno.h>

struct move {
    struct store_inode from;
    struct store_inode other; /* The target directory if it is another one. */
    struct store_inode *to;   /* One of the two. */
    struct store_inode child;
    struct store_inode victim;
    bool has_victim;
    uint64_t child_cookie;
    uint64_t victim_cookie;
};

static int move_names(const struct zone_op *op)
{
    int rv = zone_name_check(op->name);

    if (rv == 0) {
        rv = zone_name_check(op->to_name);
    }
    if (rv != 0) {
        return rv;
    }
    if (zone_name_is_dot(op->name) || zone_name_is_dotdot(op->name) ||
        zone_name_is_dot(op->to_name) || zone_name_is_dotdot(op->to_name)) {
        return OUT_INVAL; /* RFC 1813 3.3.14. */
    }
    return 0;
}

static int find(struct zone *zone, uint64_t dir, struct slice name,
                struct store_inode *out, uint64_t *cookie)
{
    struct store_dirent entry;
    int rv = store_dirent_get(zone->store, dir, name, &entry);

    if (rv != 0) {
        return rv;
    }
    *cookie = entry.cookie;
    return zone_get_ino(zone, entry.ino, out);
}

static int move_begin(struct apply *apply, struct move *move)
{
    const struct zone_op *op = apply->op;
    struct zone *zone = apply->zone;
    int rv;

    rv = zone_get_dir(zone, op->obj, &move->from, &apply->result->dir);
    if (rv != 0) {
        return rv;
    }
    rv = zone_get_dir(zone, op->to, &move->other, &apply->result->to);
    if (rv != 0) {
        return rv;
    }
    move->to = move->other.ino == move->from.ino ? &move->from : &move->other;
    rv = move_names(op);
    if (rv != 0) {
        return rv;
    }
    if (zone_may(&move->from, &op->cred, ZONE_MAY_EXEC) != 0 ||
        zone_may(move->to, &op->cred, ZONE_MAY_EXEC) != 0) {
        return OUT_ACCES;
    }
    rv = find(zone, move->from.ino, op->name, &move->child, &move->child_cookie);
    if (rv != 0) {
        return rv;
    }
    rv = find(zone, move->to->ino, op->to_name, &move->victim, &move->victim_cookie);
    move->has_victim = rv == 0;
    return rv == OUT_NOENT ? 0 : rv;
}

/* A directory must not become its own descendant: OUT_INVAL. */
static int check_descent(struct zone *zone, const struct move *move)
{
    struct store_inode at = *move->to;
    uint64_t seen = 0; /* Of the way: where it was after 1, 2, 4, 8 ... more steps. */
    uint64_t steps = 0;
    uint64_t limit = 1;

    if (move->child.type != ZONE_DIR || move->to == &move->from) {
        return 0;
    }
    while (at.ino != move->child.ino && at.ino != ZONE_ROOT_INO) {
        int rv = zone_get_ino(zone, at.parent, &at);

        if (rv != 0) {
            return rv;
        }
        if (at.ino == seen) {
            return -EUCLEAN; /* The rows go round in a circle. */
        }
        if (++steps == limit) {
            seen = at.ino;
            steps = 0;
            limit *= 2;
        }
    }
    return at.ino == move->child.ino ? OUT_INVAL : 0;
}

static int check_victim(const struct zone_op *op, const struct move *move)
{
    const struct store_inode *victim = &move->victim;
    int rv;

    if (!move->has_victim) {
        return zone_may(move->to, &op->cred, ZONE_MAY_WRITE);
    }
    rv = zone_may_remove(move->to, victim, &op->cred);
    if (rv != 0) {
        return rv;
    }
    if (move->child.type == ZONE_DIR && victim->type != ZONE_DIR) {
        return OUT_NOTDIR;
    }
    if (move->child.type != ZONE_DIR && victim->type == ZONE_DIR) {
        return OUT_ISDIR;
    }
    return victim->type == ZONE_DIR && victim->entries != 0 ? OUT_NOTEMPTY : 0;
}

static int move_check(struct apply *apply, const struct move *move)
{
    const struct zone_op *op = apply->op;
    int rv;

    rv = zone_may_remove(&move->from, &move->child, &op->cred);
    if (rv != 0) {
        return rv;
    }
    rv = check_descent(apply->zone, move);
    if (rv != 0) {
        return rv;
    }
    rv = check_victim(op, move);
    if (rv != 0) {
        return rv;
    }
    /* Its ".." changes, which is a write to it. */
    if (move->child.type == ZONE_DIR && move->to != &move->from) {
        return zone_may(&move->child, &op->cred, ZONE_MAY_WRITE);
    }
    return 0;
}

static int drop_victim(struct apply *apply, struct move *move)
{
    int rv = zone_name_del(apply, move->to, apply->op->to_name);

    if (rv != 0) {
        return rv;
    }
    if (move->victim.type == ZONE_DIR) {
        move->to->nlink--;
    }
    return zone_unlink(apply, &move->victim);
}

/*
 * The new name's place in listings. Who lists meanwhile must meet each name once that was
 * there all the time, so a name that only gets another file keeps its place. A file that
 * only changes its name within a directory keeps its own: it is met once, under one name
 * or the other; at the end, a listing that renames what it meets would never end.
 */
static int add_name(struct apply *apply, struct move *move)
{
    struct slice name = apply->op->to_name;
    uint64_t ino = move->child.ino;

    if (move->has_victim) {
        return zone_name_put(apply, move->to, name, ino, move->victim_cookie);
    }
    if (move->to == &move->from) {
        return zone_name_put(apply, move->to, name, ino, move->child_cookie);
    }
    return zone_name_add(apply, move->to, name, ino);
}

/* The three rows that stay: the child and one or two directories. */
static int put_rows(struct apply *apply, struct move *move)
{
    struct store *store = apply->zone->store;
    int rv;

    move->child.ctime = apply->now_ns;
    move->child.verf = 0;
    move->child.version = apply->index;
    if (move->child.type == ZONE_DIR && move->to != &move->from) {
        move->child.parent = move->to->ino;
        move->from.nlink--;
        move->to->nlink++;
    }
    rv = store_inode_put(store, &move->child);
    if (rv != 0) {
        return rv;
    }
    rv = store_inode_put(store, &move->from);
    if (rv != 0 || move->to == &move->from) {
        return rv;
    }
    return store_inode_put(store, move->to);
}

/* RFC 1813 3.3.14. */
int zone_run_rename(struct apply *apply)
{
    const struct zone_op *op = apply->op;
    struct move move;
    int rv;

    rv = move_begin(apply, &move);
    if (rv != 0) {
        return rv;
    }
    if (move.has_victim && move.victim.ino == move.child.ino) {
        zone_show_obj(apply->result, &move.child);
        return 0; /* Two names of one file: nothing happens. */
    }
    rv = move_check(apply, &move);
    if (rv != 0) {
        return rv;
    }
    if (move.has_victim) {
        rv = drop_victim(apply, &move);
        if (rv != 0) {
            return rv;
        }
    }
    rv = zone_name_del(apply, &move.from, op->name);
    if (rv != 0) {
        return rv;
    }
    rv = add_name(apply, &move);
    if (rv != 0) {
        return rv;
    }
    rv = put_rows(apply, &move);
    if (rv != 0) {
        return rv;
    }
    zone_show_obj(apply->result, &move.child);
    zone_wcc_end(&apply->result->dir, &move.from);
    zone_wcc_end(&apply->result->to, move.to);
    return 0;
}
