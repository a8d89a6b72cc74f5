/* Record marking (RFC 5531 section 11): what a TCP stream may do to a record. */
#include "lib/check.h"
#include "nfs/rpc_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void put_mark(uint8_t *at, uint32_t mark)
{
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(mark >> (24 - 8 * i));
    }
}

/* However the stream is cut, the same records come out of it. */
static void any_cut_gives_the_same_records(void)
{
    uint8_t stream[64];
    size_t len = 0;

    put_mark(stream, RPC_MARK_LAST | 5);
    memcpy(stream + 4, "first", 5);
    put_mark(stream + 9, 3); /* Three fragments, one of them empty. */
    memcpy(stream + 13, "sec", 3);
    put_mark(stream + 16, 0);
    put_mark(stream + 20, RPC_MARK_LAST | 3);
    memcpy(stream + 24, "ond", 3);
    len = 27;
    for (size_t cut = 1; cut <= len; cut++) {
        struct rpc_record record = {0};
        char seen[32] = "";

        for (size_t at = 0; at < len;) {
            struct buf *out = NULL;
            size_t n = cut > len - at ? len - at : cut;
            size_t used = 0;

            CHECK_INT(rpc_record_feed(&record, stream + at, n, &used, &out), 0);
            CHECK(used > 0 && used <= n);
            at += used;
            if (out != NULL) {
                strncat(seen, (const char *)out->data, out->len);
                strcat(seen, ";");
                buf_unref(out);
            }
        }
        CHECK_STR(seen, "first;second;");
        rpc_record_deinit(&record);
    }
}

/* A long fragment is received where it belongs, without a copy. */
static void room_is_the_rest_of_the_fragment(void)
{
    struct rpc_record record = {0};
    struct buf *out = NULL;
    uint8_t mark[6] = {0, 0, 0, 0, 'a', 'b'};
    uint8_t *at = NULL;
    size_t used;

    CHECK_UINT(rpc_record_room(&record, &at), 0);
    put_mark(mark, RPC_MARK_LAST | 100);
    CHECK_INT(rpc_record_feed(&record, mark, 6, &used, &out), 0);
    CHECK_UINT(rpc_record_room(&record, &at), 98);
    memset(at, 'c', 98);
    rpc_record_filled(&record, 98, &out);
    CHECK(out != NULL);
    CHECK_UINT(out->len, 100);
    CHECK_MEM(out->data, "abcc", 4);
    CHECK_UINT(rpc_record_room(&record, &at), 0);
    buf_unref(out);
}

/* What is announced costs no memory before it comes: never more than eight times what has
 * come, past the first step. And the copies that this costs are less than the record. */
static void grows_as_bytes_arrive(void)
{
    enum { PIECE = 1000 };
    struct rpc_record record = {0};
    struct buf *out = NULL;
    uint8_t piece[PIECE] = {0};
    size_t copied = 0;
    size_t sent = 0;
    size_t used;

    put_mark(piece, RPC_MARK_LAST | (RPC_RECORD_MAX - RPC_RECORD_MAX % PIECE));
    CHECK_INT(rpc_record_feed(&record, piece, 4, &used, &out), 0);
    CHECK_UINT(rpc_record_bytes(&record), 0);
    CHECK(rpc_record_begun(&record));
    memset(piece, 'x', sizeof piece);
    while (out == NULL) {
        size_t before = rpc_record_bytes(&record);

        CHECK(sent < RPC_RECORD_MAX);
        CHECK_INT(rpc_record_feed(&record, piece, PIECE, &used, &out), 0);
        CHECK_UINT(used, PIECE);
        sent += PIECE;
        if (out == NULL) {
            size_t now = rpc_record_bytes(&record);

            CHECK(now >= sent && (now <= 8 * sent || now <= 65536));
            copied += now > before ? before : 0;
        }
    }
    CHECK(copied < RPC_RECORD_MAX / 2);
    CHECK_UINT(out->len, sent);
    CHECK_UINT(out->cap, sent);
    CHECK(out->data[0] == 'x' && out->data[sent - 1] == 'x');
    CHECK(!rpc_record_begun(&record));
    buf_unref(out);
}

static int feed_mark(struct rpc_record *record, uint32_t value)
{
    struct buf *out = NULL;
    uint8_t mark[4];
    size_t used;

    put_mark(mark, value);
    return rpc_record_feed(record, mark, 4, &used, &out);
}

/* A peer cannot make us allocate more than one record, in one fragment or in many. */
static void too_long_is_malformed(void)
{
    struct rpc_record record = {0};
    struct buf *out = NULL;
    size_t used;
    uint8_t *bytes = calloc(1, RPC_RECORD_MAX);

    CHECK_INT(feed_mark(&record, RPC_MARK_LAST | (RPC_RECORD_MAX + 1)), -EPROTO);
    rpc_record_deinit(&record);
    CHECK_INT(feed_mark(&record, 0x7fffffff), -EPROTO);
    rpc_record_deinit(&record);
    CHECK_INT(feed_mark(&record, RPC_RECORD_MAX), 0);
    CHECK_INT(rpc_record_feed(&record, bytes, RPC_RECORD_MAX, &used, &out), 0);
    CHECK_PTR(out, NULL);
    CHECK_INT(feed_mark(&record, RPC_MARK_LAST | 1), -EPROTO);
    rpc_record_deinit(&record);
    free(bytes);
}

/* Fragments without end cost nothing else: their number is bounded too. */
static void endless_fragments_are_malformed(void)
{
    struct rpc_record record = {0};

    for (unsigned i = 0; i < RPC_FRAGMENTS_MAX; i++) {
        CHECK_INT(feed_mark(&record, 0), 0);
    }
    CHECK_INT(feed_mark(&record, 0), -EPROTO);
    rpc_record_deinit(&record);
}

/* A record of no bytes is not a call. */
static void empty_record_is_malformed(void)
{
    struct rpc_record record = {0};

    CHECK_INT(feed_mark(&record, RPC_MARK_LAST), -EPROTO);
    rpc_record_deinit(&record);
}

/* An empty last fragment only ends the record. */
static void empty_last_fragment_ends_the_record(void)
{
    struct rpc_record record = {0};
    struct buf *out = NULL;
    uint8_t stream[12] = {0};
    size_t used;

    put_mark(stream, 4);
    put_mark(stream + 8, RPC_MARK_LAST);
    CHECK_INT(rpc_record_feed(&record, stream, 12, &used, &out), 0);
    CHECK(out != NULL);
    CHECK_UINT(out->len, 4);
    buf_unref(out);
}

TEST_MAIN(CHECK_TEST(any_cut_gives_the_same_records),
          CHECK_TEST(room_is_the_rest_of_the_fragment), CHECK_TEST(grows_as_bytes_arrive),
          CHECK_TEST(too_long_is_malformed), CHECK_TEST(endless_fragments_are_malformed),
          CHECK_TEST(empty_record_is_malformed),
          CHECK_TEST(empty_last_fragment_ends_the_record))
