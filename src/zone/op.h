/*
 * op: one request to a zone, its result, and how both travel.
 *
 * Every NFS procedure becomes one op. Reads (type < ZONE_OP_MUTATION) are answered by
 * a member at a linearizable point; mutations become log entries. The same flat struct
 * serves all; zone/op_codec.c knows which fields each type has on the wire and checks
 * every length. Formats: docs/formats/entry.md.
 */
#ifndef ZONE_OP_H
#define ZONE_OP_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZONE_NAME_MAX 255u     /* Bytes of a file name. */
#define ZONE_PATH_MAX 4096u    /* Bytes of a symlink's target. */
#define ZONE_IO_MAX (1u << 20) /* Bytes of one READ or WRITE. */
#define ZONE_BLOCK 131072u     /* Bytes of a block: the unit of settling and CRC. */
#define ZONE_PIECES_MAX (ZONE_IO_MAX / ZONE_BLOCK + 1)
#define ZONE_FILE_SIZE_MAX (1ull << 43) /* 8 TiB: what every pool's file system holds. */
#define ZONE_GROUPS_MAX 16u             /* AUTH_SYS, RFC 5531 appendix A. */
#define ZONE_KV_MAX 16u                 /* Pairs in one ZONE_OP_KV. */
#define ZONE_KEY_MAX 255u
#define ZONE_VALUE_MAX 65536u
#define ZONE_ROOT_INO 1u
#define ZONE_ROOT_GEN 1u /* The root lives as long as its zone. */
/* An op without payload, encoded, never exceeds this; nor does a result without data. */
#define ZONE_OP_BYTES_MAX (2u << 20)

enum zone_op_type {
    /* Reads. */
    ZONE_OP_GETATTR = 1,
    ZONE_OP_LOOKUP = 2, /* name ".." gives the parent; in the root, the root. */
    ZONE_OP_ACCESS = 3,
    ZONE_OP_READLINK = 4,
    ZONE_OP_READ = 5,
    ZONE_OP_READDIR = 6, /* Always with attributes; the front drops what it needs not. */
    ZONE_OP_FSSTAT = 7,
    ZONE_OP_COMMIT = 8,
    /* The pairs whose key begins with @name, in key order, from the first key beyond
     * @to_name on (empty: all); @count bytes of records at most (0: ZONE_IO_MAX). Not
     * eof: ask again with the last key. */
    ZONE_OP_KV_GET = 9,

    ZONE_OP_MUTATION = 64, /* Not an op: the border. */
    ZONE_OP_SETATTR = 65,
    ZONE_OP_WRITE = 66,
    ZONE_OP_CREATE = 67,
    ZONE_OP_MKDIR = 68,
    ZONE_OP_SYMLINK = 69,
    ZONE_OP_MKNOD = 70,
    ZONE_OP_REMOVE = 71,
    ZONE_OP_RMDIR = 72,
    ZONE_OP_RENAME = 73,
    ZONE_OP_LINK = 74,
    /* Compare-and-set several pairs, all or none; a key must not come twice. A pair's
     * version is its entry's index. OUT_MISMATCH: @count in the result is the place of
     * the first pair that differs, @data one record with its key and present version. */
    ZONE_OP_KV = 75,
    ZONE_OP_SET_QUOTA = 76, /* @offset is the new quota in bytes. */
};

/* Who asks, after squashing. Group list without duplicates is not required. */
struct zone_cred {
    uint32_t uid;
    uint32_t gid;
    uint32_t n_groups;
    uint32_t groups[ZONE_GROUPS_MAX];
};

/* Which object; a wrong generation is OUT_STALE. */
struct zone_handle {
    uint64_t ino;
    uint64_t gen;
};

struct zone_time {
    int64_t sec;
    uint32_t nsec; /* Below 10^9. */
};

/* RFC 1813 2.5.3 sattr3. SET_TO_SERVER_TIME becomes the entry's time. */
enum zone_set_time { ZONE_TIME_KEEP = 0, ZONE_TIME_SERVER = 1, ZONE_TIME_CLIENT = 2 };
enum zone_set {
    ZONE_SET_MODE = 1,
    ZONE_SET_UID = 2,
    ZONE_SET_GID = 4,
    ZONE_SET_SIZE = 8
};
struct zone_sattr {
    uint32_t set;  /* Bits of enum zone_set. */
    uint32_t mode; /* 07777. */
    uint32_t uid;
    uint32_t gid;
    uint64_t size;
    enum zone_set_time set_atime;
    enum zone_set_time set_mtime;
    struct zone_time atime;
    struct zone_time mtime;
};

enum zone_create_how { ZONE_UNCHECKED = 0, ZONE_GUARDED = 1, ZONE_EXCLUSIVE = 2 };

