#include "base/crc32c.h"
#include "base/outcome.h"
#include "base/prng.h"
#include "base/wire.h"
#include "lib/check.h"
#include "zone/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3000 };

static const enum zone_op_type types[] = {
    ZONE_OP_GETATTR,   ZONE_OP_LOOKUP, ZONE_OP_ACCESS, ZONE_OP_READLINK, ZONE_OP_READ,
    ZONE_OP_READDIR,   ZONE_OP_FSSTAT, ZONE_OP_COMMIT, ZONE_OP_KV_GET,   ZONE_OP_SETATTR,
    ZONE_OP_WRITE,     ZONE_OP_CREATE, ZONE_OP_MKDIR,  ZONE_OP_SYMLINK,  ZONE_OP_MKNOD,
    ZONE_OP_REMOVE,    ZONE_OP_RMDIR,  ZONE_OP_RENAME, ZONE_OP_LINK,     ZONE_OP_KV,
    ZONE_OP_SET_QUOTA,
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static uint8_t noise[ZONE_IO_MAX];

static void noise_fill(struct prng *prng)
{
    for (size_t i = 0; i < sizeof noise; i += 8) {
        wire_store_u64(noise + i, prng_next(prng));
    }
}

static struct slice some_bytes(struct prng *prng, size_t max)
{
    size_t len = (size_t)prng_below(prng, max + 1);

    return slice_borrow(noise + prng_below(prng, 4096), len);
}

static struct zone_time some_time(struct prng *prng)
{
    return (struct zone_time){.sec = (int64_t)prng_next(prng),
                              .nsec = (uint32_t)prng_below(prng, 1000000000)};
}

static void some_sattr(struct prng *prng, struct zone_sattr *sattr)
{
    sattr->set = (uint32_t)prng_below(prng, 16);
    sattr->mode = (uint32_t)prng_below(prng, 010000);
    sattr->uid = (uint32_t)prng_next(prng);
    sattr->gid = (uint32_t)prng_next(prng);
    sattr->size = prng_next(prng);
    sattr->set_atime = (enum zone_set_time)prng_below(prng, 3);
    sattr->set_mtime = (enum zone_set_time)prng_below(prng, 3);
    sattr->atime = some_time(prng);
    sattr->mtime = some_time(prng);
}

static void some_kv(struct prng *prng, struct zone_op *op)
{
    op->n_kv = (uint32_t)prng_below(prng, ZONE_KV_MAX + 1);
    for (uint32_t i = 0; i < op->n_kv; i++) {
        op->kv[i].key = slice_borrow(noise + 7, 1 + prng_below(prng, ZONE_KEY_MAX));
        op->kv[i].value = some_bytes(prng, 600);
        op->kv[i].version = prng_next(prng);
        op->kv[i].remove = prng_below(prng, 2) == 1;
    }
}

/* Every field filled, also those that the type does not send. */
static void some_op(struct prng *prng, struct zone_op *op)
{
    memset(op, 0, sizeof *op);
    op->type = types[prng_below(prng, N_TYPES)];
    op->cred.uid = (uint32_t)prng_next(prng);
    op->cred.gid = (uint32_t)prng_next(prng);
    op->cred.n_groups = (uint32_t)prng_below(prng, ZONE_GROUPS_MAX + 1);
    for (uint32_t i = 0; i < op->cred.n_groups; i++) {
        op->cred.groups[i] = (uint32_t)prng_next(prng);
    }
    op->obj = (struct zone_handle){prng_next(prng), prng_next(prng)};
    op->to = (struct zone_handle){prng_next(prng), prng_next(prng)};
    op->name = some_bytes(prng, ZONE_NAME_MAX);
    op->to_name =
        some_bytes(prng, op->type == ZONE_OP_SYMLINK ? ZONE_PATH_MAX : ZONE_NAME_MAX);
    some_sattr(prng, &op->sattr);
    op->guarded = prng_below(prng, 2) == 1;
    op->guard = some_time(prng);
    op->how = (enum zone_create_how)prng_below(prng, 3);
    wire_store_u64(op->verf, prng_next(prng));
    op->node_type = (enum zone_type)(1 + prng_below(prng, 7));
    op->rdev_major = (uint32_t)prng_next(prng);
    op->rdev_minor = (uint32_t)prng_next(prng);
    op->offset = prng_next(prng);
    op->count = (uint32_t)prng_next(prng);
    op->access = (uint32_t)prng_next(prng);
    some_kv(prng, op);
    if (op->type == ZONE_OP_WRITE) {
        op->data = slice_borrow(
            noise, prng_below(prng, 8) == 0 ? ZONE_IO_MAX : prng_below(prng, 9000));
        zone_op_seal(op);
    }
}

/* An op that was encoded, decoded and encoded again has the same bytes: nothing that a
 * type sends is lost, and an op has one encoding. */
static void ops_round_trip(void)
{
    struct prng prng;

    prng_seed(&prng, 1);
    noise_fill(&prng);
    for (int i = 0; i < ROUNDS; i++) {
        struct zone_op op;
        struct zone_op back;
        struct buf *one = NULL;
        struct buf *two = NULL;

        some_op(&prng, &op);
        CHECK_INT(zone_op_encode(&op, &one), 0);
        CHECK_INT(zone_op_decode(one->data, one->len, op.data, &back), 0);
        CHECK_INT(back.type, op.type);
        CHECK_INT(zone_op_encode(&back, &two), 0);
        CHECK_UINT(two->len, one->len);
        CHECK_MEM(two->data, one->data, one->len);
        buf_unref(one);
        buf_unref(two);
    }
}

/* The fields of a WRITE, a RENAME and a SYMLINK arrive as they were, not only equal to
 * themselves. */
static void fields_arrive(void)
{
    struct zone_op op = {.type = ZONE_OP_SYMLINK};
    struct zone_op back;
    struct buf *buf = NULL;
    static const char target[] = "../somewhere/else";

    op.cred = (struct zone_cred){.uid = 7, .gid = 8, .n_groups = 1, .groups = {9}};
    op.obj = (struct zone_handle){.ino = 11, .gen = 12};
    op.name = slice_borrow("link", 4);
    op.to_name = slice_borrow(target, sizeof target - 1);
    op.sattr.set = ZONE_SET_MODE;
    op.sattr.mode = 0100644;
    CHECK_INT(zone_op_encode(&op, &buf), 0);
    CHECK_INT(zone_op_decode(buf->data, buf->len, (struct slice){0}, &back), 0);
    CHECK_INT(back.type, ZONE_OP_SYMLINK);
    CHECK_UINT(back.cred.uid, 7);
    CHECK_UINT(back.cred.groups[0], 9);
    CHECK_UINT(back.obj.gen, 12);
    CHECK_UINT(back.name.len, 4);
    CHECK_MEM(back.name.data, "link", 4);
    CHECK_UINT(back.to_name.len, sizeof target - 1);
    CHECK_MEM(back.to_name.data, target, sizeof target - 1);
    CHECK_UINT(back.sattr.mode, 0644);
    buf_unref(buf);
}

/* Every cut of an encoding is refused as a whole, and so is a trailing byte: the lengths
 * inside are checked against what is there. */
static void cut_ops_are_refused(void)
{
    struct prng prng;

    prng_seed(&prng, 2);
    noise_fill(&prng);
    for (int i = 0; i < 200; i++) {
        struct zone_op op;
        struct zone_op back;
        struct buf *buf = NULL;
        uint8_t *exact;

        some_op(&prng, &op);
        CHECK_INT(zone_op_encode(&op, &buf), 0);
        for (size_t len = 0; len < buf->len; len += 1 + len / 64) {
            exact = malloc(len + 1); /* So that reading past the end is seen. */
            CHECK(exact != NULL);
            memcpy(exact, buf->data, len);
            CHECK_INT(zone_op_decode(exact, len, op.data, &back), -EPROTO);
            free(exact);
        }
        exact = malloc(buf->len + 1);
        CHECK(exact != NULL);
        memcpy(exact, buf->data, buf->len);
        exact[buf->len] = 0;
        CHECK_INT(zone_op_decode(exact, buf->len + 1, op.data, &back), -EPROTO);
        free(exact);
        buf_unref(buf);
    }
}

/* A flipped bit either is refused or gives an op inside all limits, which encodes again:
 * no length from the wire is believed. */
static void flipped_ops_stay_in_limits(void)
{
    struct prng prng;

    prng_seed(&prng, 3);
    noise_fill(&prng);
    for (int i = 0; i < ROUNDS; i++) {
        struct zone_op op;
        struct zone_op back;
        struct buf *buf = NULL;
        struct buf *again = NULL;
        uint64_t bit;

        some_op(&prng, &op);
        CHECK_INT(zone_op_encode(&op, &buf), 0);
        bit = prng_below(&prng, buf->len * 8);
        buf->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (zone_op_decode(buf->data, buf->len, op.data, &back) == 0) {
            CHECK(back.name.len <= ZONE_NAME_MAX);
            CHECK(back.n_kv <= ZONE_KV_MAX);
            CHECK(back.cred.n_groups <= ZONE_GROUPS_MAX);
            CHECK_INT(zone_op_encode(&back, &again), 0);
            buf_unref(again);
        }
        buf_unref(buf);
    }
}

/* What decode would refuse, encode refuses too: such an op in the log would stop the
 * zone on every member. */
static void bad_ops_are_not_encoded(void)
{
    static const uint8_t name[ZONE_PATH_MAX + 1];
    struct zone_op op = {.type = ZONE_OP_REMOVE};
    struct buf *buf = NULL;

    op.name = slice_borrow(name, ZONE_NAME_MAX + 1);
    CHECK_INT(zone_op_encode(&op, &buf), -EINVAL);
    op.type = ZONE_OP_SYMLINK;
    op.name.len = 1;
    op.to_name = slice_borrow(name, ZONE_PATH_MAX + 1);
    CHECK_INT(zone_op_encode(&op, &buf), -EINVAL);
    op.to_name.len = ZONE_PATH_MAX;
    op.sattr.mtime.nsec = 1000000000;
    CHECK_INT(zone_op_encode(&op, &buf), -EINVAL);
    op.sattr.mtime.nsec = 0;
    CHECK_INT(zone_op_encode(&op, &buf), 0);
    buf_unref(buf);
    op.type = ZONE_OP_MUTATION;
    CHECK_INT(zone_op_encode(&op, &buf), -EINVAL);
    CHECK(!zone_op_known(ZONE_OP_MUTATION));
    CHECK(!zone_op_known(0));
    CHECK(!zone_op_is_mutation(ZONE_OP_KV_GET));
    CHECK(zone_op_is_mutation(ZONE_OP_SETATTR));
}

/* Pieces cover the payload without a gap and none crosses a block of the file, wherever
 * the write begins. */
static void pieces_follow_blocks(void)
{
    struct prng prng;

    prng_seed(&prng, 4);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t offset = prng_below(&prng, 1ull << 40);
        size_t len = (size_t)prng_below(&prng, ZONE_IO_MAX + 1);
        uint32_t n = zone_op_pieces(offset, len);
        size_t sum = 0;

        CHECK(n <= ZONE_PIECES_MAX);
        for (uint32_t p = 0; p < n; p++) {
            size_t at;
            size_t piece_len;

            zone_op_piece(offset, len, p, &at, &piece_len);
            CHECK_UINT(at, sum);
            CHECK(piece_len > 0);
            CHECK_UINT((offset + at) / ZONE_BLOCK,
                       (offset + at + piece_len - 1) / ZONE_BLOCK);
            sum += piece_len;
        }
        CHECK_UINT(sum, len);
    }
}

