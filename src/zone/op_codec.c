#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "zone/codec.h"
#include "zone/op.h"

#include <errno.h>
#include <string.h>

#define OP_VERSION 1u

/* Each field has one place in the order below; a type has a subset of them. */
enum op_field {
    F_CRED = 1 << 0,
    F_OBJ = 1 << 1,
    F_TO = 1 << 2,
    F_NAME = 1 << 3,
    F_TO_NAME = 1 << 4, /* A file name. */
    F_TARGET = 1 << 5,  /* op.to_name as a symlink's target. */
    F_SATTR = 1 << 6,
    F_GUARD = 1 << 7,
    F_HOW = 1 << 8, /* With the verifier. */
    F_NODE = 1 << 9,
    F_OFFSET = 1 << 10,
    F_COUNT = 1 << 11,
    F_ACCESS = 1 << 12,
    F_DATA = 1 << 13,
    F_KV = 1 << 14,
};

struct op_row {
    uint16_t type; /* enum zone_op_type */
    uint16_t fields;
};

static const struct op_row op_rows[] = {
    {ZONE_OP_GETATTR, F_CRED | F_OBJ},
    {ZONE_OP_LOOKUP, F_CRED | F_OBJ | F_NAME},
    {ZONE_OP_ACCESS, F_CRED | F_OBJ | F_ACCESS},
    {ZONE_OP_READLINK, F_CRED | F_OBJ},
    {ZONE_OP_READ, F_CRED | F_OBJ | F_OFFSET | F_COUNT},
    {ZONE_OP_READDIR, F_CRED | F_OBJ | F_OFFSET | F_COUNT},
    {ZONE_OP_FSSTAT, F_CRED | F_OBJ},
    {ZONE_OP_COMMIT, F_CRED | F_OBJ | F_OFFSET | F_COUNT},
    {ZONE_OP_KV_GET, F_NAME | F_TO_NAME | F_COUNT},
    {ZONE_OP_SETATTR, F_CRED | F_OBJ | F_SATTR | F_GUARD},
    {ZONE_OP_WRITE, F_CRED | F_OBJ | F_OFFSET | F_DATA},
    {ZONE_OP_CREATE, F_CRED | F_OBJ | F_NAME | F_SATTR | F_HOW},
    {ZONE_OP_MKDIR, F_CRED | F_OBJ | F_NAME | F_SATTR},
    {ZONE_OP_SYMLINK, F_CRED | F_OBJ | F_NAME | F_TARGET | F_SATTR},
    {ZONE_OP_MKNOD, F_CRED | F_OBJ | F_NAME | F_SATTR | F_NODE},
    {ZONE_OP_REMOVE, F_CRED | F_OBJ | F_NAME},
    {ZONE_OP_RMDIR, F_CRED | F_OBJ | F_NAME},
    {ZONE_OP_RENAME, F_CRED | F_OBJ | F_TO | F_NAME | F_TO_NAME},
    {ZONE_OP_LINK, F_CRED | F_OBJ | F_TO | F_TO_NAME},
    {ZONE_OP_KV, F_KV},
    {ZONE_OP_SET_QUOTA, F_OFFSET},
};

static const struct op_row *find_row(unsigned type)
{
    for (size_t i = 0; i < sizeof op_rows / sizeof op_rows[0]; i++) {
        if (op_rows[i].type == type) {
            return &op_rows[i];
        }
    }
    return NULL;
}

bool zone_op_known(unsigned type)
{
    return find_row(type) != NULL;
}

bool zone_op_is_mutation(enum zone_op_type type)
{
    return type > ZONE_OP_MUTATION;
}

bool zone_op_once(enum zone_op_type type)
{
    switch (type) {
    case ZONE_OP_SETATTR:
    case ZONE_OP_WRITE:
    case ZONE_OP_CREATE:
    case ZONE_OP_MKDIR:
    case ZONE_OP_SYMLINK:
    case ZONE_OP_MKNOD:
    case ZONE_OP_REMOVE:
    case ZONE_OP_RMDIR:
    case ZONE_OP_RENAME:
    case ZONE_OP_LINK:
        return true;
    default:
        return false;
    }
}

uint32_t zone_op_pieces(uint64_t offset, size_t len)
{
    uint64_t in_block = offset % ZONE_BLOCK;

    return len == 0 ? 0 : (uint32_t)((in_block + len - 1) / ZONE_BLOCK + 1);
}

void zone_op_piece(uint64_t offset, size_t len, uint32_t i, size_t *at, size_t *piece_len)
{
    size_t in_block = (size_t)(offset % ZONE_BLOCK);
    size_t end = (size_t)(i + 1) * ZONE_BLOCK - in_block;

    ASSERT(i < zone_op_pieces(offset, len));
    *at = i == 0 ? 0 : (size_t)i * ZONE_BLOCK - in_block;
    *piece_len = (end < len ? end : len) - *at;
}

