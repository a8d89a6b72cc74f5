/*
 * Steps of several kinds of calls: what programs do, and not one kind alone.
 *
 * readmix: nine of ten calls read (GETATTR, LOOKUP, ACCESS and READ of 4 KiB, in turn), one
 * is a 4 KiB WRITE with FILE_SYNC.
 *
 * smallfile: what a client does for a new file of 4 KiB: CREATE, WRITE UNSTABLE, COMMIT. One
 * operation is one file.
 */
#include "load_steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIX_PART 10u /* One call of so many writes. */

enum mix_call { MIX_GETATTR, MIX_LOOKUP, MIX_ACCESS, MIX_READ, MIX_WRITE };

static uint64_t any_block(struct load_run *run)
{
    return load_random(run->load) % (run->file->bytes / LOAD_BLOCK);
}

static int mix_write(struct load_run *run, struct load_slot *slot)
{
    struct load_file *file = run->file;
    struct WRITE3args args = {.file = load_fh_out(&file->fh),
                              .count = LOAD_BLOCK,
                              .stable = FILE_SYNC,
                              .data = {.data_len = LOAD_BLOCK, .data_val = slot->buf}};

    do { /* There are far more blocks than slots. */
        slot->item = any_block(run);
    } while (file->busy[slot->item]);
    file->busy[slot->item] = true;
    slot->len = LOAD_BLOCK;
    slot->version = file->versions[slot->item] + 1;
    args.offset = slot->item * LOAD_BLOCK;
    load_fill(file, args.offset, slot->buf, slot->len, slot->version);
    return rpc_nfs3_write_async(run->load->rpc, load_reply, &args, slot);
}

static int mix_read(struct load_run *run, struct load_slot *slot)
{
    struct READ3args args = {.file = load_fh_out(&run->file->fh), .count = LOAD_BLOCK};

    slot->len = LOAD_BLOCK;
    slot->item = args.offset = any_block(run) * LOAD_BLOCK;
    return rpc_nfs3_read_async(run->load->rpc, load_reply, &args, slot);
}

static int mix_lookup(struct load_run *run, struct load_slot *slot)
{
    struct load *load = run->load;
    char name[32];
    struct LOOKUP3args args = {.what = {.dir = load_fh_out(&load->folder), .name = name}};

    slot->item = load->removed + load_random(load) % (load->n_small - load->removed);
    (void)snprintf(name, sizeof name, "small-%llu", (unsigned long long)slot->item);
    return rpc_nfs3_lookup_async(load->rpc, load_reply, &args, slot);
}

static int mix_issue(struct load_run *run, struct load_slot *slot)
{
    struct load *load = run->load;
    struct GETATTR3args getattr = {.object = load_fh_out(&run->file->fh)};
    struct ACCESS3args access = {.object = load_fh_out(&run->file->fh),
                                 .access = ACCESS3_READ};
    uint64_t n = run->next++;

    slot->stage = n % MIX_PART == 0 ? MIX_WRITE : (uint32_t)(n % MIX_WRITE);
    switch ((enum mix_call)slot->stage) {
    case MIX_GETATTR:
        return rpc_nfs3_getattr_async(load->rpc, load_reply, &getattr, slot);
    case MIX_LOOKUP:
        return mix_lookup(run, slot);
    case MIX_ACCESS:
        return rpc_nfs3_access_async(load->rpc, load_reply, &access, slot);
    case MIX_READ:
        return mix_read(run, slot);
    case MIX_WRITE:
        return mix_write(run, slot);
    }
    return -1;
}

static int lookup_done(struct load_run *run, const struct load_slot *slot,
                       const struct LOOKUP3res *res)
{
    const struct nfs_fh3 *fh = &res->LOOKUP3res_u.resok.object;
    const struct load_fh *want = &run->load->small[slot->item];

    if (load_check(run->load, "LOOKUP", res->status) != 0) {
        return -1;
    }
    return fh->data.data_len == want->len &&
                   memcmp(fh->data.data_val, want->bytes, want->len) == 0
               ? 0
               : load_fail(run->load, "LOOKUP: another handle than CREATE's");
}

static int mix_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    struct load *load = run->load;

    switch ((enum mix_call)slot->stage) {
    case MIX_GETATTR:
        return load_check(load, "GETATTR", ((struct GETATTR3res *)reply)->status);
    case MIX_LOOKUP:
        return lookup_done(run, slot, reply);
    case MIX_ACCESS:
        return load_check(load, "ACCESS", ((struct ACCESS3res *)reply)->status);
    case MIX_READ:
        return load_read_done(run, slot, reply);
    case MIX_WRITE:
        if (load_write_done(run, slot, reply) != 0) {
            return -1;
        }
        run->file->versions[slot->item] = slot->version;
        run->file->busy[slot->item] = false;
        return 0;
    }
    return -1;
}

