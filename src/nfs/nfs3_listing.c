#include "nfs/nfs3_listing.h"

#include "nfs/nfs3_atime.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"

enum {
    COOKIE_DOT = 1,
    COOKIE_DOTDOT = 2,
    ENTRY_FIXED_BYTES = 24, /* Follows, fileid, the name's length, cookie. */
    TAIL_BYTES = 8,         /* No entry follows; eof. */
    FH_FIXED_BYTES = 8,     /* Follows, length. */
    ZONE_BYTES_MIN = 4096,  /* Asked of a zone at least, so that an entry fits. */
    /* Bytes of a zone's records for four bytes of a reply, with names of usual length: a
     * record has attributes, but no filehandle. With others the reply is not full. */
    ZONE_BYTES_PLAIN = 14,
    ZONE_BYTES_PLUS = 3,
};

#define COOKIE_MAX ((uint64_t)INT64_MAX) /* No zone ever gives out a higher one. */

struct entry {
    uint64_t fileid;
    uint64_t cookie;
    struct slice name;
    bool has_attr;
    struct zone_attr attr;
};

/* Goes through the entries of a reply. */
struct walk {
    const struct nfs3_call *call;
    const struct zone_attr *self; /* NULL: not known. */
    uint64_t after;
    struct wire_dec dec;
};

static const struct zone_attr *dir_attr(const struct zone_result *result)
{
    if (result->has_obj) {
        return &result->obj;
    }
    return result->dir.has_after ? &result->dir.after : NULL;
}

static struct walk walk_begin(const struct nfs3_call *call,
                              const struct zone_result *result)
{
    return (struct walk){
        .call = call,
        .self = dir_attr(result),
        .after = call->op.offset,
        .dec = wire_dec(result->data.data, result->data.len),
    };
}

static bool walk_next(struct walk *walk, struct entry *entry)
{
    const struct nfs3_call *call = walk->call;
    struct zone_dirent dirent;

    *entry = (struct entry){0};
    if (walk->after < COOKIE_DOT) {
        entry->cookie = COOKIE_DOT;
        entry->name = slice_borrow(".", 1);
        entry->fileid = call->root ? NFS3_ROOT_FILEID : call->op.obj.ino;
        entry->has_attr = walk->self != NULL;
        if (entry->has_attr) {
            entry->attr = *walk->self;
        }
    } else if (walk->after < COOKIE_DOTDOT) {
        entry->cookie = COOKIE_DOTDOT;
        entry->name = slice_borrow("..", 2);
        entry->fileid = call->listing.parent_fileid;
    } else if (zone_dirent_get(&walk->dec, &dirent)) {
        entry->cookie = dirent.cookie;
        entry->name = dirent.name;
        entry->fileid = dirent.attr.ino;
        /* What the root folder lists is in zones that have not been asked. */
        entry->has_attr = !call->root;
        entry->attr = dirent.attr;
    } else {
        return false;
    }
    walk->after = entry->cookie;
    return true;
}

static size_t name_bytes(const struct entry *entry)
{
    return ENTRY_FIXED_BYTES + entry->name.len + rpc_xdr_pad(entry->name.len);
}

static size_t plus_bytes(const struct entry *entry)
{
    return entry->has_attr ? NFS3_POST_OP_ATTR_MAX + FH_FIXED_BYTES + NFS3_FH_BYTES : 8;
}

/*
 * Decide how many of the entries fit in what the client asked for, to the byte, and
 * whether they are the last. Returns 0, OUT_TOOSMALL, or OUT_IO if the zone's records
 * are malformed.
 */
static int measure(struct nfs3_call *call, const struct zone_result *result)
{
    struct nfs3_listing *listing = &call->listing;
    struct walk walk = walk_begin(call, result);
    size_t max = listing->maxcount;
    size_t used = 4 + NFS3_COOKIEVERFSIZE + TAIL_BYTES;
    size_t names = 0;
    struct entry entry;

    used += walk.self == NULL ? 0 : NFS3_FATTR_BYTES;
    listing->n_entries = 0;
    listing->eof = false;
    while (walk_next(&walk, &entry)) {
        names += name_bytes(&entry);
        used += name_bytes(&entry) + (listing->plus ? plus_bytes(&entry) : 0);
        if (used > max || (listing->plus && names > listing->dircount)) {
            return listing->n_entries == 0 ? OUT_TOOSMALL : 0;
        }
        listing->n_entries++;
    }
    if (walk.dec.failed) {
        return OUT_IO;
    }
    listing->eof = result->eof;
    if (used > max || (listing->n_entries == 0 && !listing->eof)) {
        return OUT_TOOSMALL;
    }
    return 0;
}

void nfs3_listing_finish(struct rpc_request *request, const struct zone_result *result)
{
    struct zone_result answer = *result;

    if (answer.outcome == 0) {
        answer.outcome = measure(&request->nfs3, result);
    }
    nfs3_reply(request, &answer);
}

