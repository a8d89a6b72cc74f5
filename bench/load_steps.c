/*
 * The steps: each prepares what it needs (not timed), then measures one kind of call.
 */
#include "load_steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEQ_DEPTH 4u
#define SEQ_READ_S 0.5
#define PREPARE_DEPTH 8u
#define FILES_MIN 500u    /* To stat, list and remove. */
#define SMALL_BYTES 1024u /* In each small file, once they were written. */
#define LIST_BYTES 65536u /* Of one READDIRPLUS reply. */
#define LIST_CALLS_MAX 10000u

static uint32_t min_u32(uint32_t a, uint64_t b)
{
    return a < b ? a : (uint32_t)b;
}

int load_check(struct load *load, const char *call, nfsstat3 status)
{
    return status == NFS3_OK ? 0
                             : load_fail(load, "%s: NFS status %d", call, (int)status);
}

/* Writing. */

static int check_verf(struct load_run *run, const char *verf)
{
    if (!run->has_verf) {
        run->has_verf = true;
        memcpy(run->verf, verf, sizeof run->verf);
    }
    return memcmp(run->verf, verf, sizeof run->verf) == 0
               ? 0
               : load_fail(run->load, "the write verifier changed: the server restarted");
}

static int write_send(struct load_run *run, struct load_slot *slot, uint64_t offset)
{
    struct WRITE3args args = {
        .file = load_fh_out(&run->file->fh),
        .offset = offset,
        .count = slot->len,
        .stable = (stable_how)run->stable,
        .data = {.data_len = slot->len, .data_val = slot->buf},
    };

    load_fill(run->file, offset, slot->buf, slot->len, slot->version);
    return rpc_nfs3_write_async(run->load->rpc, load_reply, &args, slot);
}

int load_write_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    const struct WRITE3res *res = reply;
    const struct WRITE3resok *ok = &res->WRITE3res_u.resok;

    if (load_check(run->load, "WRITE", res->status) != 0 ||
        check_verf(run, ok->verf) != 0) {
        return -1;
    }
    if (ok->count != slot->len) {
        return load_fail(run->load, "WRITE took %u of %u bytes", ok->count, slot->len);
    }
    if ((int)ok->committed < run->stable) {
        return load_fail(run->load, "WRITE is less stable than asked for");
    }
    run->bytes += slot->len;
    return 0;
}

static int seq_write_issue(struct load_run *run, struct load_slot *slot)
{
    uint64_t offset = run->next;

    if (offset >= run->end) {
        return 1;
    }
    slot->len = min_u32(run->load->write_max, run->end - offset);
    slot->version = 1;
    run->next += slot->len;
    return write_send(run, slot, offset);
}

static int commit_issue(struct load_run *run, struct load_slot *slot)
{
    struct COMMIT3args args = {.file = load_fh_out(&run->file->fh)};

    return rpc_nfs3_commit_async(run->load->rpc, load_reply, &args, slot);
}

static int commit_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    const struct COMMIT3res *res = reply;

    (void)slot;
    if (load_check(run->load, "COMMIT", res->status) != 0) {
        return -1;
    }
    return check_verf(run, res->COMMIT3res_u.resok.verf);
}

/* Creating. */

int load_create_send(struct load_run *run, struct load_slot *slot, char *name)
{
    struct CREATE3args args = {
        .where = {.dir = load_fh_out(&run->load->folder), .name = name},
        .how = {.mode = GUARDED},
    };

    args.how.createhow3_u.g_obj_attributes.mode.set_it = 1;
    args.how.createhow3_u.g_obj_attributes.mode.set_mode3_u.mode = 0644;
    return rpc_nfs3_create_async(run->load->rpc, load_reply, &args, slot);
}

int load_create_take(struct load_run *run, const struct CREATE3res *res,
                     struct load_fh *out)
{
    const struct post_op_fh3 *obj = &res->CREATE3res_u.resok.obj;

    if (load_check(run->load, "CREATE", res->status) != 0) {
        return -1;
    }
    if (!obj->handle_follows) {
        return load_fail(run->load, "CREATE gave no filehandle");
    }
    return load_fh_in(run->load, &obj->post_op_fh3_u.handle, out);
}

static int file_create_issue(struct load_run *run, struct load_slot *slot)
{
    char name[16];

    (void)snprintf(name, sizeof name, "file-%u", run->file->id);
    return load_create_send(run, slot, name);
}

static int file_create_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    (void)slot;
    return load_create_take(run, reply, &run->file->fh);
}

int load_run_new(struct load *load, struct load_run **out)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL) {
        return load_fail(load, "out of memory");
    }
    (*out)->load = load;
    return 0;
}