int load_readmix(struct load *load, const struct load_step *step, struct load_result *out)
{
    struct load_run *run;

    if (load_rand_prepare(load) != 0 || load_small_prepare(load) != 0 ||
        load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = step->depth;
    run->seconds = load->options.seconds;
    run->buffers = true;
    run->file = &load->rand;
    run->stable = FILE_SYNC;
    run->issue = mix_issue;
    run->done = mix_done;
    return load_run_end(run, out);
}

/* New files. A slot's stage is the call that it makes next for its file. */

enum file_call { FILE_CREATE, FILE_WRITE, FILE_COMMIT };

struct files {
    struct load_run run; /* First: a run's functions find the rest behind it. */
    struct load_fh fh[LOAD_DEPTH_MAX]; /* By slot. */
    uint64_t n;                        /* Made whole. */
};

static void file_name(uint64_t number, char name[32])
{
    (void)snprintf(name, 32, "new-%llu", (unsigned long long)number);
}

static struct load_fh *file_fh(struct load_run *run, const struct load_slot *slot)
{
    return &((struct files *)run)->fh[slot - run->slots];
}

static int file_begin(struct load_run *run, struct load_slot *slot)
{
    double ran_s = (double)(load_now_ns() - run->began_ns) / 1e9;
    char name[32];

    if (run->next >= run->load->options.files_max || ran_s > run->load->options.seconds) {
        return 1; /* What is under way is finished first. */
    }
    slot->item = run->next++;
    file_name(slot->item, name);
    return load_create_send(run, slot, name);
}

static int file_issue(struct load_run *run, struct load_slot *slot)
{
    struct WRITE3args write = {.file = load_fh_out(file_fh(run, slot)),
                               .count = LOAD_BLOCK,
                               .stable = UNSTABLE,
                               .data = {.data_len = LOAD_BLOCK, .data_val = slot->buf}};
    struct COMMIT3args commit = {.file = load_fh_out(file_fh(run, slot))};

    switch ((enum file_call)slot->stage) {
    case FILE_CREATE:
        return file_begin(run, slot);
    case FILE_WRITE:
        slot->len = LOAD_BLOCK;
        return rpc_nfs3_write_async(run->load->rpc, load_reply, &write, slot);
    case FILE_COMMIT:
        return rpc_nfs3_commit_async(run->load->rpc, load_reply, &commit, slot);
    }
    return -1;
}

static int file_done(struct load_run *run, struct load_slot *slot, void *reply)
{
    switch ((enum file_call)slot->stage) {
    case FILE_CREATE:
        slot->stage = FILE_WRITE;
        return load_create_take(run, reply, file_fh(run, slot));
    case FILE_WRITE:
        slot->stage = FILE_COMMIT;
        return load_write_done(run, slot, reply);
    case FILE_COMMIT:
        slot->stage = FILE_CREATE;
        ((struct files *)run)->n++;
        return load_check(run->load, "COMMIT", ((struct COMMIT3res *)reply)->status);
    }
    return -1;
}

static int new_remove_issue(struct load_run *run, struct load_slot *slot)
{
    struct REMOVE3args args = {.object = {.dir = load_fh_out(&run->load->folder)}};
    char name[32];

    if (run->next >= run->end) {
        return 1;
    }
    file_name(run->next++, name);
    args.object.name = name;
    return rpc_nfs3_remove_async(run->load->rpc, load_reply, &args, slot);
}

static int new_remove(struct load *load, uint32_t depth, uint64_t n)
{
    struct load_run *run;

    if (load_run_new(load, &run) != 0) {
        return -1;
    }
    run->depth = depth;
    run->end = n;
    run->issue = new_remove_issue;
    run->done = load_remove_done;
    return load_run_end(run, NULL);
}

int load_smallfile(struct load *load, const struct load_step *step,
                   struct load_result *out)
{
    struct files *files = calloc(1, sizeof *files);
    uint64_t made;

    if (files == NULL) {
        return load_fail(load, "out of memory");
    }
    files->run = (struct load_run){.load = load,
                                   .depth = step->depth,
                                   .buffers = true,
                                   .stable = UNSTABLE,
                                   .issue = file_issue,
                                   .done = file_done};
    if (load_run_go(&files->run, out) != 0) {
        return -1; /* Replies may still come for it. */
    }
    out->ops = files->n;
    made = files->run.next;
    free(files);
    return new_remove(load, step->depth, made);
}