static void on_parent(struct rpc_request *request, const struct zone_result *result)
{
    struct nfs3_listing *listing = &request->nfs3.listing;

    ASSERT(listing->waiting > 0);
    listing->waiting--;
    /* Who may list but not search a directory gets the directory itself for "..". */
    if (result->outcome == 0 && result->has_obj) {
        listing->parent_fileid = result->obj.ino;
    }
    if (listing->waiting == 0) {
        nfs3_listing_finish(request, &listing->result);
    }
}

static void on_entries(struct rpc_request *request, const struct zone_result *result)
{
    struct nfs3_listing *listing = &request->nfs3.listing;

    ASSERT(listing->waiting > 0);
    listing->waiting--;
    if (listing->waiting == 0) {
        nfs3_listing_finish(request, result);
        return;
    }
    listing->result = *result;
    listing->result.data = slice_ref(result->data);
    if (result->data.buf == NULL && result->data.len > 0) {
        struct buf *copy = buf_copy(result->data.data, result->data.len);

        if (copy == NULL) {
            listing->result.outcome = OUT_TRY_LATER;
            listing->result.data = (struct slice){0};
            return;
        }
        listing->result.data.buf = copy;
        listing->result.data.data = copy->data;
    }
}

/* How many bytes of records to ask a zone for, so that they about fill the reply. */
static uint32_t zone_bytes(const struct nfs3_listing *listing)
{
    uint32_t want = listing->maxcount;

    ASSERT(want <= NFS3_LISTING_MAX);
    want = want / 4 * (listing->plus ? ZONE_BYTES_PLUS : ZONE_BYTES_PLAIN);
    if (want < ZONE_BYTES_MIN) {
        want = ZONE_BYTES_MIN;
    }
    return want > ZONE_IO_MAX ? ZONE_IO_MAX : want;
}

uint32_t nfs3_listing_get_count(struct rpc_xdr *args)
{
    uint32_t count = rpc_get_u32(args);

    return count > NFS3_LISTING_MAX ? NFS3_LISTING_MAX : count;
}

void nfs3_listing_run(struct rpc_request *request)
{
    struct nfs3_call *call = &request->nfs3;
    struct nfs3_listing *listing = &call->listing;
    struct zone_op op = call->op;

    ASSERT(listing->maxcount <= NFS3_LISTING_MAX);
    if (op.offset > COOKIE_MAX) {
        nfs3_reply_outcome(request, OUT_BAD_COOKIE);
        return;
    }
    call->results_max = NFS3_RESULTS_MAX + listing->maxcount;
    /* The parent of a zone's root is the root folder, and both have fileid 1. */
    listing->parent_fileid = call->root ? NFS3_ROOT_FILEID : op.obj.ino;
    if (call->root) {
        nfs3_submit(request);
        return;
    }
    op.count = zone_bytes(listing);
    if (op.offset <= COOKIE_DOTDOT) {
        op.offset = 0;
    }
    listing->waiting = 1;
    if (call->op.offset < COOKIE_DOTDOT && op.obj.ino != ZONE_ROOT_INO) {
        struct zone_op parent = {.type = ZONE_OP_LOOKUP, .cred = op.cred, .obj = op.obj};

        parent.name = slice_borrow("..", 2);
        listing->waiting = 2;
        rpc_request_submit(request, call->zone.id, &parent, NULL, on_parent);
    }
    rpc_request_submit(request, call->zone.id, &op, NULL, on_entries);
}

static void put_plus(struct rpc_request *request, const struct entry *entry,
                     struct rpc_xdr *xdr)
{
    const struct nfs3_call *call = &request->nfs3;
    struct zone_result found = {.has_obj = true, .obj = entry->attr};

    if (!entry->has_attr) {
        nfs3_put_post_op_attr(xdr, NULL, 0);
        nfs3_put_post_op_fh(xdr, NULL);
        return;
    }
    if (request->atimes != NULL) {
        nfs3_atime_show(request->atimes, call->zone.id, &found.obj);
    }
    nfs3_put_obj_attr(call, &found, xdr);
    nfs3_put_obj_fh(request, &found, xdr);
}

void nfs3_listing_encode(struct rpc_request *request, const struct zone_result *result,
                         struct rpc_xdr *xdr)
{
    static const uint8_t verf[NFS3_COOKIEVERFSIZE];
    const struct nfs3_call *call = &request->nfs3;
    const struct nfs3_listing *listing = &call->listing;
    struct walk walk = walk_begin(call, result);
    struct entry entry;

    nfs3_put_post_op_attr(xdr, walk.self, nfs3_fsid(call));
    if (result->outcome != 0) {
        return;
    }
    rpc_put_fixed(xdr, verf, sizeof verf);
    for (uint32_t i = 0; i < listing->n_entries; i++) {
        bool more = walk_next(&walk, &entry);

        ASSERT(more);
        rpc_put_bool(xdr, true);
        rpc_put_u64(xdr, entry.fileid);
        rpc_put_opaque(xdr, entry.name.data, entry.name.len);
        rpc_put_u64(xdr, entry.cookie);
        if (listing->plus) {
            put_plus(request, &entry, xdr);
        }
    }
    rpc_put_bool(xdr, false);
    rpc_put_bool(xdr, listing->eof);
}
