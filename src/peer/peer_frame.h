/*
 * peer_frame: the frames inside a connection: header, hello, ping, and their reader.
 *
 * Pure. Nothing is allocated for a header that is not wholly valid and expected, and
 * never more than the header's own lengths. The bytes: docs/formats/peer.md.
 */
#ifndef PEER_PEER_FRAME_H
#define PEER_PEER_FRAME_H

#include "peer/peer_uv.h"

#define PEER_WIRE_VERSION 1u
#define PEER_HEADER_BYTES 12u
#define PEER_HELLO_BYTES 59u
#define PEER_PING_BYTES 8u
#define PEER_REFUSAL_BYTES 8u
#define PEER_JOIN_MAX 8192u
#define PEER_JOIN_ANSWER_MAX (1u << 20)

enum peer_kind {
    PEER_KIND_NONE = 0,
    PEER_KIND_HELLO = 1,
    PEER_KIND_PING = 2,
    PEER_KIND_PONG = 3,
    PEER_KIND_DATA = 4,
    PEER_KIND_JOIN = 5,
    PEER_KIND_JOIN_ANSWER = 6,
    PEER_KIND_REFUSAL = 7, /* Instead of the answer to a hello. */
    PEER_KIND_MAX = 8
};

#define PEER_KIND_BIT(kind) (1u << (kind))

struct peer_header {
    enum peer_kind kind;
    uint8_t type; /* Of a data frame; else 0. */
    uint32_t head_len;
    uint32_t body_len;
};

/* 0, or -EMSGSIZE if the lengths are not allowed for the kind. */
int peer_header_check(const struct peer_header *header);
/* @header must pass peer_header_check. */
void peer_header_encode(const struct peer_header *header, uint8_t out[PEER_HEADER_BYTES]);
/* 0 or -EPROTO. @kinds: those expected now, as PEER_KIND_BITs. */
int peer_header_decode(const uint8_t in[PEER_HEADER_BYTES], uint32_t kinds,
                       struct peer_header *out);

/* The first frame each way: who speaks to whom, about what. */
struct peer_hello {
    uint8_t grapevine_id[16];
    uint64_t sender;
    uint64_t receiver;
    uint64_t boot;
    uint64_t attempt; /* Grows from dial to dial of one boot; echoed in the answer. */
    enum peer_channel channel;
    uint64_t epoch; /* Of the grapevine: see peer_config. */
};

void peer_hello_encode(const struct peer_hello *hello, uint8_t out[PEER_HELLO_BYTES]);
/* 0, -EPROTO (malformed) or -EPROTONOSUPPORT (another version). */
int peer_hello_decode(const uint8_t *in, size_t len, struct peer_hello *out);
/* The version that a hello's bytes claim, whatever follows; 0: not even that is there. */
unsigned peer_hello_version(const uint8_t *in, size_t len);

void peer_refusal_encode(const struct peer_refusal *refusal,
                         uint8_t out[PEER_REFUSAL_BYTES]);
/* 0 or -EPROTO. */
int peer_refusal_decode(const uint8_t *in, size_t len, struct peer_refusal *out);

/* A frame that came in. Both slices are valid until peer_frame_release. */
struct peer_frame {
    enum peer_kind kind; /* PEER_KIND_NONE: no frame. */
    uint8_t type;
    struct slice head; /* Borrowed. */
    struct slice body; /* Holds a reference if not empty. */
    struct buf *buf;   /* What both lie in; NULL if body is empty and head borrowed. */
};

void peer_frame_release(struct peer_frame *frame);

/* Puts frames together from a stream. All zero but @kinds is ready. */
struct peer_reader {
    uint32_t kinds; /* Expected now; the owner may change it between frames. */
    struct peer_header now;
    uint8_t header[PEER_HEADER_BYTES];
    uint32_t header_len;
    struct buf *buf; /* Of the frame being filled; its len is what is there. */
};

void peer_reader_deinit(struct peer_reader *reader);
/*
 * Take bytes from @data until a frame is whole or they are used up; *@used tells how
 * many. @frame's kind is PEER_KIND_NONE if there is none yet; a frame's head may lie in
 * @data. 0, -EPROTO or -ENOMEM.
 */
int peer_reader_take(struct peer_reader *reader, struct slice data, size_t *used,
                     struct peer_frame *frame);
/* Where the next bytes of a frame already begun may be put directly; 0 if nowhere. */
size_t peer_reader_room(const struct peer_reader *reader, uint8_t **at);
/* @n bytes were put there. */
void peer_reader_filled(struct peer_reader *reader, size_t n, struct peer_frame *frame);

#endif