static uint32_t piece_crc(const struct zone_op *op, uint32_t i)
{
    size_t at;
    size_t len;

    zone_op_piece(op->offset, op->data.len, i, &at, &len);
    return crc32c(0, op->data.data + at, len);
}

void zone_op_seal(struct zone_op *op)
{
    uint32_t n = zone_op_pieces(op->offset, op->data.len);

    ASSERT(op->data.len <= ZONE_IO_MAX);
    for (uint32_t i = 0; i < n; i++) {
        op->crc[i] = piece_crc(op, i);
    }
}

int zone_op_check(const struct zone_op *op)
{
    uint32_t n = zone_op_pieces(op->offset, op->data.len);

    if (op->data.len > ZONE_IO_MAX || (op->data.len > 0 && op->data.data == NULL)) {
        return OUT_IO;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (op->crc[i] != piece_crc(op, i)) {
            return OUT_IO;
        }
    }
    return 0;
}

uint32_t zone_op_crc(const struct zone_op *op)
{
    uint32_t n = zone_op_pieces(op->offset, op->data.len);
    uint32_t crc = 0;

    for (uint32_t i = 0; i < n; i++) {
        size_t at;
        size_t len;

        zone_op_piece(op->offset, op->data.len, i, &at, &len);
        crc = i == 0 ? op->crc[i] : crc32c_join(crc, op->crc[i], len);
    }
    return crc;
}

/* What both directions refuse, so that whatever was encoded can be decoded. */
static bool sattr_valid(const struct zone_sattr *sattr)
{
    const uint32_t all = ZONE_SET_MODE | ZONE_SET_UID | ZONE_SET_GID | ZONE_SET_SIZE;

    return (sattr->set & ~all) == 0 && (unsigned)sattr->set_atime <= ZONE_TIME_CLIENT &&
           (unsigned)sattr->set_mtime <= ZONE_TIME_CLIENT &&
           sattr->atime.nsec < ZONE_NSEC && sattr->mtime.nsec < ZONE_NSEC;
}

static bool kv_valid(const struct zone_op *op)
{
    if (op->n_kv > ZONE_KV_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < op->n_kv; i++) {
        const struct zone_kv *pair = &op->kv[i];

        if (pair->key.len == 0 || pair->key.len > ZONE_KEY_MAX ||
            pair->value.len > ZONE_VALUE_MAX) {
            return false;
        }
    }
    return true;
}

static bool op_valid(const struct zone_op *op, unsigned fields)
{
    size_t to_max = (fields & F_TARGET) != 0 ? ZONE_PATH_MAX : ZONE_NAME_MAX;

    if ((fields & F_CRED) != 0 && op->cred.n_groups > ZONE_GROUPS_MAX) {
        return false;
    }
    if ((fields & F_NAME) != 0 && op->name.len > ZONE_NAME_MAX) {
        return false;
    }
    if ((fields & (F_TO_NAME | F_TARGET)) != 0 && op->to_name.len > to_max) {
        return false;
    }
    if ((fields & F_SATTR) != 0 && !sattr_valid(&op->sattr)) {
        return false;
    }
    if ((fields & F_GUARD) != 0 && op->guard.nsec >= ZONE_NSEC) {
        return false;
    }
    if ((fields & F_HOW) != 0 && (unsigned)op->how > ZONE_EXCLUSIVE) {
        return false;
    }
    if ((fields & F_NODE) != 0 && (unsigned)op->node_type > ZONE_FIFO) {
        return false;
    }
    if ((fields & F_DATA) != 0 && op->data.len > ZONE_IO_MAX) {
        return false;
    }
    return (fields & F_KV) == 0 || kv_valid(op);
}

static void put_cred(struct wire_enc *enc, const struct zone_cred *cred)
{
    wire_put_u32(enc, cred->uid);
    wire_put_u32(enc, cred->gid);
    wire_put_u8(enc, (uint8_t)cred->n_groups);
    for (uint32_t i = 0; i < cred->n_groups; i++) {
        wire_put_u32(enc, cred->groups[i]);
    }
}

static void get_cred(struct wire_dec *dec, struct zone_cred *cred)
{
    cred->uid = wire_get_u32(dec);
    cred->gid = wire_get_u32(dec);
    cred->n_groups = wire_get_u8(dec);
    if (cred->n_groups > ZONE_GROUPS_MAX) {
        dec->failed = true;
        cred->n_groups = 0;
    }
    for (uint32_t i = 0; i < cred->n_groups; i++) {
        cred->groups[i] = wire_get_u32(dec);
    }
}

