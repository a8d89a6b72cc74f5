#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t load_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64: enough to tell every block from every other. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t load_random(struct load *load)
{
    load->random = mix(load->random);
    return load->random;
}

int load_fail(struct load *load, const char *format, ...)
{
    va_list args;

    if (!load->failed) {
        load->failed = true;
        va_start(args, format);
        (void)vsnprintf(load->error, sizeof load->error, format, args);
        va_end(args);
    }
    return -1;
}

struct nfs_fh3 load_fh_out(struct load_fh *fh)
{
    return (struct nfs_fh3){.data = {.data_len = fh->len, .data_val = fh->bytes}};
}

int load_fh_in(struct load *load, const struct nfs_fh3 *in, struct load_fh *out)
{
    if (in->data.data_len == 0 || in->data.data_len > sizeof out->bytes) {
        return load_fail(load, "a filehandle of %u bytes", in->data.data_len);
    }
    out->len = in->data.data_len;
    memcpy(out->bytes, in->data.data_val, out->len);
    return 0;
}

/* Content. */

static uint64_t block_key(const struct load_file *file, uint64_t block, uint32_t version)
{
    return mix(mix(block) ^ ((uint64_t)file->id << 32) ^ version);
}

static uint32_t version_of(const struct load_file *file, uint64_t block)
{
    return file->versions == NULL ? 1 : file->versions[block];
}

void load_fill(const struct load_file *file, uint64_t offset, char *out, uint32_t len,
               uint32_t version)
{
    for (uint32_t at = 0; at < len; at += LOAD_BLOCK) {
        uint64_t key = block_key(file, (offset + at) / LOAD_BLOCK, version);

        for (uint32_t i = 0; i < LOAD_BLOCK; i += sizeof key) {
            memcpy(out + at + i, &key, sizeof key);
            key = key * 0x5851f42d4c957f2du + 0x14057b7ef767814fu;
        }
    }
}

bool load_matches(const struct load_file *file, uint64_t offset, const char *data,
                  uint32_t len)
{
    char want[LOAD_BLOCK];

    for (uint32_t at = 0; at < len; at += LOAD_BLOCK) {
        uint64_t block = (offset + at) / LOAD_BLOCK;

        if (file->busy != NULL && file->busy[block]) {
            continue;
        }
        load_fill(file, offset + at, want, LOAD_BLOCK, version_of(file, block));
        if (memcmp(want, data + at, LOAD_BLOCK) != 0) {
            return false;
        }
    }
    return true;
}

/* The loop. */

/* Wait for the socket once. -1: nothing came for LOAD_SILENCE_MS, or it broke. */
static int pump(struct load *load)
{
    struct pollfd fd = {.fd = rpc_get_fd(load->rpc),
                        .events = (short)rpc_which_events(load->rpc)};
    int n = poll(&fd, 1, LOAD_SILENCE_MS);

    if (n < 0 && errno == EINTR) {
        return 0;
    }
    if (n <= 0) {
        return load_fail(load, "no reply for %d s", LOAD_SILENCE_MS / 1000);
    }
    if (rpc_service(load->rpc, fd.revents) < 0) {
        return load_fail(load, "connection lost: %s", rpc_get_error(load->rpc));
    }
    return 0;
}

/* True if the run may issue one more. */
static bool wants_more(const struct load_run *run)
{
    uint64_t ops_max = run->ops_max == 0 ? LOAD_OPS_MAX : run->ops_max;

    if (run->load->failed || run->issued >= ops_max) {
        return false;
    }
    return run->seconds <= 0 ||
           (double)(load_now_ns() - run->began_ns) < run->seconds * 1e9;
}

static void slot_next(struct load_run *run, struct load_slot *slot)
{
    int rv;

    if (!wants_more(run)) {
        return;
    }
    slot->began_ns = load_now_ns();
    rv = run->issue(run, slot);
    if (rv < 0) {
        (void)load_fail(run->load, "cannot send: %s", rpc_get_error(run->load->rpc));
    } else if (rv == 0) {
        run->issued++;
        run->in_flight++;
    }
}

