/*
 * host_recover: the log of a member with which a recovered zone goes on.
 *
 * The member that leads writes one more entry into its own log: the configuration in
 * which it is the only voter, under its new raft id, in a new term. Started from that, it
 * is its own majority, and all that its log holds becomes committed. The others write
 * nothing: under their new raft ids they are in no configuration yet, follow, and are
 * added like new members, but have their data.
 *
 * Done again after a crash it does nothing: the newest configuration then has the new id.
 */
#include "daemon/host_internal.h"

#include "base/log.h"
#include "base/outcome.h"

#include <errno.h>
#include <inttypes.h>

static bool names_self(const struct host *host, const uint8_t *bytes, size_t len)
{
    struct rgroup_conf conf;

    if (rgroup_conf_decode(bytes, len, &conf) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < conf.n; i++) {
        if (conf.servers[i].id == host->config.raft_id) {
            return true;
        }
    }
    return false;
}

/* True in *@out if the newest configuration, in the log or applied, has the new id. */
static int is_done(struct host *host, const struct host_conf *log, bool *out)
{
    struct buf *conf = NULL;
    uint64_t index = 0;
    int rv = zone_conf_get(host->disk.zone, &index, &conf);

    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    if (log->bytes != NULL && (conf == NULL || log->index >= index)) {
        *out = names_self(host, log->bytes->data, log->bytes->len);
    } else {
        *out = conf != NULL && names_self(host, conf->data, conf->len);
    }
    buf_unref(conf);
    return 0;
}

/* Term, vote and entry are one batch: a crash leaves all of it or nothing. */
static int force(struct host *host, const struct journal_state *state)
{
    struct rgroup_conf conf = {
        .n = 1, .servers = {{.id = host->config.raft_id, .role = RGROUP_VOTER}}};
    uint64_t above = host->config.recovery.term_above;
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
        batch.term = (state->term > above ? state->term : above) + 1;
        batch.vote = host->config.raft_id;
        entry.term = batch.term;
        entry.head = slice_borrow(bytes->data, len);
        rv = journal_append(host->disk.journal, &batch);
    }
    if (rv == 0) {
        log_warn("daemon",
                 "msg=\"recovery: this member goes on alone\" zone=%s index=%" PRIu64
                 " term=%" PRIu64,
                 host->config.label, entry.index, entry.term);
    }
    buf_unref(bytes);
    return rv;
}

int host_recover(struct host *host, const struct journal_state *state,
                 const struct host_conf *log, bool *forced)
{
    const struct host_recovery *recovery = &host->config.recovery;
    bool done = false;
    int rv;

    *forced = false;
    rv = is_done(host, log, &done);
    if (rv != 0 || done) {
        return rv;
    }
    if (!recovery->lead) {
        return zone_applied_index(host->disk.zone) > recovery->index_max ? -ESTALE : 0;
    }
    if (state->last_index < recovery->index_max) {
        return -EUCLEAN; /* What it had when it was chosen is not there any more. */
    }
    rv = force(host, state);
    *forced = rv == 0;
    return rv;
}