static void put_handle(struct wire_enc *enc, const struct zone_handle *handle)
{
    wire_put_u64(enc, handle->ino);
    wire_put_u64(enc, handle->gen);
}

static void get_handle(struct wire_dec *dec, struct zone_handle *handle)
{
    handle->ino = wire_get_u64(dec);
    handle->gen = wire_get_u64(dec);
}

static void put_sattr(struct wire_enc *enc, const struct zone_sattr *sattr)
{
    wire_put_u8(enc, (uint8_t)sattr->set);
    wire_put_u8(enc, (uint8_t)sattr->set_atime);
    wire_put_u8(enc, (uint8_t)sattr->set_mtime);
    wire_put_u32(enc, sattr->mode & 07777);
    wire_put_u32(enc, sattr->uid);
    wire_put_u32(enc, sattr->gid);
    wire_put_u64(enc, sattr->size);
    zone_put_time(enc, sattr->atime);
    zone_put_time(enc, sattr->mtime);
}

static void get_sattr(struct wire_dec *dec, struct zone_sattr *sattr)
{
    sattr->set = wire_get_u8(dec);
    sattr->set_atime = (enum zone_set_time)wire_get_u8(dec);
    sattr->set_mtime = (enum zone_set_time)wire_get_u8(dec);
    sattr->mode = wire_get_u32(dec);
    if (sattr->mode > 07777) {
        dec->failed = true;
    }
    sattr->uid = wire_get_u32(dec);
    sattr->gid = wire_get_u32(dec);
    sattr->size = wire_get_u64(dec);
    sattr->atime = zone_get_time(dec);
    sattr->mtime = zone_get_time(dec);
}

static void put_guard(struct wire_enc *enc, const struct zone_op *op)
{
    wire_put_u8(enc, op->guarded);
    zone_put_time(enc, op->guard);
}

static void put_node(struct wire_enc *enc, const struct zone_op *op)
{
    wire_put_u8(enc, (uint8_t)op->node_type);
    wire_put_u32(enc, op->rdev_major);
    wire_put_u32(enc, op->rdev_minor);
}

static void get_node(struct wire_dec *dec, struct zone_op *op)
{
    op->node_type = (enum zone_type)wire_get_u8(dec);
    op->rdev_major = wire_get_u32(dec);
    op->rdev_minor = wire_get_u32(dec);
}

/* Length and CRCs; the bytes travel beside the encoding. */
static void put_data(struct wire_enc *enc, const struct zone_op *op)
{
    uint32_t n = zone_op_pieces(op->offset, op->data.len);

    ASSERT(n <= ZONE_PIECES_MAX);
    wire_put_u32(enc, (uint32_t)op->data.len);
    for (uint32_t i = 0; i < n; i++) {
        wire_put_u32(enc, op->crc[i]);
    }
}

static void get_data(struct wire_dec *dec, struct zone_op *op)
{
    uint32_t len = wire_get_u32(dec);

    if (len > ZONE_IO_MAX) {
        dec->failed = true;
        return;
    }
    op->data.len = len;
    for (uint32_t i = 0; i < zone_op_pieces(op->offset, len); i++) {
        op->crc[i] = wire_get_u32(dec);
    }
}

static void put_kv(struct wire_enc *enc, const struct zone_op *op)
{
    wire_put_u8(enc, (uint8_t)op->n_kv);
    for (uint32_t i = 0; i < op->n_kv; i++) {
        zone_kv_put(enc, &op->kv[i]);
    }
}

static void get_kv(struct wire_dec *dec, struct zone_op *op)
{
    uint32_t n = wire_get_u8(dec);

    if (n > ZONE_KV_MAX) {
        dec->failed = true;
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!zone_kv_get(dec, &op->kv[i])) {
            dec->failed = true;
            return;
        }
    }
    op->n_kv = n;
}

static size_t encoded_max(const struct zone_op *op)
{
    size_t len = 512 + op->name.len + op->to_name.len;

    for (uint32_t i = 0; i < op->n_kv; i++) {
        len += 32 + op->kv[i].key.len + op->kv[i].value.len;
    }
    return len;
}

