#include "daemon/recover_log.h"

#include "base/log.h"
#include "base/outcome.h"

#include <errno.h>
#include <inttypes.h>

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

/* Term, vote and entry are one batch: a crash leaves all of it or nothing. */
static int force(const struct recover_log *what, struct journal *journal)
{
    struct rgroup_conf conf = {.n = 1,
                               .servers = {{.id = what->raft_id, .role = RGROUP_VOTER}}};
    const struct journal_state *state = &what->state;
    uint64_t last =
        state->last_index > state->base_index ? state->last_index : state->base_index;
    struct journal_entry entry = {.index = last + 1, .type = RGROUP_CHANGE};
    struct journal_batch batch = {.has_meta = true, .entries = &entry, .n_entries = 1};
    struct buf *bytes = buf_new(RGROUP_CONF_BYTES_MAX);
    size_t len = 0;
    int rv;

    if (bytes == NULL) {
        return -ENOMEM;
    }
    rv = rgroup_conf_encode(&conf, bytes->data, bytes->cap, &len);
    if (rv == 0) {
        bytes->len = len;
        batch.term =
            (state->term > what->term_above ? state->term : what->term_above) + 1;
        batch.vote = what->raft_id;
        entry.term = batch.term;
        entry.head = slice_borrow(bytes->data, len);
        rv = journal_append(journal, &batch);
    }
    if (rv == 0) {
        log_warn("daemon",
                 "msg=\"recovery: this member goes on alone\" zone=%s index=%" PRIu64
                 " term=%" PRIu64,
                 what->label, entry.index, entry.term);
    }
    buf_unref(bytes);
    return rv;
}

int recover_log(const struct recover_log *what, struct journal *journal,
                struct zone *zone, bool *forced)
{
    bool done = false;
    int rv;

    *forced = false;
    rv = is_done(what, zone, &done);
    if (rv != 0 || done) {
        return rv;
    }
    if (!what->lead) {
        return zone_applied_index(zone) > what->index_max ? -ESTALE : 0;
    }
    if (what->state.last_index < what->index_max) {
        return -EUCLEAN; /* What it had when it was chosen is not there any more. */
    }
    rv = force(what, journal);
    *forced = rv == 0;
    return rv;
}