/* Numbers as ftype3 (RFC 1813 2.5.5). */
enum zone_type {
    ZONE_REG = 1,
    ZONE_DIR = 2,
    ZONE_BLK = 3,
    ZONE_CHR = 4,
    ZONE_LNK = 5,
    ZONE_SOCK = 6,
    ZONE_FIFO = 7,
};

#define ZONE_KV_ANY UINT64_MAX /* Expected version: whatever is there. */
struct zone_kv {
    struct slice key;
    struct slice value;
    uint64_t version; /* In: the expected one (0: absent). In results: the pair's. */
    bool remove;
};

/*
 * One request. Fields a type does not use are zero. Names and data are slices; an op
 * that was decoded borrows from the decoded bytes (data: holds a reference).
 */
struct zone_op {
    enum zone_op_type type;
    struct zone_cred cred;
    struct zone_handle obj; /* Target, or the directory of @name. */
    struct zone_handle to;  /* RENAME: target directory. LINK: the directory. */
    struct slice name;      /* At most ZONE_NAME_MAX, no NUL, no slash. */
    struct slice to_name;   /* RENAME, LINK: new name. SYMLINK: the link's target. */
    struct zone_sattr sattr;
    bool guarded; /* SETATTR: only if ctime equals @guard. */
    struct zone_time guard;
    enum zone_create_how how;
    uint8_t verf[8];          /* EXCLUSIVE create. */
    enum zone_type node_type; /* MKNOD. */
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint64_t offset;   /* READ, WRITE, COMMIT: byte. READDIR: cookie. SET_QUOTA: bytes. */
    uint32_t count;    /* READ: bytes wanted. READDIR: reply bytes at most (see below). */
    uint32_t access;   /* ACCESS: the bits asked for, RFC 1813 3.3.4. */
    struct slice data; /* WRITE: the payload, at most ZONE_IO_MAX. */
    uint32_t crc[ZONE_PIECES_MAX]; /* WRITE: CRC32C per piece; see zone_op_seal. */
    uint32_t n_kv;
    struct zone_kv kv[ZONE_KV_MAX];
};

/* RFC 1813 2.6 fattr3 without the fsid, which the front knows. */
struct zone_attr {
    enum zone_type type;
    uint32_t mode; /* 07777 */
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint64_t size;
    uint64_t used; /* Bytes, logical. */
    uint64_t ino;
    uint64_t gen;
    uint64_t change; /* Index of the entry that last changed it. */
    struct zone_time atime;
    struct zone_time mtime;
    struct zone_time ctime;
};

/* RFC 1813 2.6 wcc_data. @has_*: the part is known. */
struct zone_wcc {
    bool has_before;
    bool has_after;
    uint64_t before_size;
    struct zone_time before_mtime;
    struct zone_time before_ctime;
    struct zone_attr after;
};

/*
 * The answer to one op. @data is: READ the bytes, READLINK the target, READDIR entries
 * as zone_dirent_put wrote them, KV_GET pairs as zone_kv_put wrote them.
 */
struct zone_result {
    int outcome;    /* enum outcome. */
    uint64_t index; /* Mutations: the entry's index. Reads: the index they saw. */
    bool has_obj;
    struct zone_attr obj; /* The object found, made or changed. */
    struct zone_wcc dir;  /* The directory of obj; RENAME: the source's. SETATTR,
                              WRITE, COMMIT: of the object itself. */
    struct zone_wcc to;   /* RENAME: the target directory; LINK: the directory. */
    uint32_t access;      /* ACCESS: the bits granted. */
    uint32_t count;       /* WRITE: bytes written; READ: bytes read. */
    bool eof;             /* READ, READDIR. */
    uint64_t total_bytes; /* FSSTAT: the quota, and what of it is used and free. */
    uint64_t free_bytes;
    uint64_t used_inodes;
    uint64_t bad_block; /* Of READ, READLINK that gave OUT_IO: which; not encoded. */
    struct slice data;
};

bool zone_op_is_mutation(enum zone_op_type type);
/* Done twice it may do harm, or answer otherwise: a client that asks again, with the same
 * call, gets the first answer. All that a client's call can change: a WRITE, too, since a
 * late copy would undo what was written after the first. */
bool zone_op_once(enum zone_op_type type);
/* True for types that this version can decode. */
bool zone_op_known(unsigned type);

/* The inode, by its handle, that alone decides the answer to a read; all zero: none. */
struct zone_handle zone_op_reads(const struct zone_op *op);
#define ZONE_TOUCH_MAX 2u
#define ZONE_TOUCH_ANY UINT32_MAX
/* The inodes that a mutation may change, into @ino: how many, or ZONE_TOUCH_ANY. See
 * op_touch.c for what is not counted. */