/* The largest write at the worst offset still has a CRC for each of its pieces; one
 * changed byte anywhere is seen. */
static void crcs_cover_the_payload(void)
{
    struct zone_op op = {.type = ZONE_OP_WRITE, .offset = ZONE_BLOCK - 1};

    op.data = slice_borrow(noise, ZONE_IO_MAX);
    CHECK_UINT(zone_op_pieces(op.offset, op.data.len), ZONE_PIECES_MAX);
    zone_op_seal(&op);
    CHECK_UINT(op.crc[0], crc32c(0, noise, 1));
    CHECK_INT(zone_op_check(&op), 0);
    for (size_t at = 0; at < ZONE_IO_MAX; at += 65521) {
        noise[at] ^= 1;
        CHECK_INT(zone_op_check(&op), OUT_IO);
        noise[at] ^= 1;
    }
    noise[ZONE_IO_MAX - 1] ^= 0x80;
    CHECK_INT(zone_op_check(&op), OUT_IO);
    noise[ZONE_IO_MAX - 1] ^= 0x80;
}

/* The journal's CRC is over the whole payload, an op's over its pieces: whoever has both
 * need not go over the bytes again. */
static void crcs_of_pieces_make_the_whole(void)
{
    struct zone_op op = {.type = ZONE_OP_WRITE};

    for (size_t len = 1; len <= ZONE_IO_MAX; len = len * 3 + 1) {
        op.offset = len * 77777;
        op.data = slice_borrow(noise, len);
        zone_op_seal(&op);
        CHECK_UINT(zone_op_crc(&op), crc32c(0, noise, len));
    }
    op.data.len = ZONE_IO_MAX;
    zone_op_seal(&op);
    CHECK_UINT(zone_op_crc(&op), crc32c(0, noise, ZONE_IO_MAX));
    op.crc[3] ^= 0x100;
    CHECK(zone_op_crc(&op) != crc32c(0, noise, ZONE_IO_MAX));
}

