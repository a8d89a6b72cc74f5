#include "daemon/scrub.h"

#include "base/assert.h"
#include "base/wire.h"

#include <string.h>

#define STATE_VERSION 1u
#define AGAIN_MS 2000u /* After a read that failed. */

static void encode_place(struct wire_enc *enc, const struct scrub_place *place)
{
    wire_put_u64(enc, place->ino);
    wire_put_u64(enc, place->block);
}

size_t scrub_encode(const struct scrub *scrub, uint8_t out[SCRUB_STATE_MAX])
{
    const struct scrub_state *s = &scrub->state;
    struct wire_enc enc = wire_enc(out, SCRUB_STATE_MAX);

    wire_put_u8(&enc, STATE_VERSION);
    wire_put_u8(&enc, (uint8_t)s->phase);
    wire_put_u8(&enc, (uint8_t)s->verdict);
    encode_place(&enc, &s->next);
    wire_put_u64(&enc, s->begun_s);
    wire_put_u64(&enc, s->ended_s);
    wire_put_u64(&enc, s->blocks);
    wire_put_u64(&enc, s->bytes);
    wire_put_u64(&enc, s->bad);
    wire_put_u64(&enc, s->healed);
    wire_put_u64(&enc, s->unhealed);
    for (uint32_t i = 0; i < SCRUB_NAMES_MAX; i++) {
        encode_place(&enc, &s->names[i]);
    }
    wire_put_u64(&enc, s->compared_index);
    wire_put_u64(&enc, s->compared);
    wire_put_u64(&enc, s->other);
    ASSERT(!enc.failed);
    return enc.len;
}

static void decode_place(struct wire_dec *dec, struct scrub_place *place)
{
    place->ino = wire_get_u64(dec);
    place->block = wire_get_u64(dec);
}

static bool decode(const uint8_t *bytes, size_t len, struct scrub_state *out)
{
    struct wire_dec dec = wire_dec(bytes, len);
    struct scrub_state s = {0};
    uint8_t version = wire_get_u8(&dec);
    uint8_t phase = wire_get_u8(&dec);
    uint8_t verdict = wire_get_u8(&dec);

    decode_place(&dec, &s.next);
    s.begun_s = wire_get_u64(&dec);
    s.ended_s = wire_get_u64(&dec);
    s.blocks = wire_get_u64(&dec);
    s.bytes = wire_get_u64(&dec);
    s.bad = wire_get_u64(&dec);
    s.healed = wire_get_u64(&dec);
    s.unhealed = wire_get_u64(&dec);
    for (uint32_t i = 0; i < SCRUB_NAMES_MAX; i++) {
        decode_place(&dec, &s.names[i]);
    }
    s.compared_index = wire_get_u64(&dec);
    s.compared = wire_get_u64(&dec);
    s.other = wire_get_u64(&dec);
    if (!wire_done(&dec) || version != STATE_VERSION || phase > SCRUB_COMPARING ||
        verdict > SCRUB_DIFFERS) {
        return false;
    }
    s.phase = (enum scrub_phase)phase;
    s.verdict = (enum scrub_verdict)verdict;
    *out = s;
    return true;
}

void scrub_init(struct scrub *scrub, const struct scrub_config *config,
                const uint8_t *bytes, size_t len, uint64_t now_s)
{
    *scrub = (struct scrub){.config = *config};
    if (!decode(bytes, len, &scrub->state)) {
        scrub->state = (struct scrub_state){.ended_s = now_s};
        scrub->unsaved = true;
    }
}

void scrub_start(struct scrub *scrub, uint64_t now_s, uint64_t now_ms)
{
    if (scrub->state.phase != SCRUB_IDLE || scrub->busy) {
        return;
    }
    scrub->state = (struct scrub_state){.phase = SCRUB_READING, .begun_s = now_s};
    scrub->next_ms = now_ms;
    scrub->tries = 0;
    scrub->unsaved = true;
    scrub->saved_ms = 0;
}

static void end(struct scrub *scrub, uint64_t now_s)
{
    scrub->state.phase = SCRUB_IDLE;
    scrub->state.next = (struct scrub_place){0};
    scrub->state.ended_s = now_s;
    scrub->unsaved = true;
    scrub->saved_ms = 0;
}

void scrub_stop(struct scrub *scrub, uint64_t now_s)
{
    if (scrub->state.phase != SCRUB_IDLE) {
        end(scrub, now_s);
    }
}