/* Takes @run. */
int load_run_end(struct load_run *run, struct load_result *out)
{
    int rv = load_run_go(run, out);

    if (rv == 0) {
        free(run); /* Else replies may still come for it. */
    }
    return rv;
}

static int file_create(struct load *load, struct load_file *file, uint32_t id)
{
    struct load_run *run;

    if (load_run_new(load, &run) != 0) {
        return -1;
    }
    file->id = id;
    run->depth = 1;
    run->ops_max = 1;
    run->file = file;
    run->issue = file_create_issue;
    run->done = file_create_done;
    return load_run_end(run, NULL);
}

static int file_commit(struct load *load, struct load_file *file, const char *verf)
{
    struct load_run *run;

    if (load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = 1;
    run->ops_max = 1;
    run->file = file;
    run->has_verf = true;
    memcpy(run->verf, verf, sizeof run->verf);
    run->issue = commit_issue;
    run->done = commit_done;
    return load_run_end(run, NULL);
}

/* Write the file from its beginning to its end, as @stable says; UNSTABLE with COMMIT. */
static int file_write(struct load *load, struct load_file *file, int stable,
                      uint32_t depth, struct load_result *out)
{
    uint64_t began = load_now_ns();
    char verf[NFS3_WRITEVERFSIZE];
    struct load_run *run;
    int rv;

    if (load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = depth;
    run->buffers = true;
    run->file = file;
    run->end = file->bytes;
    run->stable = stable;
    run->issue = seq_write_issue;
    run->done = load_write_done;
    rv = load_run_go(run, out);
    if (rv != 0) {
        return rv;
    }
    memcpy(verf, run->verf, sizeof verf);
    free(run);
    if (stable == UNSTABLE) {
        rv = file_commit(load, file, verf);
    }
    if (out != NULL) {
        out->ns = load_now_ns() - began;
    }
    file->present = rv == 0;
    return rv;
}

static int seq_write(struct load *load, const struct load_step *step, int stable,
                     struct load_result *out)
{
    if (!load->seq.present) {
        load->seq.bytes = load->options.seq_bytes;
        if (file_create(load, &load->seq, 1) != 0) {
            return -1;
        }
    }
    return file_write(load, &load->seq, stable, step->depth, out);
}

static int seqwrite_commit(struct load *load, const struct load_step *step,
                           struct load_result *out)
{
    return seq_write(load, step, UNSTABLE, out);
}

static int seqwrite_sync(struct load *load, const struct load_step *step,
                         struct load_result *out)
{
    return seq_write(load, step, FILE_SYNC, out);
}

/* Reading. */

static int read_send(struct load_run *run, struct load_slot *slot, uint64_t offset)
{
    struct READ3args args = {
        .file = load_fh_out(&run->file->fh), .offset = offset, .count = slot->len};

    slot->item = offset;
    return rpc_nfs3_read_async(run->load->rpc, load_reply, &args, slot);
}

int load_read_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    const struct READ3res *res = reply;
    const struct READ3resok *ok = &res->READ3res_u.resok;

    if (load_check(run->load, "READ", res->status) != 0) {
        return -1;
    }
    if (ok->count != slot->len || ok->data.data_len != slot->len) {
        return load_fail(run->load, "READ gave %u of %u bytes", ok->data.data_len,
                         slot->len);
    }
    if (!load_matches(run->file, slot->item, ok->data.data_val, slot->len)) {
        return load_fail(run->load, "READ at %llu: not what was written",
                         (unsigned long long)slot->item);
    }
    run->bytes += slot->len;
    return 0;
}

static int seq_read_issue(struct load_run *run, struct load_slot *slot)
{
    uint64_t offset = run->next;

    if (offset >= run->end) {
        return 1;
    }
    slot->len = min_u32(run->load->read_max, run->end - offset);
    run->next += slot->len;
    return read_send(run, slot, offset);
}

/* From its beginning again when it was read to its end. */
static int seq_reread_issue(struct load_run *run, struct load_slot *slot)
{
    if (run->next >= run->end) {
        run->next = 0;
    }
    return seq_read_issue(run, slot);
}

static int file_read(struct load *load, struct load_file *file, uint32_t depth,
                     struct load_result *out)
{
    struct load_run *run;

    if (load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = depth;
    run->file = file;
    run->end = file->bytes;
    run->issue = seq_read_issue;
    run->done = load_read_done;
    return load_run_end(run, out);
}

/* All of the file, again and again until it took SEQ_READ_S: one pass is over too soon. */
static int seqread(struct load *load, const struct load_step *step,
                   struct load_result *out)
{
    struct load_run *run;

    if (!load->seq.present && seq_write(load, step, UNSTABLE, NULL) != 0) {
        return -1;
    }
    if (load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = step->depth;
    run->seconds = SEQ_READ_S;
    run->file = &load->seq;
    run->end = load->seq.bytes;
    run->issue = seq_reread_issue;
    run->done = load_read_done;
    return load_run_end(run, out);
}

/* Random access. */

int load_rand_prepare(struct load *load)
{
    uint64_t blocks = load->options.rand_bytes / LOAD_BLOCK;

    if (load->rand.present) {
        return 0;
    }
    load->rand.bytes = load->options.rand_bytes;
    load->rand.versions = calloc(blocks, sizeof *load->rand.versions);
    load->rand.busy = calloc(blocks, sizeof *load->rand.busy);
    if (load->rand.versions == NULL || load->rand.busy == NULL) {
        return load_fail(load, "out of memory");
    }
    for (uint64_t i = 0; i < blocks; i++) {
        load->rand.versions[i] = 1;
    }
    if (file_create(load, &load->rand, 2) != 0) {
        return -1;
    }
    return file_write(load, &load->rand, UNSTABLE, PREPARE_DEPTH, NULL);
}

static int rand_write_issue(struct load_run *run, struct load_slot *slot)
{
    struct load_file *file = run->file;
    uint64_t block;

    do { /* There are far more blocks than slots. */
        block = load_random(run->load) % (file->bytes / LOAD_BLOCK);
    } while (file->busy[block]);
    file->busy[block] = true;
    slot->item = block;
    slot->len = LOAD_BLOCK;
    slot->version = file->versions[block] + 1;
    return write_send(run, slot, block * LOAD_BLOCK);
}

static int rand_write_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    if (load_write_done(run, slot, reply) != 0) {
        return -1;
    }
    run->file->versions[slot->item] = slot->version;
    run->file->busy[slot->item] = false;
    return 0;
}

static int rand_read_issue(struct load_run *run, struct load_slot *slot)
{
    slot->len = LOAD_BLOCK;
    return read_send(
        run, slot, load_random(run->load) % (run->file->bytes / LOAD_BLOCK) * LOAD_BLOCK);
}

static int randwrite(struct load *load, const struct load_step *step,
                     struct load_result *out)
{
    struct load_run *run;

    if (load_rand_prepare(load) != 0 || load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = step->depth;
    run->seconds = load->options.seconds;
    run->buffers = true;
    run->file = &load->rand;
    run->stable = FILE_SYNC;
    run->issue = rand_write_issue;
    run->done = rand_write_done;
    return load_run_end(run, out);
}

static int randread(struct load *load, const struct load_step *step,
                    struct load_result *out)
{
    struct load_run *run;

    if (load_rand_prepare(load) != 0 || load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = step->depth;
    run->seconds = load->options.seconds;
    run->file = &load->rand;
    run->issue = rand_read_issue;
    run->done = load_read_done;
    return load_run_end(run, out);
}

/* Everything written at random is there: the last version of every block. */
static int verify(struct load *load, const struct load_step *step,
                  struct load_result *out)
{
    if (load_rand_prepare(load) != 0) {
        return -1;
    }
    return file_read(load, &load->rand, step->depth, out);
}

/* Small files. */

static void small_name(uint64_t number, char name[32])
{
    (void)snprintf(name, 32, "small-%llu", (unsigned long long)number);
}

static int create_issue(struct load_run *run, struct load_slot *slot)
{
    char name[32];

    if (run->load->n_small >= run->load->options.files_max) {
        return 1;
    }
    slot->item = run->load->n_small++;
    small_name(slot->item, name);
    return load_create_send(run, slot, name);
}

static int create_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    return load_create_take(run, reply, &run->load->small[slot->item]);
}

static int small_create(struct load *load, uint32_t depth, double seconds,
                        uint64_t ops_max, struct load_result *out)
{
    struct load_run *run;

    if (load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = depth;
    run->seconds = seconds;
    run->ops_max = ops_max;
    run->issue = create_issue;
    run->done = create_done;
    return load_run_end(run, out);
}

static int create(struct load *load, const struct load_step *step,
                  struct load_result *out)
{
    uint64_t ops_max = load->options.files_max / 4; /* Leave some to the other depth. */

    load->small_bytes = 0;
    return small_create(load, step->depth, load->options.seconds,
                        step->depth == 1 ? ops_max : 0, out);
}

/* At least @want files, as far as there may be so many. */
static int small_have(struct load *load, uint32_t want)
{
    uint32_t have = load->n_small - load->removed;

    if (have >= want || load->n_small == load->options.files_max) {
        return 0;
    }
    return small_create(load, PREPARE_DEPTH, 0, want - have, NULL);
}

int load_small_prepare(struct load *load)
{
    return small_have(load, FILES_MIN);
}

static int small_write_issue(struct load_run *run, struct load_slot *slot)
{
    struct WRITE3args args = {.stable = FILE_SYNC,
                              .count = SMALL_BYTES,
                              .data = {.data_len = SMALL_BYTES, .data_val = slot->buf}};

    if (run->next >= run->load->n_small) {
        return 1;
    }
    slot->len = SMALL_BYTES;
    args.file = load_fh_out(&run->load->small[run->next++]);
    return rpc_nfs3_write_async(run->load->rpc, load_reply, &args, slot);
}

static int smallwrite(struct load *load, const struct load_step *step,
                      struct load_result *out)
{
    struct load_run *run;
    int rv;

    if (load_small_prepare(load) != 0 || load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = step->depth;
    run->buffers = true;
    run->next = load->removed;
    run->stable = FILE_SYNC;
    run->issue = small_write_issue;
    run->done = load_write_done;
    rv = load_run_end(run, out);
    load->small_bytes = SMALL_BYTES;
    return rv;
}

static int getattr_issue(struct load_run *run, struct load_slot *slot)
{
    struct load *load = run->load;
    uint64_t n = load->removed + run->next++ % (load->n_small - load->removed);
    struct GETATTR3args args = {.object = load_fh_out(&load->small[n])};

    return rpc_nfs3_getattr_async(load->rpc, load_reply, &args, slot);
}

static int getattr_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    const struct GETATTR3res *res = reply;
    const struct fattr3 *attr = &res->GETATTR3res_u.resok.obj_attributes;

    (void)slot;
    if (load_check(run->load, "GETATTR", res->status) != 0) {
        return -1;
    }
    return attr->type == NF3REG && attr->size == run->load->small_bytes
               ? 0
               : load_fail(run->load, "GETATTR: type %d, size %llu", (int)attr->type,
                           (unsigned long long)attr->size);
}

static int getattr(struct load *load, const struct load_step *step,
                   struct load_result *out)
{
    struct load_run *run;

    if (load_small_prepare(load) != 0 || load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = step->depth;
    run->seconds = load->options.seconds / 2;
    run->issue = getattr_issue;
    run->done = getattr_done;
    return load_run_end(run, out);
}

static int remove_issue(struct load_run *run, struct load_slot *slot)
{
    struct REMOVE3args args = {.object = {.dir = load_fh_out(&run->load->folder)}};
    char name[32];

    if (run->next >= run->end) {
        return 1;
    }
    small_name(run->next++, name);
    args.object.name = name;
    return rpc_nfs3_remove_async(run->load->rpc, load_reply, &args, slot);
}

int load_remove_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    (void)slot;
    return load_check(run->load, "REMOVE", ((const struct REMOVE3res *)reply)->status);
}

/* Remove small files up to number @end, in order. */
static int small_remove(struct load *load, uint32_t depth, uint32_t end, double seconds,
                        struct load_result *out)
{
    struct load_run *run;

    if (load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = depth;
    run->seconds = seconds;
    run->next = load->removed;
    run->end = end;
    run->issue = remove_issue;
    run->done = load_remove_done;
    if (load_run_go(run, out) != 0) {
        return -1;
    }
    load->removed = (uint32_t)run->next;
    free(run);
    return 0;
}

static int unlink_half(struct load *load, const struct load_step *step,
                       struct load_result *out)
{
    if (load_small_prepare(load) != 0) {
        return -1;
    }
    return small_remove(load, step->depth,
                        load->removed + (load->n_small - load->removed) / 2,
                        load->options.seconds, out);
}

static int unlink_rest(struct load *load, const struct load_step *step,
                       struct load_result *out)
{
    if (load_small_prepare(load) != 0) {
        return -1;
    }
    return small_remove(load, step->depth, load->n_small, load->options.seconds, out);
}

/* Listing: one call after the other, each needs the cookie of the one before. */

struct listing {
    struct load_run run; /* First: a run's functions find the rest behind it. */
    bool *seen;          /* By number. */
    uint32_t n_seen;
    cookie3 cookie;
    char verf[NFS3_COOKIEVERFSIZE];
    bool eof;
};

static int list_issue(struct load_run *run, struct load_slot *slot)
{
    struct listing *listing = (struct listing *)run;
    struct READDIRPLUS3args args = {.dir = load_fh_out(&run->load->folder),
                                    .cookie = listing->cookie,
                                    .dircount = LIST_BYTES,
                                    .maxcount = LIST_BYTES};

    if (listing->eof) {
        return 1;
    }
    memcpy(args.cookieverf, listing->verf, sizeof args.cookieverf);
    return rpc_nfs3_readdirplus_async(run->load->rpc, load_reply, &args, slot);
}

static int list_name(struct listing *listing, const char *name)
{
    struct load *load = listing->run.load;
    unsigned number;

    if (sscanf(name, "small-%u", &number) != 1) {
        return 0;
    }
    if (number < load->removed || number >= load->n_small || listing->seen[number]) {
        return load_fail(load, "READDIRPLUS: %s is there twice, or was removed", name);
    }
    listing->seen[number] = true;
    listing->n_seen++;
    return 0;
}

static int list_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    struct listing *listing = (struct listing *)run;
    const struct READDIRPLUS3res *res = reply;
    const struct READDIRPLUS3resok *ok = &res->READDIRPLUS3res_u.resok;
    int rv = load_check(run->load, "READDIRPLUS", res->status);

    (void)slot;
    if (rv == 0 && ok->reply.entries == NULL && !ok->reply.eof) {
        rv = load_fail(run->load, "READDIRPLUS: no entry, but no end");
    }
    if (rv != 0) {
        return rv;
    }
    memcpy(listing->verf, ok->cookieverf, sizeof listing->verf);
    for (const struct entryplus3 *e = ok->reply.entries; rv == 0 && e != NULL;
         e = e->nextentry) {
        listing->cookie = e->cookie;
        rv = list_name(listing, e->name);
    }
    listing->eof = ok->reply.eof != 0;
    return rv;
}

/* Operations are entries here. */
static int readdirplus(struct load *load, const struct load_step *step,
                       struct load_result *out)
{
    struct listing *listing;
    int rv = small_have(load, load->options.list_files);

    if (rv != 0) {
        return rv;
    }
    listing = calloc(1, sizeof *listing);
    if (listing != NULL) {
        listing->seen = calloc(load->n_small, sizeof *listing->seen);
    }
    if (listing == NULL || listing->seen == NULL) {
        free(listing);
        return load_fail(load, "out of memory");
    }
    listing->run = (struct load_run){.load = load,
                                     .depth = step->depth,
                                     .ops_max = LIST_CALLS_MAX,
                                     .issue = list_issue,
                                     .done = list_done};
    rv = load_run_go(&listing->run, out);
    if (rv == 0 && listing->n_seen != load->n_small - load->removed) {
        rv = load_fail(load, "READDIRPLUS: %u files of %u", listing->n_seen,
                       load->n_small - load->removed);
    }
    if (rv == 0) {
        out->ops = listing->n_seen;
        free(listing->seen);
        free(listing);
    }
    return rv;
}

static int file_remove(struct load *load, const struct load_file *file)
{
    char name[16];

    (void)snprintf(name, sizeof name, "file-%u", file->id);
    return file->fh.len == 0 ? 0 : load_remove(load, name);
}

int load_steps_clean(struct load *load)
{
    int rv = 0;

    if (load->removed < load->n_small) {
        rv = small_remove(load, PREPARE_DEPTH, load->n_small, 0, NULL);
    }
    if (rv == 0) {
        rv = file_remove(load, &load->seq);
    }
    if (rv == 0) {
        rv = file_remove(load, &load->rand);
    }
    return rv;
}

const struct load_step load_steps[] = {
    {"seqwrite-commit", "MB/s", SEQ_DEPTH, seqwrite_commit},
    {"seqwrite-sync", "MB/s", SEQ_DEPTH, seqwrite_sync},
    {"seqread", "MB/s", SEQ_DEPTH, seqread},
    {"randwrite-1", "/s", 1, randwrite},
    {"randwrite-32", "/s", 32, randwrite},
    {"randread-1", "/s", 1, randread},
    {"randread-32", "/s", 32, randread},
    {"verify", "MB/s", SEQ_DEPTH, verify},
    {"readmix-32", "/s", 32, load_readmix},
    {"create-1", "/s", 1, create},
    {"create-32", "/s", 32, create},
    {"smallwrite-32", "/s", 32, smallwrite},
    {"smallfile-1", "/s", 1, load_smallfile},
    {"smallfile-16", "/s", 16, load_smallfile},
    {"getattr-1", "/s", 1, getattr},
    {"getattr-32", "/s", 32, getattr},
    {"readdirplus", "/s", 1, readdirplus},
    {"unlink-1", "/s", 1, unlink_half},
    {"unlink-32", "/s", 32, unlink_rest},
};
const unsigned load_steps_n = sizeof load_steps / sizeof load_steps[0];
