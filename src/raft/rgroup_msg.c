#include "raft/rgroup.h"

#include "base/wire.h"

#include <errno.h>
#include <stddef.h>

/*
 * docs/formats/raft-message.md. The peer is known from the connection, and after_index
 * is between the sender and its own disk: neither travels.
 */
enum {
    MSG_FORMAT = 1,
    MSG_PRE_VOTE = 1 << 0,
    MSG_GRANTED = 1 << 1,
    MSG_DISRUPT = 1 << 2,
    MSG_FLAGS = MSG_PRE_VOTE | MSG_GRANTED | MSG_DISRUPT,
};

void rgroup_msg_put(struct wire_enc *enc, const struct rgroup_msg *msg)
{
    wire_put_u8(enc, MSG_FORMAT);
    wire_put_u8(enc, (uint8_t)msg->type);
    wire_put_u8(enc, (uint8_t)((msg->pre_vote ? MSG_PRE_VOTE : 0) |
                               (msg->granted ? MSG_GRANTED : 0) |
                               (msg->disrupt ? MSG_DISRUPT : 0)));
    wire_put_u32(enc, msg->version);
    wire_put_u64(enc, msg->term);
    wire_put_u64(enc, msg->index);
    wire_put_u64(enc, msg->index_term);
    wire_put_u64(enc, msg->commit);
    wire_put_u64(enc, msg->rejected);
    wire_put_u64(enc, msg->conf_index);
    wire_put_u64(enc, msg->candidate);
    wire_put_u32(enc, msg->n);
    wire_put_u32(enc, msg->features);
    wire_put_u32(enc, msg->capacity);
    wire_put_blob(enc, msg->conf, msg->conf_len);
}

int rgroup_msg_get(struct wire_dec *dec, struct rgroup_msg *msg)
{
    struct rgroup_msg got = {0};
    uint8_t format = wire_get_u8(dec);
    uint8_t type = wire_get_u8(dec);
    uint8_t flags = wire_get_u8(dec);

    got.version = wire_get_u32(dec);
    got.term = wire_get_u64(dec);
    got.index = wire_get_u64(dec);
    got.index_term = wire_get_u64(dec);
    got.commit = wire_get_u64(dec);
    got.rejected = wire_get_u64(dec);
    got.conf_index = wire_get_u64(dec);
    got.candidate = wire_get_u64(dec);
    got.n = wire_get_u32(dec);
    got.features = wire_get_u32(dec);
    got.capacity = wire_get_u32(dec);
    got.conf = wire_get_blob(dec, RGROUP_CONF_BYTES_MAX, &got.conf_len);
    if (dec->failed || format != MSG_FORMAT || type < RGROUP_MSG_VOTE ||
        type > RGROUP_MSG_TIMEOUT_NOW || (flags & ~MSG_FLAGS) != 0) {
        return -EPROTO;
    }
    got.type = (enum rgroup_msg_type)type;
    got.pre_vote = (flags & MSG_PRE_VOTE) != 0;
    got.granted = (flags & MSG_GRANTED) != 0;
    got.disrupt = (flags & MSG_DISRUPT) != 0;
    *msg = got;
    return 0;
}
