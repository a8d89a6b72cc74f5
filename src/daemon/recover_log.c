#include "daemon/recover_log.h"

#include "base/log.h"
#include "base/outcome.h"

#include <errno.h>
#include <inttypes.h>

#define BATCH 64u
#define NSEC 1000000000

static bool names(uint64_t raft_id, const uint8_t *bytes, size_t len)
{
    struct rgroup_conf conf;

    if (rgroup_conf_decode(bytes, len, &conf) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < conf.n; i++) {
        if (conf.servers[i].id == raft_id) {
            return true;
        }
    }
    return false;
}

/* True in *@out if the newest configuration, in the log or applied, has the new id. */
static int is_done(const struct recover_log *what, struct zone *zone, bool *out)
{
    struct buf *conf = NULL;
    uint64_t index = 0;
    int rv = zone_conf_get(zone, &index, &conf);

    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    if (what->conf.data != NULL && (conf == NULL || what->conf_index >= index)) {
        *out = names(what->raft_id, what->conf.data, what->conf.len);
    } else {
        *out = conf != NULL && names(what->raft_id, conf->data, conf->len);
    }
    buf_unref(conf);
    return 0;
}

uint64_t recover_index(uint64_t last, uint64_t time_s)
{
    uint64_t index = time_s > UINT32_MAX ? 0 : time_s * RECOVER_SECOND;

    return index > last ? index : last + RECOVER_STEP;
}

/* The end of the log of which the rows are the state. It may be older than them, if a crash
 * came between the switch after a pull and its cut: then it is void, unless it has the entry
 * at which the rows are. */
static uint64_t log_end(const struct recover_log *what, struct zone *zone)
{
    uint64_t applied = zone_applied_index(zone);
    const struct journal_state *state = &what->state;
    uint64_t term = applied == state->base_index ? state->base_term : 0;

    if (applied > state->base_index && applied <= state->last_index) {
        term = what->entries[applied - state->base_index - 1].term;
    }
    return applied >= state->base_index && term != zone_applied_term(zone)
               ? applied
               : state->last_index;
}

static void item_of(const struct replica_entry *entry, struct zone_apply_item *out)
{
    *out = (struct zone_apply_item){
        .index = entry->index,
        .term = entry->term,
        .kind = entry->type == RGROUP_COMMAND  ? ZONE_APPLY_COMMAND
                : entry->type == RGROUP_CHANGE ? ZONE_APPLY_CHANGE
                                               : ZONE_APPLY_BARRIER,
        .head = entry->head,
        .place = {.segment = entry->segment, .offset = entry->offset},
    };
}

/* All entries up to @last. The journal was checked as it was read. */
static int apply_all(const struct recover_log *what, struct zone *zone, uint64_t last)
{
    struct zone_apply_item items[BATCH];
    uint64_t next = zone_applied_index(zone) + 1;
    int rv = 0;

    if (next <= what->state.base_index) {
        return -EUCLEAN; /* What lies between is nowhere. */
    }
    while (rv == 0 && next <= last) {
        uint32_t n = 0;

        while (n < BATCH && next + n <= last) {
            item_of(&what->entries[next + n - what->state.base_index - 1], &items[n]);
            n++;
        }
        rv = zone_apply(zone, items, n);
        for (uint32_t i = 0; i < n; i++) {
            zone_result_clear(&items[i].result);
        }
        next += n;
    }
    return rv;
}

/* Everything that the log holds, applied, as the state of an entry that nobody had. */
static int leap(const struct recover_log *what, struct zone *zone)
{
    struct rgroup_conf conf = {.n = 1,
                               .servers = {{.id = what->raft_id, .role = RGROUP_VOTER}}};
    uint64_t last = log_end(what, zone);
    uint64_t term =
        what->state.term > what->term_above ? what->state.term : what->term_above;
    struct zone_leap to = {
        .index = recover_index(last, what->time_s),
        .term = term + 1,
        .time_ns = what->time_s > UINT32_MAX ? 0 : (int64_t)what->time_s * NSEC};
    struct buf *bytes = buf_new(RGROUP_CONF_BYTES_MAX);
    size_t len = 0;
    int rv;

    if (bytes == NULL) {
        return -ENOMEM;
    }
    rv = rgroup_conf_encode(&conf, bytes->data, bytes->cap, &len);
    if (rv == 0) {
        rv = apply_all(what, zone, last);
    }
    if (rv == 0) {
        to.conf = slice_borrow(bytes->data, len);
        rv = zone_leap(zone, &to);
    }
    if (rv == 0) {
        log_warn("daemon",
                 "msg=\"recovery: this member goes on alone\" zone=%s last=%" PRIu64
                 " index=%" PRIu64 " term=%" PRIu64,
                 what->label, last, to.index, to.term);
    }
    buf_unref(bytes);
    return rv;
}

/* The log begins behind the rows. Term, vote and cut are one batch: a crash leaves all of
 * it or nothing. */
static int cut(const struct recover_log *what, struct journal *journal, struct zone *zone)
{
    uint64_t term = zone_applied_term(zone);
    struct journal_batch batch = {.has_meta = true,
                                  .term = term,
                                  .vote = what->raft_id,
                                  .has_base = true,
                                  .base_index = zone_applied_index(zone),
                                  .base_term = term};

    return journal_append(journal, &batch);
}

int recover_log(const struct recover_log *what, struct journal *journal,
                struct zone *zone, bool *forced)
{
    uint64_t ahead = zone_ahead_index(zone);
    bool done = false;
    int rv;

    *forced = false;
    rv = is_done(what, zone, &done);
    if (rv != 0 ||
        (done && (!what->lead || zone_applied_index(zone) <= what->state.last_index))) {
        return rv;
    }
    if (!what->lead) {
        return zone_applied_index(zone) > what->index_max || ahead > what->index_max
                   ? -ESTALE
                   : 0;
    }
    if (!done && what->state.last_index < what->index_max) {
        return -EUCLEAN; /* What it had when it was chosen is not there any more. */
    }
    rv = done ? 0 : leap(what, zone);
    if (rv == 0) {
        rv = cut(what, journal, zone);
    }
    *forced = rv == 0;
    return rv;
}