uint32_t zone_op_touches(const struct zone_op *op, uint64_t ino[ZONE_TOUCH_MAX]);

/*
 * Fill op->crc: the payload is cut at multiples of ZONE_BLOCK in file offsets, and each
 * piece gets its CRC32C. Done once, at the front: the CRCs travel with the data into
 * every member's journal and extents (end to end).
 */
void zone_op_seal(struct zone_op *op);
/* Piece @i of a write of @len bytes at @offset: its place in the payload and length.
 * Returns the number of pieces. */
uint32_t zone_op_pieces(uint64_t offset, size_t len);
void zone_op_piece(uint64_t offset, size_t len, uint32_t i, size_t *at,
                   size_t *piece_len);
/* 0, or OUT_IO if a piece of the payload does not match its CRC, or there is none of it. */
int zone_op_check(const struct zone_op *op);
/* The CRC32C that the whole payload has if each piece has its own. */
uint32_t zone_op_crc(const struct zone_op *op);

/*
 * Encode @op without its payload (op->data's bytes; its length is in the encoding) into
 * a new buffer. Returns 0, -ENOMEM, or -EINVAL for an op that zone_op_decode would
 * refuse (a name too long, a time beyond 999,999,999 ns ...). Of the mode, 07777 counts.
 */
int zone_op_encode(const struct zone_op *op, struct buf **out);
/*
 * Decode what zone_op_encode wrote. Slices in *@op borrow from @bytes. For a WRITE,
 * @payload becomes op->data (no reference is taken). 0 or -EPROTO with a checked,
 * whole refusal: bad version, unknown type, a length past its limit, trailing bytes, a
 * payload of another length. With an empty @payload op->data has the length that was
 * encoded and no bytes (data NULL).
 */
int zone_op_decode(const void *bytes, size_t len, struct slice payload,
                   struct zone_op *op);

/* A result travels whole, data included, as two slices: head (new buffer) and
 * result->data. 0 or -ENOMEM; -EPROTO for malformed bytes. Decoding takes a reference
 * of @data; zone_result_clear gives it back. */
int zone_result_encode(const struct zone_result *result, struct buf **out);
int zone_result_decode(const void *bytes, size_t len, struct slice data,
                       struct zone_result *result);
/* Give back what the result holds and make it all zero. */
void zone_result_clear(struct zone_result *result);

/*
 * READDIR data: a run of records. In the op, @offset is the cookie to go on after (0:
 * from the start; 1 and 2 are "." and ".." made by the front; permanent cookies begin
 * at 3) and @count the bytes of records wanted at most.
 */
struct zone_dirent {
    uint64_t cookie;
    struct zone_attr attr;
    struct slice name;
};
struct wire_enc;
struct wire_dec;
void zone_dirent_put(struct wire_enc *enc, const struct zone_dirent *entry);
/* False at the end of the run or on malformed bytes (then dec->failed). */
bool zone_dirent_get(struct wire_dec *dec, struct zone_dirent *entry);
void zone_kv_put(struct wire_enc *enc, const struct zone_kv *pair);
bool zone_kv_get(struct wire_dec *dec, struct zone_kv *pair);

/*
 * A log entry of type command: this header, then the encoded op. The leader stamps
 * @time_ns when it proposes; the rest is the origin's.
 */
struct zone_origin {
    uint64_t node;  /* Node number. 0: none, the op is not deduplicated. */
    uint64_t boot;  /* Changes at every start of the origin's daemon. */
    uint64_t seq;   /* From 1, one per op. */
    uint64_t floor; /* Every seq below it has been answered at the origin. */
};
struct zone_entry {
    struct zone_origin origin;
    int64_t time_ns;     /* Zone time, ns since 1970; strictly rising in the log. */
    uint8_t rpc_key[16]; /* The client's call, hashed; zero: none. See zone_op_once. */
    struct slice op;     /* The encoded op. */
};
/* Encode with time 0 into a new buffer. */
int zone_entry_encode(const struct zone_entry *entry, struct buf **out);
/* Write the time into an encoded entry in place (before it is shared). */
void zone_entry_stamp(uint8_t *bytes, size_t len, int64_t time_ns);
int zone_entry_decode(const void *bytes, size_t len, struct zone_entry *entry);
/* zone_op_touches of the op in an entry with these @head and @payload; ZONE_TOUCH_ANY if it
 * cannot be decoded. */
uint32_t zone_entry_touches(struct slice head, struct slice payload,
                            uint64_t ino[ZONE_TOUCH_MAX]);
#define ZONE_ENTRY_VERSION 1

#endif
