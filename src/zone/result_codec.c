#include "base/assert.h"
#include "base/wire.h"
#include "zone/codec.h"
#include "zone/op.h"

#include <errno.h>
#include <string.h>

#define RESULT_VERSION 1u

enum {
    HEAD_MAX = 512, /* Bytes of an encoded result head at most. */
    DATA_MAX = ZONE_IO_MAX,
};

/* Which parts follow. */
enum result_flag {
    R_OBJ = 1 << 0,
    R_DIR_BEFORE = 1 << 1,
    R_DIR_AFTER = 1 << 2,
    R_TO_BEFORE = 1 << 3,
    R_TO_AFTER = 1 << 4,
    R_EOF = 1 << 5,
    R_FSSTAT = 1 << 6,
    R_ALL = (1 << 7) - 1,
};

void zone_put_time(struct wire_enc *enc, struct zone_time time)
{
    wire_put_u64(enc, (uint64_t)time.sec);
    wire_put_u32(enc, time.nsec);
}

struct zone_time zone_get_time(struct wire_dec *dec)
{
    struct zone_time time;

    time.sec = (int64_t)wire_get_u64(dec);
    time.nsec = wire_get_u32(dec);
    if (time.nsec >= ZONE_NSEC) {
        dec->failed = true;
    }
    return time;
}

void zone_put_attr(struct wire_enc *enc, const struct zone_attr *attr)
{
    wire_put_u8(enc, (uint8_t)attr->type);
    wire_put_u32(enc, attr->mode);
    wire_put_u32(enc, attr->nlink);
    wire_put_u32(enc, attr->uid);
    wire_put_u32(enc, attr->gid);
    wire_put_u32(enc, attr->rdev_major);
    wire_put_u32(enc, attr->rdev_minor);
    wire_put_u64(enc, attr->size);
    wire_put_u64(enc, attr->used);
    wire_put_u64(enc, attr->ino);
    wire_put_u64(enc, attr->gen);
    wire_put_u64(enc, attr->change);
    zone_put_time(enc, attr->atime);
    zone_put_time(enc, attr->mtime);
    zone_put_time(enc, attr->ctime);
}

void zone_get_attr(struct wire_dec *dec, struct zone_attr *attr)
{
    uint8_t type = wire_get_u8(dec);

    if (type < ZONE_REG || type > ZONE_FIFO) {
        dec->failed = true;
    }
    attr->type = (enum zone_type)type;
    attr->mode = wire_get_u32(dec);
    attr->nlink = wire_get_u32(dec);
    attr->uid = wire_get_u32(dec);
    attr->gid = wire_get_u32(dec);
    attr->rdev_major = wire_get_u32(dec);
    attr->rdev_minor = wire_get_u32(dec);
    attr->size = wire_get_u64(dec);
    attr->used = wire_get_u64(dec);
    attr->ino = wire_get_u64(dec);
    attr->gen = wire_get_u64(dec);
    attr->change = wire_get_u64(dec);
    attr->atime = zone_get_time(dec);
    attr->mtime = zone_get_time(dec);
    attr->ctime = zone_get_time(dec);
}

static void put_wcc(struct wire_enc *enc, const struct zone_wcc *wcc)
{
    if (wcc->has_before) {
        wire_put_u64(enc, wcc->before_size);
        zone_put_time(enc, wcc->before_mtime);
        zone_put_time(enc, wcc->before_ctime);
    }
    if (wcc->has_after) {
        zone_put_attr(enc, &wcc->after);
    }
}

static void get_wcc(struct wire_dec *dec, bool before, bool after, struct zone_wcc *wcc)
{
    wcc->has_before = before;
    wcc->has_after = after;
    if (before) {
        wcc->before_size = wire_get_u64(dec);
        wcc->before_mtime = zone_get_time(dec);
        wcc->before_ctime = zone_get_time(dec);
    }
    if (after) {
        zone_get_attr(dec, &wcc->after);
    }
}

static unsigned flags_of(const struct zone_result *result)
{
    unsigned flags = 0;

    flags |= result->has_obj ? R_OBJ : 0u;
    flags |= result->dir.has_before ? R_DIR_BEFORE : 0u;
    flags |= result->dir.has_after ? R_DIR_AFTER : 0u;
    flags |= result->to.has_before ? R_TO_BEFORE : 0u;
    flags |= result->to.has_after ? R_TO_AFTER : 0u;
    flags |= result->eof ? R_EOF : 0u;
    if ((result->total_bytes | result->free_bytes | result->used_inodes) != 0) {
        flags |= R_FSSTAT;
    }
    return flags;
}

static void put_head(struct wire_enc *enc, const struct zone_result *result)
{
    unsigned flags = flags_of(result);

    wire_put_u8(enc, RESULT_VERSION);
    wire_put_u16(enc, (uint16_t)result->outcome);
    wire_put_u8(enc, (uint8_t)flags);
    wire_put_u64(enc, result->index);
    wire_put_u32(enc, result->access);
    wire_put_u32(enc, result->count);
    wire_put_u32(enc, (uint32_t)result->data.len);
    if ((flags & R_OBJ) != 0) {
        zone_put_attr(enc, &result->obj);
    }
    put_wcc(enc, &result->dir);
    put_wcc(enc, &result->to);
    if ((flags & R_FSSTAT) != 0) {
        wire_put_u64(enc, result->total_bytes);
        wire_put_u64(enc, result->free_bytes);
        wire_put_u64(enc, result->used_inodes);
    }
}

