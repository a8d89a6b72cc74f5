#include "base/wire.h"
#include "lib/check.h"
#include "peer/peer_frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALL_KINDS 0xffffffffu

static void put_header(uint8_t *at, uint8_t kind, uint32_t head_len, uint32_t body_len)
{
    memset(at, 0, PEER_HEADER_BYTES);
    at[0] = PEER_WIRE_VERSION;
    at[1] = kind;
    wire_store_u32(at + 4, head_len);
    wire_store_u32(at + 8, body_len);
}

/* The header survives its own encoding: both sides agree on the bytes. */
static void header_round_trip(void)
{
    struct peer_header header = {
        .kind = PEER_KIND_DATA, .type = 200, .head_len = 17, .body_len = 1u << 20};
    struct peer_header out = {0};
    uint8_t bytes[PEER_HEADER_BYTES];

    peer_header_encode(&header, bytes);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), 0);
    CHECK_INT(out.kind, PEER_KIND_DATA);
    CHECK_UINT(out.type, 200);
    CHECK_UINT(out.head_len, 17);
    CHECK_UINT(out.body_len, 1u << 20);
}

/* The largest frame passes and one byte more does not, whichever slice has it, also
 * where the sum of the lengths wraps around 32 bits. */
static void frame_length_is_bounded(void)
{
    struct peer_header out = {0};
    uint8_t bytes[PEER_HEADER_BYTES];

    put_header(bytes, PEER_KIND_DATA, 1, PEER_FRAME_MAX - 1);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), 0);
    put_header(bytes, PEER_KIND_DATA, 1, PEER_FRAME_MAX);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, PEER_KIND_DATA, PEER_FRAME_MAX + 1, 0);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, PEER_KIND_DATA, 0xffffffffu, 2);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
}

/* Each field that must have one value is checked: what is ignored today could not be
 * given a meaning tomorrow. */
static void malformed_header_is_refused(void)
{
    struct peer_header out = {0};
    uint8_t bytes[PEER_HEADER_BYTES];

    put_header(bytes, PEER_KIND_DATA, 0, 0);
    bytes[0] = PEER_WIRE_VERSION + 1;
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, PEER_KIND_DATA, 0, 0);
    bytes[3] = 1;
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, PEER_KIND_NONE, 0, 0);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, 255, 0, 0);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, PEER_KIND_PING, 0, PEER_PING_BYTES);
    bytes[2] = 1;
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, PEER_KIND_PING, 0, PEER_PING_BYTES + 1);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, PEER_KIND_HELLO, 1, PEER_HELLO_BYTES - 1);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
    put_header(bytes, PEER_KIND_JOIN, 0, PEER_JOIN_MAX + 1);
    CHECK_INT(peer_header_decode(bytes, ALL_KINDS, &out), -EPROTO);
}

/* A kind that is not expected now is refused by its header, before memory is taken for
 * it: a stranger cannot make us reserve 4 MiB. */
static void unexpected_kind_costs_nothing(void)
{
    struct peer_reader reader = {.kinds = PEER_KIND_BIT(PEER_KIND_HELLO)};
    struct peer_frame frame;
    uint8_t bytes[PEER_HEADER_BYTES];
    size_t used = 0;

    put_header(bytes, PEER_KIND_DATA, 0, PEER_FRAME_MAX);
    CHECK_INT(peer_reader_take(&reader, slice_borrow(bytes, sizeof bytes), &used, &frame),
              -EPROTO);
    CHECK_PTR(reader.buf, NULL);
    peer_reader_deinit(&reader);
}