/* A WRITE decoded without its payload knows how long it is; with a payload of another
 * length it is refused. */
static void payload_length_is_checked(void)
{
    struct zone_op op = {.type = ZONE_OP_WRITE};
    struct zone_op back;
    struct buf *buf = NULL;

    op.data = slice_borrow(noise, 100);
    zone_op_seal(&op);
    CHECK_INT(zone_op_encode(&op, &buf), 0);
    CHECK_INT(zone_op_decode(buf->data, buf->len, (struct slice){0}, &back), 0);
    CHECK_UINT(back.data.len, 100);
    CHECK_PTR(back.data.data, NULL);
    CHECK_INT(zone_op_decode(buf->data, buf->len, slice_borrow(noise, 99), &back),
              -EPROTO);
    buf_unref(buf);
}

/* The origin, the key and the op of an entry arrive; the time is what was stamped; a
 * version from the future is told apart from garbage. */
static void entries_round_trip(void)
{
    struct zone_entry entry = {.origin = {1, 2, 3, 4}};
    struct zone_entry back;
    struct buf *buf = NULL;

    entry.rpc_key[15] = 9;
    entry.op = slice_borrow("op", 2);
    CHECK_INT(zone_entry_encode(&entry, &buf), 0);
    zone_entry_stamp(buf->data, buf->len, 1234567890123456789);
    CHECK_INT(zone_entry_decode(buf->data, buf->len, &back), 0);
    CHECK_INT(back.time_ns, 1234567890123456789);
    CHECK_MEM(&back.origin, &entry.origin, sizeof back.origin);
    CHECK_MEM(back.rpc_key, entry.rpc_key, sizeof back.rpc_key);
    CHECK_UINT(back.op.len, 2);
    CHECK_MEM(back.op.data, "op", 2);
    for (size_t len = 0; len < buf->len - 2; len++) {
        CHECK_INT(zone_entry_decode(buf->data, len, &back), -EPROTO);
    }
    buf->data[0] = ZONE_ENTRY_VERSION + 1;
    CHECK_INT(zone_entry_decode(buf->data, buf->len, &back), -EPROTONOSUPPORT);
    buf_unref(buf);
}