int zone_result_encode(const struct zone_result *result, struct buf **out)
{
    struct wire_enc enc;
    struct buf *buf;

    ASSERT(result->outcome >= 0 && result->outcome < OUT_MAX);
    ASSERT(result->data.len <= DATA_MAX);
    buf = buf_new(HEAD_MAX);
    if (buf == NULL) {
        return -ENOMEM;
    }
    enc = wire_enc(buf->data, buf->cap);
    put_head(&enc, result);
    ASSERT(!enc.failed);
    buf->len = enc.len;
    *out = buf;
    return 0;
}

/* Everything but the data, whose length is returned in *@data_len. */
static void get_head(struct wire_dec *dec, struct zone_result *result, uint32_t *data_len)
{
    unsigned flags;

    if (wire_get_u8(dec) != RESULT_VERSION) {
        dec->failed = true;
    }
    result->outcome = wire_get_u16(dec);
    flags = wire_get_u8(dec);
    if (result->outcome >= OUT_MAX || (flags & ~(unsigned)R_ALL) != 0) {
        dec->failed = true;
    }
    result->index = wire_get_u64(dec);
    result->access = wire_get_u32(dec);
    result->count = wire_get_u32(dec);
    *data_len = wire_get_u32(dec);
    result->eof = (flags & R_EOF) != 0;
    if ((flags & R_OBJ) != 0) {
        result->has_obj = true;
        zone_get_attr(dec, &result->obj);
    }
    get_wcc(dec, (flags & R_DIR_BEFORE) != 0, (flags & R_DIR_AFTER) != 0, &result->dir);
    get_wcc(dec, (flags & R_TO_BEFORE) != 0, (flags & R_TO_AFTER) != 0, &result->to);
    if ((flags & R_FSSTAT) != 0) {
        result->total_bytes = wire_get_u64(dec);
        result->free_bytes = wire_get_u64(dec);
        result->used_inodes = wire_get_u64(dec);
    }
}

int zone_result_decode(const void *bytes, size_t len, struct slice data,
                       struct zone_result *result)
{
    struct wire_dec dec = wire_dec(bytes, len);
    uint32_t data_len;

    memset(result, 0, sizeof *result);
    get_head(&dec, result, &data_len);
    if (!wire_done(&dec) || data_len > DATA_MAX || data_len != data.len) {
        memset(result, 0, sizeof *result);
        return -EPROTO;
    }
    result->data = slice_ref(data);
    return 0;
}

void zone_result_clear(struct zone_result *result)
{
    slice_unref(&result->data);
    memset(result, 0, sizeof *result);
}

int zone_reply_encode(const struct zone_result *result, struct buf **out)
{
    struct wire_enc enc;
    struct buf *buf = buf_new(HEAD_MAX + result->data.len);

    if (buf == NULL) {
        return -ENOMEM;
    }
    enc = wire_enc(buf->data, buf->cap);
    put_head(&enc, result);
    wire_put_bytes(&enc, result->data.data, result->data.len);
    ASSERT(!enc.failed);
    buf->len = enc.len;
    *out = buf;
    return 0;
}

int zone_reply_decode(struct slice bytes, struct zone_result *result)
{
    struct wire_dec dec = wire_dec(bytes.data, bytes.len);
    uint32_t data_len;
    const uint8_t *data;

    memset(result, 0, sizeof *result);
    get_head(&dec, result, &data_len);
    data = wire_get_view(&dec, data_len);
    if (!wire_done(&dec)) {
        memset(result, 0, sizeof *result);
        return -EPROTO;
    }
    result->data = slice_borrow(data, data_len);
    if (bytes.buf != NULL) {
        result->data.buf = data_len == 0 ? NULL : buf_ref(bytes.buf);
    }
    return 0;
}

void zone_dirent_put(struct wire_enc *enc, const struct zone_dirent *entry)
{
    wire_put_u64(enc, entry->cookie);
    zone_put_attr(enc, &entry->attr);
    wire_put_blob(enc, entry->name.data, entry->name.len);
}

bool zone_dirent_get(struct wire_dec *dec, struct zone_dirent *entry)
{
    size_t len;
    const uint8_t *name;

    memset(entry, 0, sizeof *entry);
    if (dec->failed || dec->at == dec->len) {
        return false;
    }
    entry->cookie = wire_get_u64(dec);
    zone_get_attr(dec, &entry->attr);
    name = wire_get_blob(dec, ZONE_NAME_MAX, &len);
    entry->name = slice_borrow(name, len);
    return !dec->failed;
}

void zone_kv_put(struct wire_enc *enc, const struct zone_kv *pair)
{
    wire_put_blob(enc, pair->key.data, pair->key.len);
    wire_put_u64(enc, pair->version);
    wire_put_u8(enc, pair->remove);
    wire_put_blob(enc, pair->value.data, pair->value.len);
}

bool zone_kv_get(struct wire_dec *dec, struct zone_kv *pair)
{
    const uint8_t *at;
    size_t len;
    uint8_t remove;

    memset(pair, 0, sizeof *pair);
    if (dec->failed || dec->at == dec->len) {
        return false;
    }
    at = wire_get_blob(dec, ZONE_KEY_MAX, &len);
    pair->key = slice_borrow(at, len);
    pair->version = wire_get_u64(dec);
    remove = wire_get_u8(dec);
    if (remove > 1) {
        dec->failed = true;
    }
    pair->remove = remove == 1;
    at = wire_get_blob(dec, ZONE_VALUE_MAX, &len);
    pair->value = slice_borrow(at, len);
    return !dec->failed;
}