/* Frames cut at any two places come out whole: TCP and TLS cut where they like. */
static void any_cut_gives_the_same_frames(void)
{
    static const struct {
        uint32_t head_len, body_len;
    } sizes[] = {{3, 5}, {0, 0}, {4, 0}, {0, 7}};
    uint8_t stream[128];
    size_t len = 0;

    for (unsigned i = 0; i < 4; i++) {
        put_header(stream + len, PEER_KIND_DATA, sizes[i].head_len, sizes[i].body_len);
        len += PEER_HEADER_BYTES;
        memset(stream + len, 'h', sizes[i].head_len);
        len += sizes[i].head_len;
        memset(stream + len, 'b', sizes[i].body_len);
        len += sizes[i].body_len;
    }
    for (size_t first = 0; first <= len; first++) {
        for (size_t second = first; second <= len; second++) {
            size_t cuts[] = {0, first, second, len};
            struct peer_reader reader = {.kinds = ALL_KINDS};
            unsigned seen = 0;

            for (unsigned part = 0; part < 3; part++) {
                size_t at = cuts[part];

                while (at < cuts[part + 1]) {
                    struct peer_frame frame;
                    struct slice rest = slice_borrow(stream + at, cuts[part + 1] - at);
                    size_t used = 0;

                    CHECK_INT(peer_reader_take(&reader, rest, &used, &frame), 0);
                    at += used;
                    if (frame.kind != PEER_KIND_NONE) {
                        CHECK_UINT(frame.head.len, sizes[seen].head_len);
                        CHECK_UINT(frame.body.len, sizes[seen].body_len);
                        CHECK_MEM(frame.head.data, "hhhh", frame.head.len);
                        CHECK_MEM(frame.body.data, "bbbbbbb", frame.body.len);
                        seen++;
                    }
                    peer_frame_release(&frame);
                }
            }
            CHECK_UINT(seen, 4);
            CHECK_UINT(reader.header_len, 0);
            peer_reader_deinit(&reader);
        }
    }
}

/* A frame begun can be filled in place; the body is a slice of that one buffer, and
 * lives as long as somebody holds it. */
static void filled_in_place(void)
{
    struct peer_reader reader = {.kinds = ALL_KINDS};
    struct peer_frame frame;
    uint8_t bytes[PEER_HEADER_BYTES + 2];
    struct slice kept;
    uint8_t *at = NULL;
    size_t used = 0;

    put_header(bytes, PEER_KIND_DATA, 2, 6);
    memcpy(bytes + PEER_HEADER_BYTES, "HE", 2);
    CHECK_INT(peer_reader_take(&reader, slice_borrow(bytes, sizeof bytes), &used, &frame),
              0);
    CHECK_INT(frame.kind, PEER_KIND_NONE);
    CHECK_UINT(used, sizeof bytes);
    CHECK_UINT(peer_reader_room(&reader, &at), 6);
    memcpy(at, "BO", 2);
    peer_reader_filled(&reader, 2, &frame);
    CHECK_INT(frame.kind, PEER_KIND_NONE);
    CHECK_UINT(peer_reader_room(&reader, &at), 4);
    memcpy(at, "DY!!", 4);
    peer_reader_filled(&reader, 4, &frame);
    CHECK_INT(frame.kind, PEER_KIND_DATA);
    CHECK_MEM(frame.head.data, "HE", 2);
    kept = slice_ref(frame.body);
    peer_frame_release(&frame);
    CHECK_MEM(kept.data, "BODY!!", 6);
    slice_unref(&kept);
    CHECK_UINT(peer_reader_room(&reader, &at), 0);
    peer_reader_deinit(&reader);
}

/* Every hello that is not exactly one is refused; another version says so. */
static void hello_is_checked(void)
{
    struct peer_hello hello = {.sender = 1,
                               .receiver = 2,
                               .boot = 3,
                               .attempt = 4,
                               .channel = PEER_BULK,
                               .epoch = 5};
    struct peer_hello out = {0};
    uint8_t bytes[PEER_HELLO_BYTES];

    peer_hello_encode(&hello, bytes);
    CHECK_INT(peer_hello_decode(bytes, sizeof bytes, &out), 0);
    CHECK_UINT(out.sender, 1);
    CHECK_UINT(out.receiver, 2);
    CHECK_UINT(out.boot, 3);
    CHECK_UINT(out.attempt, 4);
    CHECK_INT(out.channel, PEER_BULK);
    CHECK_UINT(out.epoch, 5);
    for (size_t len = 0; len < sizeof bytes; len++) {
        CHECK_INT(peer_hello_decode(bytes, len, &out), -EPROTO);
    }
    bytes[50] = PEER_CHANNELS;
    CHECK_INT(peer_hello_decode(bytes, sizeof bytes, &out), -EPROTO);
    bytes[50] = 0;
    bytes[0] = PEER_WIRE_VERSION + 1;
    CHECK_INT(peer_hello_decode(bytes, sizeof bytes, &out), -EPROTONOSUPPORT);
}

TEST_MAIN(CHECK_TEST(header_round_trip), CHECK_TEST(frame_length_is_bounded),
          CHECK_TEST(malformed_header_is_refused),
          CHECK_TEST(unexpected_kind_costs_nothing),
          CHECK_TEST(any_cut_gives_the_same_frames), CHECK_TEST(filled_in_place),
          CHECK_TEST(hello_is_checked))