void load_reply(struct rpc_context *rpc, int status, void *reply, void *arg)
{
    struct load_slot *slot = arg;
    struct load_run *run = slot->run;
    uint64_t took = load_now_ns() - slot->began_ns;

    run->in_flight--;
    if (status != RPC_STATUS_SUCCESS) {
        (void)load_fail(run->load, "call failed: %s", rpc_get_error(rpc));
        return;
    }
    if (run->done(run, slot, reply) != 0) {
        return;
    }
    run->latencies[run->ops] = took;
    run->ops++;
    slot_next(run, slot);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void summarize(struct load_run *run, struct load_result *out)
{
    *out = (struct load_result){
        .ops = run->ops, .bytes = run->bytes, .ns = load_now_ns() - run->began_ns};
    if (run->ops > 0) {
        qsort(run->latencies, run->ops, sizeof *run->latencies, compare);
        out->p50_ns = run->latencies[run->ops / 2];
        out->p99_ns = run->latencies[run->ops * 99 / 100];
        out->max_ns = run->latencies[run->ops - 1];
    }
}

int load_run_go(struct load_run *run, struct load_result *result)
{
    struct load *load = run->load;
    int rv = -1;

    run->latencies = calloc(LOAD_OPS_MAX, sizeof *run->latencies);
    if (run->latencies == NULL) {
        return load_fail(load, "out of memory");
    }
    for (uint32_t i = 0; i < run->depth; i++) {
        run->slots[i].run = run;
        run->slots[i].buf = run->buffers ? malloc(LOAD_IO_MAX) : NULL;
        if (run->buffers && run->slots[i].buf == NULL) {
            (void)load_fail(load, "out of memory");
        }
    }
    run->began_ns = load_now_ns();
    for (uint32_t i = 0; i < run->depth; i++) {
        slot_next(run, &run->slots[i]);
    }
    while (run->in_flight > 0 && !load->failed) {
        (void)pump(load);
    }
    if (!load->failed) {
        rv = 0;
        if (result != NULL) {
            summarize(run, result);
        }
        for (uint32_t i = 0; i < run->depth; i++) {
            free(run->slots[i].buf);
        }
        free(run->latencies);
    }
    return rv; /* After a failure calls may still point at the slots: the end is near. */
}

/* Single calls, outside of runs. */

struct single {
    struct load *load;
    bool waiting;
    const char *what;
    void (*take)(struct load *load, const void *reply);
};

static void on_single(struct rpc_context *rpc, int status, void *reply, void *arg)
{
    struct single *single = arg;

    single->waiting = false;
    if (status != RPC_STATUS_SUCCESS) {
        (void)load_fail(single->load, "%s: %s", single->what, rpc_get_error(rpc));
    } else if (single->take != NULL) {
        single->take(single->load, reply);
    }
}

/* @rv: what sending it gave. */
static int finish(struct single *single, int rv)
{
    struct load *load = single->load;

    if (rv != 0) {
        return load_fail(load, "%s: %s", single->what, rpc_get_error(load->rpc));
    }
    while (single->waiting && !load->failed) {
        (void)pump(load);
    }
    return load->failed ? -1 : 0;
}

static struct single begin(struct load *load, const char *what,
                           void (*take)(struct load *load, const void *reply))
{
    return (struct single){.load = load, .waiting = true, .what = what, .take = take};
}

static int connect_to(struct load *load, const struct load_server *server, int program)
{
    struct single single = begin(load, "connect", NULL);
    int port = program == MOUNT_PROGRAM ? server->mount_port : server->nfs_port;
    int on = 1;

    load->rpc = rpc_init_context();
    if (load->rpc == NULL) {
        return load_fail(load, "out of memory");
    }
    if (finish(&single, rpc_connect_port_async(load->rpc, server->host, port, program, 3,
                                               on_single, &single)) != 0) {
        return -1;
    }
    (void)setsockopt(rpc_get_fd(load->rpc), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return 0;
}

static void disconnect(struct load *load)
{
    if (load->rpc != NULL) {
        rpc_destroy_context(load->rpc);
        load->rpc = NULL;
    }
}

static void take_mount(struct load *load, const void *reply)
{
    const struct mountres3 *res = reply;
    const fhandle3 *fh = &res->mountres3_u.mountinfo.fhandle;
    struct nfs_fh3 root;

    if (res->fhs_status != MNT3_OK) {
        (void)load_fail(load, "MNT: status %d", (int)res->fhs_status);
        return;
    }
    root.data.data_len = fh->fhandle3_len;
    root.data.data_val = fh->fhandle3_val;
    (void)load_fh_in(load, &root, &load->root);
}

static int mount_root(struct load *load, const struct load_server *server)
{
    struct single single = begin(load, "MNT", take_mount);
    char path[256];
    int rv;

    (void)snprintf(path, sizeof path, "%s", server->path);
    rv = connect_to(load, server, MOUNT_PROGRAM);
    if (rv == 0) {
        rv = finish(&single, rpc_mount3_mnt_async(load->rpc, on_single, path, &single));
    }
    if (rv == 0) {
        disconnect(load);
        rv = connect_to(load, server, NFS_PROGRAM);
    }
    return rv;
}

static uint32_t io_bytes(u_int said)
{
    uint32_t bytes = said < LOAD_IO_MAX ? said : LOAD_IO_MAX;

    return bytes - bytes % LOAD_BLOCK;
}

static void take_fsinfo(struct load *load, const void *reply)
{
    const struct FSINFO3res *res = reply;

    if (res->status != NFS3_OK) {
        (void)load_fail(load, "FSINFO: NFS status %d", (int)res->status);
        return;
    }
    load->read_max = io_bytes(res->FSINFO3res_u.resok.rtmax);
    load->write_max = io_bytes(res->FSINFO3res_u.resok.wtmax);
    if (load->read_max == 0 || load->write_max == 0) {
        (void)load_fail(load, "FSINFO: no room for %u bytes in a call", LOAD_BLOCK);
    }
}

static int ask_fsinfo(struct load *load)
{
    struct FSINFO3args args = {.fsroot = load_fh_out(&load->root)};
    struct single single = begin(load, "FSINFO", take_fsinfo);

    return finish(&single, rpc_nfs3_fsinfo_async(load->rpc, on_single, &args, &single));
}

static void take_mkdir(struct load *load, const void *reply)
{
    const struct MKDIR3res *res = reply;
    const struct post_op_fh3 *obj = &res->MKDIR3res_u.resok.obj;

    if (res->status != NFS3_OK || !obj->handle_follows) {
        (void)load_fail(load, "MKDIR: NFS status %d", (int)res->status);
        return;
    }
    (void)load_fh_in(load, &obj->post_op_fh3_u.handle, &load->folder);
}

static int make_folder(struct load *load)
{
    struct MKDIR3args args = {
        .where = {.dir = load_fh_out(&load->root), .name = load->folder_name}};
    struct single single = begin(load, "MKDIR", take_mkdir);

    args.attributes.mode.set_it = 1;
    args.attributes.mode.set_mode3_u.mode = 0755;
    return finish(&single, rpc_nfs3_mkdir_async(load->rpc, on_single, &args, &single));
}

static void take_remove(struct load *load, const void *reply)
{
    const struct REMOVE3res *res = reply;

    if (res->status != NFS3_OK) {
        (void)load_fail(load, "REMOVE: NFS status %d", (int)res->status);
    }
}

int load_remove(struct load *load, char *name)
{
    struct REMOVE3args args = {
        .object = {.dir = load_fh_out(&load->folder), .name = name}};
    struct single single = begin(load, "REMOVE", take_remove);

    return finish(&single, rpc_nfs3_remove_async(load->rpc, on_single, &args, &single));
}

static void take_rmdir(struct load *load, const void *reply)
{
    const struct RMDIR3res *res = reply;

    if (res->status != NFS3_OK) {
        (void)load_fail(load, "RMDIR: NFS status %d", (int)res->status);
    }
}

static int remove_folder(struct load *load)
{
    struct RMDIR3args args = {
        .object = {.dir = load_fh_out(&load->root), .name = load->folder_name}};
    struct single single = begin(load, "RMDIR", take_rmdir);

    return finish(&single, rpc_nfs3_rmdir_async(load->rpc, on_single, &args, &single));
}

int load_open(struct load *load, const struct load_server *server,
              const struct load_options *options)
{
    *load = (struct load){.options = *options};
    load->random = mix(load_now_ns());
    (void)snprintf(load->folder_name, sizeof load->folder_name, "nfsload-%d-%08x",
                   (int)getpid(), (unsigned)load_random(load));
    load->small = calloc(options->files_max, sizeof *load->small);
    if (load->small == NULL) {
        return load_fail(load, "out of memory");
    }
    if (mount_root(load, server) != 0 || ask_fsinfo(load) != 0) {
        return -1;
    }
    return make_folder(load);
}

int load_close(struct load *load)
{
    int rv = load->failed ? -1 : load_steps_clean(load);

    if (rv == 0) {
        rv = remove_folder(load);
    }
    disconnect(load);
    free(load->small);
    free(load->rand.versions);
    free(load->rand.busy);
    return rv;
}