/* What an entry's op touches is told of its bytes; of bytes that are no entry, or hold no op,
 * nothing is known. */
static void what_an_entry_touches(void)
{
    struct zone_op op = {.type = ZONE_OP_WRITE,
                         .obj = {.ino = 7, .gen = 1},
                         .data = slice_borrow("1234", 4)};
    struct zone_entry entry = {.origin = {1, 2, 3, 4}};
    uint64_t ino[ZONE_TOUCH_MAX] = {0};
    struct buf *inner = NULL;
    struct buf *buf = NULL;

    zone_op_seal(&op);
    CHECK_INT(zone_op_encode(&op, &inner), 0);
    entry.op = slice_borrow(inner->data, inner->len);
    CHECK_INT(zone_entry_encode(&entry, &buf), 0);
    CHECK_UINT(zone_entry_touches(slice_borrow(buf->data, buf->len), op.data, ino), 1);
    CHECK_UINT(ino[0], 7);
    for (size_t len = 0; len < buf->len; len++) {
        CHECK_UINT(zone_entry_touches(slice_borrow(buf->data, len), op.data, ino),
                   ZONE_TOUCH_ANY);
    }
    CHECK_UINT(
        zone_entry_touches(slice_borrow(buf->data, buf->len), slice_borrow("1", 1), ino),
        ZONE_TOUCH_ANY);
    buf_unref(inner);
    buf_unref(buf);
}

static void some_attr(struct prng *prng, struct zone_attr *attr)
{
    memset(attr, 0, sizeof *attr); /* Padding too: compared as memory. */
    attr->type = (enum zone_type)(1 + prng_below(prng, 7));
    attr->mode = (uint32_t)prng_below(prng, 010000);
    attr->nlink = (uint32_t)prng_next(prng);
    attr->uid = (uint32_t)prng_next(prng);
    attr->gid = (uint32_t)prng_next(prng);
    attr->size = prng_next(prng);
    attr->used = prng_next(prng);
    attr->ino = prng_next(prng);
    attr->gen = prng_next(prng);
    attr->change = prng_next(prng);
    attr->atime = some_time(prng);
    attr->mtime = some_time(prng);
    attr->ctime = some_time(prng);
}

static void some_wcc(struct prng *prng, struct zone_wcc *wcc)
{
    wcc->has_before = prng_below(prng, 2) == 1;
    wcc->has_after = prng_below(prng, 2) == 1;
    if (wcc->has_before) {
        wcc->before_size = prng_next(prng);
        wcc->before_mtime = some_time(prng);
        wcc->before_ctime = some_time(prng);
    }
    if (wcc->has_after) {
        some_attr(prng, &wcc->after);
    }
}

