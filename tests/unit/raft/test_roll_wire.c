/* Answers to a roll call as bytes: what is written is read, and nothing else is. */
#include "base/wire.h"
#include "lib/check.h"
#include "raft/roll.h"

#include <errno.h>
#include <string.h>

enum {
    VALUES_BARE = 6,
    VALUES_FIXED = 11,
    PLACE_LEADS = 3,
    PLACE_INDEX = 8,
    PLACE_COMMITTED = 9,
    PLACE_N = 10,
};

static struct roll_answer three_voters(void)
{
    return (struct roll_answer){
        .life = 11,
        .mark = {.term = 4, .index = 400},
        .floor = {.term = 3, .index = 390},
        .leads = true,
        .end = {.term = 4, .index = 410},
        .conf = {.index = 300, .committed = 200, .n = 3, .voters = {7, 8, 9}},
    };
}

/* @values as they are on the wire; of a valid answer they are those of three_voters. */
struct bytes {
    uint8_t data[8 * (VALUES_FIXED + RGROUP_MEMBERS_MAX + 2)];
    size_t len;
};

static struct bytes put(struct roll_answer answer, bool bare)
{
    struct bytes out = {.len = 0};
    struct wire_enc enc = wire_enc(out.data, sizeof out.data);

    answer.bare = bare;
    roll_answer_put(&enc, &answer);
    CHECK(!enc.failed);
    out.len = enc.len;
    return out;
}

static int get(const struct bytes *bytes, bool bare, struct roll_answer *out)
{
    struct wire_dec dec = wire_dec(bytes->data, bytes->len);

    return roll_answer_get(&dec, bare, out);
}

/* The valid answer with one of its values changed. */
static int get_changed(uint32_t place, uint64_t value)
{
    struct roll_answer answer = three_voters();
    struct bytes bytes = put(answer, false);

    wire_store_u64(bytes.data + (size_t)8 * place, value);
    return get(&bytes, false, &answer);
}

/* The values and their order are those of docs/formats/replica.md: other versions read
 * them. */
static void layout(void)
{
    uint64_t expected[VALUES_FIXED + 3] = {11,  4,   400, 1, 3, 390, 4,
                                           410, 300, 200, 3, 7, 8,   9};
    struct roll_answer answer = three_voters();
    struct bytes bytes = put(answer, false);

    CHECK_UINT(bytes.len, sizeof expected);
    for (uint32_t i = 0; i < VALUES_FIXED + 3; i++) {
        CHECK_UINT(wire_load_u64(bytes.data + (size_t)8 * i), expected[i]);
    }
    bytes = put(answer, true);
    CHECK_UINT(bytes.len, 8 * VALUES_BARE);
    for (uint32_t i = 0; i < VALUES_BARE; i++) {
        CHECK_UINT(wire_load_u64(bytes.data + (size_t)8 * i), expected[i]);
    }
}

/* What is written comes back, with as many voters as there may be, with none, and without
 * a configuration. */
static void there_and_back(void)
{
    struct roll_answer answer = three_voters();
    struct roll_answer back;
    struct bytes bytes;

    for (uint32_t n = 0; n <= RGROUP_MEMBERS_MAX; n++) {
        answer.conf = (struct roll_conf){.index = n == 0 ? 0 : 5, .n = n};
        for (uint32_t i = 0; i < n; i++) {
            answer.conf.voters[i] = 1000 - i;
        }
        bytes = put(answer, false);
        CHECK_INT(get(&bytes, false, &back), 0);
        CHECK(memcmp(&answer.conf, &back.conf, sizeof back.conf) == 0);
        CHECK_UINT(back.life, 11);
        CHECK_UINT(back.mark.index, 400);
        CHECK_UINT(back.floor.index, 390);
        CHECK_UINT(back.end.index, 410);
        CHECK(back.leads && !back.bare);
    }
    CHECK(bytes.len == ROLL_ANSWER_BYTES_MAX);
    bytes = put(answer, true);
    CHECK_INT(get(&bytes, true, &back), 0);
    CHECK(back.bare);
    CHECK_UINT(back.floor.term, 3);
    CHECK_UINT(back.end.term, 0);
    CHECK_UINT(back.conf.n, 0);
    CHECK_UINT(back.conf.index, 0);
}

/* One byte too few or too many, also whole values, in either form. */
static void cut_or_longer(void)
{
    struct roll_answer answer = three_voters();
    struct roll_answer out;

    for (unsigned bare = 0; bare < 2; bare++) {
        struct bytes bytes = put(answer, bare == 1);
        size_t len = bytes.len;

        for (bytes.len = 0; bytes.len < len + 17; bytes.len++) {
            CHECK_INT(get(&bytes, bare == 1, &out), bytes.len == len ? 0 : -EPROTO);
        }
    }
}

/* What nobody may say: too many voters, one twice or none, a configuration without an
 * entry or without voters, one committed that comes after it; and it changes nothing. */
static void garbage(void)
{
    struct roll_answer out = {.life = 77};
    struct roll_answer answer = three_voters();
    struct bytes bytes = put(answer, false);

    CHECK_INT(get_changed(0, UINT64_MAX), 0);
    CHECK_INT(get_changed(PLACE_LEADS, 2), -EPROTO);
    CHECK_INT(get_changed(PLACE_INDEX, 0), -EPROTO);
    CHECK_INT(get_changed(PLACE_INDEX, 199), -EPROTO);
    CHECK_INT(get_changed(PLACE_COMMITTED, 300), 0);
    CHECK_INT(get_changed(PLACE_COMMITTED, 301), -EPROTO);
    CHECK_INT(get_changed(PLACE_N, 0), -EPROTO);
    CHECK_INT(get_changed(PLACE_N, 2), -EPROTO);
    CHECK_INT(get_changed(PLACE_N, 4), -EPROTO);
    CHECK_INT(get_changed(PLACE_N, UINT64_MAX), -EPROTO);
    CHECK_INT(get_changed(PLACE_N, (1ull << 61) + 3), -EPROTO);
    CHECK_INT(get_changed(VALUES_FIXED, 0), -EPROTO);
    CHECK_INT(get_changed(VALUES_FIXED + 2, 7), -EPROTO);
    CHECK_INT(get_changed(VALUES_FIXED + 2, 8), -EPROTO);
    wire_store_u64(bytes.data + 8 * PLACE_N, 0);
    bytes.len = 8 * VALUES_FIXED;
    CHECK_INT(get(&bytes, false, &out), -EPROTO);
    CHECK_UINT(out.life, 77);
}

/* One more than there may be, each of them good. */
static void too_many(void)
{
    struct bytes bytes = {.len = 8 * (VALUES_FIXED + RGROUP_MEMBERS_MAX + 1)};
    struct roll_answer out;

    wire_store_u64(bytes.data + 8 * PLACE_INDEX, 5);
    wire_store_u64(bytes.data + 8 * PLACE_N, RGROUP_MEMBERS_MAX + 1);
    for (uint32_t i = 0; i <= RGROUP_MEMBERS_MAX; i++) {
        wire_store_u64(bytes.data + (size_t)8 * (VALUES_FIXED + i), i + 1);
    }
    CHECK_INT(get(&bytes, false, &out), -EPROTO);
}

TEST_MAIN(CHECK_TEST(layout), CHECK_TEST(there_and_back), CHECK_TEST(cut_or_longer),
          CHECK_TEST(garbage), CHECK_TEST(too_many))
