/* Answers to a roll call, to and from bytes: docs/formats/replica.md. */
#include "base/wire.h"
#include "raft/roll.h"

#include <errno.h>

static void put_point(struct wire_enc *enc, struct roll_point point)
{
    wire_put_u64(enc, point.term);
    wire_put_u64(enc, point.index);
}

static struct roll_point get_point(struct wire_dec *dec)
{
    struct roll_point point = {.term = wire_get_u64(dec)};

    point.index = wire_get_u64(dec);
    return point;
}

void roll_answer_put(struct wire_enc *enc, const struct roll_answer *answer)
{
    const struct roll_conf *conf = &answer->conf;

    wire_put_u64(enc, answer->life);
    put_point(enc, answer->mark);
    wire_put_u64(enc, answer->leads ? 1 : 0);
    put_point(enc, answer->floor);
    if (answer->bare) {
        return;
    }
    put_point(enc, answer->end);
    wire_put_u64(enc, conf->index);
    wire_put_u64(enc, conf->committed);
    wire_put_u64(enc, conf->n);
    for (uint32_t i = 0; i < conf->n; i++) {
        wire_put_u64(enc, conf->voters[i]);
    }
}

static bool is_among(const struct roll_conf *conf, uint64_t id)
{
    for (uint32_t i = 0; i < conf->n; i++) {
        if (conf->voters[i] == id) {
            return true;
        }
    }
    return false;
}

/* There is a configuration with voters, each of them once, or there is none. */
static int get_conf(struct wire_dec *dec, struct roll_conf *out)
{
    uint64_t n;

    out->index = wire_get_u64(dec);
    out->committed = wire_get_u64(dec);
    n = wire_get_u64(dec);
    if (dec->failed || n > RGROUP_MEMBERS_MAX || (n == 0) != (out->index == 0) ||
        out->committed > out->index) {
        return -EPROTO;
    }
    while (out->n < n) {
        uint64_t id = wire_get_u64(dec);

        if (id == 0 || is_among(out, id)) {
            return -EPROTO;
        }
        out->voters[out->n++] = id;
    }
    return 0;
}

int roll_answer_get(struct wire_dec *dec, bool bare, struct roll_answer *out)
{
    struct roll_answer answer = {.life = wire_get_u64(dec), .bare = bare};
    uint64_t leads;
    int rv = 0;

    answer.mark = get_point(dec);
    leads = wire_get_u64(dec);
    answer.leads = leads == 1;
    answer.floor = get_point(dec);
    if (!bare) {
        answer.end = get_point(dec);
        rv = get_conf(dec, &answer.conf);
    }
    if (rv != 0 || leads > 1 || !wire_done(dec)) {
        return -EPROTO;
    }
    *out = answer;
    return 0;
}