static void put_fields(struct wire_enc *enc, const struct zone_op *op, unsigned fields)
{
    if ((fields & F_CRED) != 0) {
        put_cred(enc, &op->cred);
    }
    if ((fields & F_OBJ) != 0) {
        put_handle(enc, &op->obj);
    }
    if ((fields & F_TO) != 0) {
        put_handle(enc, &op->to);
    }
    if ((fields & F_NAME) != 0) {
        wire_put_blob(enc, op->name.data, op->name.len);
    }
    if ((fields & (F_TO_NAME | F_TARGET)) != 0) {
        wire_put_blob(enc, op->to_name.data, op->to_name.len);
    }
    if ((fields & F_SATTR) != 0) {
        put_sattr(enc, &op->sattr);
    }
    if ((fields & F_GUARD) != 0) {
        put_guard(enc, op);
    }
    if ((fields & F_HOW) != 0) {
        wire_put_u8(enc, (uint8_t)op->how);
        wire_put_bytes(enc, op->verf, sizeof op->verf);
    }
    if ((fields & F_NODE) != 0) {
        put_node(enc, op);
    }
    if ((fields & F_OFFSET) != 0) {
        wire_put_u64(enc, op->offset);
    }
    if ((fields & F_COUNT) != 0) {
        wire_put_u32(enc, op->count);
    }
    if ((fields & F_ACCESS) != 0) {
        wire_put_u32(enc, op->access);
    }
    if ((fields & F_DATA) != 0) {
        put_data(enc, op);
    }
    if ((fields & F_KV) != 0) {
        put_kv(enc, op);
    }
}

int zone_op_encode(const struct zone_op *op, struct buf **out)
{
    const struct op_row *row = find_row(op->type);
    struct wire_enc enc;
    struct buf *buf;

    if (row == NULL || !op_valid(op, row->fields)) {
        return -EINVAL;
    }
    buf = buf_new(encoded_max(op));
    if (buf == NULL) {
        return -ENOMEM;
    }
    enc = wire_enc(buf->data, buf->cap);
    wire_put_u8(&enc, OP_VERSION);
    wire_put_u8(&enc, (uint8_t)op->type);
    put_fields(&enc, op, row->fields);
    ASSERT(!enc.failed && enc.len <= ZONE_OP_BYTES_MAX);
    buf->len = enc.len;
    *out = buf;
    return 0;
}

static struct slice get_slice(struct wire_dec *dec, size_t max)
{
    size_t len;
    const uint8_t *at = wire_get_blob(dec, max, &len);

    return slice_borrow(at, len);
}

/* Exactly 0 or 1, so that an op has one encoding only. */
static bool get_bool(struct wire_dec *dec)
{
    uint8_t value = wire_get_u8(dec);

    if (value > 1) {
        dec->failed = true;
    }
    return value == 1;
}

static void get_fields(struct wire_dec *dec, struct zone_op *op, unsigned fields)
{
    if ((fields & F_CRED) != 0) {
        get_cred(dec, &op->cred);
    }
    if ((fields & F_OBJ) != 0) {
        get_handle(dec, &op->obj);
    }
    if ((fields & F_TO) != 0) {
        get_handle(dec, &op->to);
    }
    if ((fields & F_NAME) != 0) {
        op->name = get_slice(dec, ZONE_NAME_MAX);
    }
    if ((fields & (F_TO_NAME | F_TARGET)) != 0) {
        op->to_name = get_slice(dec, ZONE_PATH_MAX);
    }
    if ((fields & F_SATTR) != 0) {
        get_sattr(dec, &op->sattr);
    }
    if ((fields & F_GUARD) != 0) {
        op->guarded = get_bool(dec);
        op->guard = zone_get_time(dec);
    }
    if ((fields & F_HOW) != 0) {
        op->how = (enum zone_create_how)wire_get_u8(dec);
        wire_get_bytes(dec, op->verf, sizeof op->verf);
    }
    if ((fields & F_NODE) != 0) {
        get_node(dec, op);
    }
    if ((fields & F_OFFSET) != 0) {
        op->offset = wire_get_u64(dec);
    }
    if ((fields & F_COUNT) != 0) {
        op->count = wire_get_u32(dec);
    }
    if ((fields & F_ACCESS) != 0) {
        op->access = wire_get_u32(dec);
    }
    if ((fields & F_DATA) != 0) {
        get_data(dec, op);
    }
    if ((fields & F_KV) != 0) {
        get_kv(dec, op);
    }
}

bool zone_op_supported(const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    return len >= 2 && at[0] == OP_VERSION && zone_op_known(at[1]);
}

int zone_op_decode(const void *bytes, size_t len, struct slice payload,
                   struct zone_op *op)
{
    struct wire_dec dec = wire_dec(bytes, len);
    const struct op_row *row;

    memset(op, 0, sizeof *op);
    if (len > ZONE_OP_BYTES_MAX || !zone_op_supported(bytes, len)) {
        return -EPROTO;
    }
    (void)wire_get_u8(&dec);
    op->type = (enum zone_op_type)wire_get_u8(&dec);
    row = find_row(op->type);
    ASSERT(row != NULL);
    get_fields(&dec, op, row->fields);
    if (!wire_done(&dec) || !op_valid(op, row->fields)) {
        return -EPROTO;
    }
    if (payload.len != 0) {
        if (payload.len != op->data.len) {
            return -EPROTO;
        }
        op->data = payload;
    }
    return 0;
}
