/*
 * The peers' frame reader on hostile bytes, cut into pieces as the input says: it must
 * never read outside of what it is given, never take more memory than a frame may have,
 * and give the same frames however the stream is cut.
 */
#include "base/assert.h"
#include "peer/peer_frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    unsigned frames;
    uint64_t sum; /* Over kinds, types, lengths and bytes, in order. */
    int rv;
};

static void mix(struct result *result, uint64_t value)
{
    result->sum = (result->sum ^ value) * 0x100000001b3u;
}

static void note(struct result *result, struct peer_frame *frame)
{
    struct peer_hello hello;

    if (frame->kind == PEER_KIND_NONE) {
        return;
    }
    ASSERT(frame->head.len + frame->body.len <= PEER_FRAME_MAX);
    result->frames++;
    mix(result, frame->kind);
    mix(result, frame->type);
    mix(result, frame->head.len);
    mix(result, frame->body.len);
    for (size_t i = 0; i < frame->head.len; i++) {
        mix(result, frame->head.data[i]);
    }
    for (size_t i = 0; i < frame->body.len; i++) {
        mix(result, frame->body.data[i]);
    }
    if (frame->kind == PEER_KIND_HELLO &&
        peer_hello_decode(frame->body.data, frame->body.len, &hello) == 0) {
        uint8_t again[PEER_HELLO_BYTES];

        ASSERT(hello.channel < PEER_CHANNELS);
        peer_hello_encode(&hello, again);
        ASSERT(memcmp(again, frame->body.data, PEER_HELLO_BYTES) == 0);
    }
    peer_frame_release(frame);
}

/* Read the stream in pieces of at most @piece bytes, into the frame itself if
 * @in_place. */
static struct result run(const uint8_t *data, size_t size, size_t piece, bool in_place)
{
    struct peer_reader reader = {.kinds = UINT32_MAX};
    struct result result = {0};
    size_t at = 0;

    while (at < size && result.rv == 0) {
        struct peer_frame frame;
        size_t n = size - at < piece ? size - at : piece;
        uint8_t *room_at = NULL;
        size_t room = peer_reader_room(&reader, &room_at);
        size_t used = 0;

        if (in_place && room > 0) {
            n = room < n ? room : n;
            memcpy(room_at, data + at, n);
            peer_reader_filled(&reader, n, &frame);
            at += n;
        } else {
            result.rv =
                peer_reader_take(&reader, slice_borrow(data + at, n), &used, &frame);
            ASSERT(used <= n && (used > 0 || result.rv != 0));
            at += used;
        }
        note(&result, &frame);
    }
    peer_reader_deinit(&reader);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct result whole;
    struct result cut;

    if (size < 1) {
        return 0;
    }
    whole = run(data + 1, size - 1, SIZE_MAX, false);
    cut = run(data + 1, size - 1, (data[0] >> 1) + 1u, (data[0] & 1) != 0);
    ASSERT(whole.rv == cut.rv && whole.frames == cut.frames && whole.sum == cut.sum);
    return 0;
}