static void some_result(struct prng *prng, struct zone_result *result)
{
    memset(result, 0, sizeof *result);
    result->outcome = (int)prng_below(prng, OUT_MAX);
    result->index = prng_next(prng);
    result->has_obj = prng_below(prng, 2) == 1;
    if (result->has_obj) {
        some_attr(prng, &result->obj);
    }
    some_wcc(prng, &result->dir);
    some_wcc(prng, &result->to);
    result->access = (uint32_t)prng_next(prng);
    result->count = (uint32_t)prng_next(prng);
    result->eof = prng_below(prng, 2) == 1;
    result->total_bytes = prng_below(prng, 3);
    result->free_bytes = prng_below(prng, 3);
    result->used_inodes = prng_below(prng, 3);
    result->data = some_bytes(prng, 300);
}

/* Results arrive whole, and their cuts and flips are refused or harmless. */
static void results_round_trip(void)
{
    struct prng prng;

    prng_seed(&prng, 5);
    noise_fill(&prng);
    for (int i = 0; i < ROUNDS; i++) {
        struct zone_result result;
        struct zone_result back;
        struct buf *buf = NULL;
        uint64_t bit;

        some_result(&prng, &result);
        CHECK_INT(zone_result_encode(&result, &buf), 0);
        CHECK_INT(zone_result_decode(buf->data, buf->len, result.data, &back), 0);
        CHECK_MEM(&back, &result, sizeof back);
        CHECK_INT(zone_result_decode(buf->data, prng_below(&prng, buf->len), result.data,
                                     &back),
                  -EPROTO);
        bit = prng_below(&prng, buf->len * 8);
        buf->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        (void)zone_result_decode(buf->data, buf->len, result.data, &back);
        buf_unref(buf);
    }
}

/* A decoded result holds its data by a reference of its own. */
static void result_keeps_its_data(void)
{
    struct buf *data = buf_copy("bytes", 5);
    struct zone_result result = {.data = slice_borrow("bytes", 5)};
    struct zone_result back;
    struct slice slice = slice_of(data, 0, 5);
    struct buf *head = NULL;

    CHECK_INT(zone_result_encode(&result, &head), 0);
    CHECK_INT(zone_result_decode(head->data, head->len, slice, &back), 0);
    slice_unref(&slice);
    buf_unref(data);
    CHECK_MEM(back.data.data, "bytes", 5);
    zone_result_clear(&back);
    buf_unref(head);
}

/* A run of directory records gives the same records back and ends by itself; a cut one
 * is told from an end. */
static void dirents_round_trip(void)
{
    struct prng prng;
    uint8_t bytes[1024];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);
    struct wire_dec dec;
    struct zone_dirent in = {.cookie = 3, .name = slice_borrow("a/\n", 3)};
    struct zone_dirent out;

    prng_seed(&prng, 6);
    some_attr(&prng, &in.attr);
    zone_dirent_put(&enc, &in);
    in.cookie = 9;
    zone_dirent_put(&enc, &in);
    CHECK(!enc.failed);
    dec = wire_dec(bytes, enc.len);
    CHECK(zone_dirent_get(&dec, &out));
    CHECK_UINT(out.cookie, 3);
    CHECK(zone_dirent_get(&dec, &out));
    CHECK_UINT(out.cookie, 9);
    CHECK_UINT(out.name.len, 3);
    CHECK_MEM(&out.attr, &in.attr, sizeof in.attr);
    CHECK(!zone_dirent_get(&dec, &out));
    CHECK(!dec.failed);
    dec = wire_dec(bytes, enc.len - 1);
    CHECK(zone_dirent_get(&dec, &out));
    CHECK(!zone_dirent_get(&dec, &out));
    CHECK(dec.failed);
}

TEST_MAIN(CHECK_TEST(ops_round_trip), CHECK_TEST(fields_arrive),
          CHECK_TEST(cut_ops_are_refused), CHECK_TEST(flipped_ops_stay_in_limits),
          CHECK_TEST(bad_ops_are_not_encoded), CHECK_TEST(pieces_follow_blocks),
          CHECK_TEST(crcs_cover_the_payload), CHECK_TEST(crcs_of_pieces_make_the_whole),
          CHECK_TEST(payload_length_is_checked), CHECK_TEST(entries_round_trip),
          CHECK_TEST(what_an_entry_touches), CHECK_TEST(results_round_trip),
          CHECK_TEST(result_keeps_its_data), CHECK_TEST(dirents_round_trip))
