/*
 * Answers to a roll call from hostile bytes: reading stays inside of them and within its
 * bounds, and what was read is written as the same bytes.
 */
#include "base/assert.h"
#include "base/wire.h"
#include "raft/roll.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct roll_conf *conf)
{
    ASSERT(conf->n <= RGROUP_MEMBERS_MAX && conf->committed <= conf->index);
    ASSERT((conf->n == 0) == (conf->index == 0));
    for (uint32_t i = 0; i < conf->n; i++) {
        ASSERT(conf->voters[i] != 0);
        for (uint32_t k = 0; k < i; k++) {
            ASSERT(conf->voters[k] != conf->voters[i]);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[ROLL_ANSWER_BYTES_MAX];
    struct wire_enc enc = wire_enc(again, sizeof again);
    struct roll_answer answer;
    struct wire_dec dec;
    uint8_t *bytes;

    if (size < 1) {
        return 0;
    }
    bytes = malloc(size - 1 + (size == 1)); /* No more, so that reading on is noticed. */
    ASSERT(bytes != NULL);
    memcpy(bytes, data + 1, size - 1);
    dec = wire_dec(bytes, size - 1);
    if (roll_answer_get(&dec, (data[0] & 1) != 0, &answer) == 0) {
        check(&answer.conf);
        roll_answer_put(&enc, &answer);
        ASSERT(!enc.failed && enc.len == size - 1);
        ASSERT(memcmp(again, bytes, enc.len) == 0);
    }
    free(bytes);
    return 0;
}