static bool is_due(const struct scrub *scrub, uint64_t now_s)
{
    uint64_t last = scrub->state.begun_s > scrub->state.ended_s ? scrub->state.begun_s
                                                                : scrub->state.ended_s;

    return scrub->config.every_s != 0 && now_s >= last + scrub->config.every_s;
}

enum scrub_action scrub_next(struct scrub *scrub, uint64_t now_s, uint64_t now_ms)
{
    if (scrub->busy || scrub->pending > 0) {
        return SCRUB_DO_NOTHING;
    }
    if (scrub->state.phase == SCRUB_IDLE && is_due(scrub, now_s)) {
        scrub_start(scrub, now_s, now_ms);
    }
    if (scrub->unsaved && now_ms >= scrub->saved_ms + SCRUB_SAVE_MS) {
        scrub->busy = true;
        return SCRUB_DO_SAVE;
    }
    if (scrub->state.phase == SCRUB_IDLE || now_ms < scrub->next_ms) {
        return SCRUB_DO_NOTHING;
    }
    scrub->busy = true;
    return scrub->state.phase == SCRUB_READING ? SCRUB_DO_READ : SCRUB_DO_COMPARE;
}

void scrub_read_done(struct scrub *scrub, const struct scrub_read *read, uint64_t now_ms)
{
    struct scrub_state *s = &scrub->state;
    uint64_t from = scrub->next_ms + 1000 < now_ms ? now_ms : scrub->next_ms;

    ASSERT(scrub->busy);
    scrub->busy = false;
    if (s->phase != SCRUB_READING) {
        return; /* It was stopped. */
    }
    if (read->rv != 0) {
        scrub->next_ms = now_ms + AGAIN_MS;
        return;
    }
    s->blocks += read->blocks;
    s->bytes += read->bytes;
    s->bad += read->n_bad;
    s->next = read->next;
    scrub->pending = read->n_bad;
    scrub->unsaved = true;
    scrub->next_ms = from + read->bytes * 1000 / scrub->config.rate_bytes;
    if (scrub->next_ms < now_ms + SCRUB_IDLE_TIMES * read->took_ms) {
        scrub->next_ms = now_ms + SCRUB_IDLE_TIMES * read->took_ms;
    }
    if (read->end) {
        s->phase = SCRUB_COMPARING;
        scrub->next_ms = now_ms;
        scrub->tries = 0;
    }
}

void scrub_block_done(struct scrub *scrub, const struct scrub_place *place, bool healed)
{
    struct scrub_state *s = &scrub->state;

    if (scrub->pending == 0) {
        return;
    }
    scrub->pending--;
    scrub->unsaved = true;
    if (healed) {
        s->healed++;
        return;
    }
    if (s->unhealed < SCRUB_NAMES_MAX) {
        s->names[s->unhealed] = *place;
    }
    s->unhealed++;
}

void scrub_compared(struct scrub *scrub, const struct scrub_compare *compare,
                    uint64_t now_s, uint64_t now_ms)
{
    struct scrub_state *s = &scrub->state;

    ASSERT(scrub->busy);
    scrub->busy = false;
    if (s->phase != SCRUB_COMPARING) {
        return;
    }
    scrub->tries++;
    if (compare->differs == 0 && compare->open > 0 &&
        scrub->tries < SCRUB_COMPARE_TRIES) {
        scrub->next_ms = now_ms + SCRUB_COMPARE_MS;
        return;
    }
    s->compared_index = compare->index;
    s->compared = compare->equal + (compare->differs != 0 ? 1 : 0);
    s->other = compare->differs;
    s->verdict = compare->differs != 0 ? SCRUB_DIFFERS
                 : compare->equal > 0  ? SCRUB_EQUAL
                                       : SCRUB_NOT_COMPARED;
    end(scrub, now_s);
}

void scrub_saved(struct scrub *scrub, int rv, uint64_t now_ms)
{
    ASSERT(scrub->busy);
    scrub->busy = false;
    scrub->unsaved = rv != 0;
    scrub->saved_ms = now_ms;
}

uint64_t scrub_wake_ms(const struct scrub *scrub)
{
    if (scrub->busy || scrub->pending > 0 || scrub->state.phase == SCRUB_IDLE) {
        return UINT64_MAX;
    }
    return scrub->next_ms;
}
