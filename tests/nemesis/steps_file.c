/*
 * Steps on the contents of files: registers, and files that grow and are cut.
 */
#include "world.h"

#include "base/assert.h"

#include <string.h>

enum { PROC_GETATTR = 1, PROC_SETATTR = 2, PROC_READ = 6, PROC_WRITE = 7 };

#define IO_BYTES_MAX 65536

/* Small blocks beside each other in what a server may treat as one; such units; more. */
static const uint32_t block_bytes[REGISTER_FILES] = {64, 4096, IO_BYTES_MAX};

struct extent {
    const struct fh *fh;
    uint64_t offset;
    uint32_t len;
    uint64_t value; /* Each 8 bytes of it. */
};

static void begin_write(struct worker *worker, const struct extent *extent)
{
    struct message *out = &worker->client.out;
    static _Thread_local uint64_t data[IO_BYTES_MAX / 8];

    ASSERT(extent->len <= sizeof data && extent->len % 8 == 0);
    for (uint32_t i = 0; i < extent->len / 8; i++) {
        data[i] = extent->value;
    }
    client_begin(&worker->client, PROC_WRITE);
    put_fh(out, extent->fh);
    put_u64(out, extent->offset);
    put_u32(out, extent->len);
    put_u32(out, worker_draw(worker, 2) == 0 ? 0 : 2); /* UNSTABLE or FILE_SYNC. */
    put_opaque(out, data, extent->len);
}

static void begin_read(struct worker *worker, const struct extent *extent)
{
    struct message *out = &worker->client.out;

    client_begin(&worker->client, PROC_READ);
    put_fh(out, extent->fh);
    put_u64(out, extent->offset);
    put_u32(out, extent->len);
}

/* The data of a READ; NULL and 0 if there is none. */
static const uint8_t *read_data(struct answer *answer, uint32_t *len)
{
    struct attr attr;

    *len = 0;
    if (!answer_ok(answer)) {
        return NULL;
    }
    (void)get_post_attr(&answer->reply, &attr);
    (void)get_u64(&answer->reply); /* Count and EOF. */
    return get_opaque(&answer->reply, len);
}

/* "N", or "torn" if not all of it is the same. */
static void name_block(const uint8_t *data, uint32_t len, char *out, size_t out_size)
{
    uint64_t value = 0;

    memcpy(&value, data, sizeof value);
    for (uint32_t at = 0; at < len; at += sizeof value) {
        if (memcmp(data + at, &value, sizeof value) != 0) {
            (void)snprintf(out, out_size, "torn");
            return;
        }
    }
    (void)snprintf(out, out_size, "%llu", (unsigned long long)value);
}

static struct extent register_extent(const struct world *world, uint32_t file,
                                     uint32_t block)
{
    return (struct extent){.fh = &world->registers[file],
                           .offset = (uint64_t)block * block_bytes[file],
                           .len = block_bytes[file]};
}

void zero_registers(struct worker *worker, uint32_t file)
{
    for (uint32_t block = 0; block < REGISTER_BLOCKS; block++) {
        struct extent extent = register_extent(worker->world, file, block);
        struct answer answer;

        begin_write(worker, &extent);
        client_insist(&worker->client, worker_node(worker), &answer);
    }
}

void read_register(struct worker *worker, uint32_t file, uint32_t block, uint32_t node)
{
    struct extent extent = register_extent(worker->world, file, block);
    struct answer answer;
    const uint8_t *data;
    char what[32];
    char results[24] = "";
    uint32_t len = 0;

    begin_read(worker, &extent);
    client_call(&worker->client, node, &answer);
    data = read_data(&answer, &len);
    if (data != NULL && len == extent.len) {
        name_block(data, len, results, sizeof results);
    } else if (data != NULL) {
        (void)snprintf(results, sizeof results, "short");
    }
    (void)snprintf(what, sizeof what, "R r%u.%u -", file, block);
    worker_record(worker, &answer, what, results);
    atomic_fetch_add(&worker->world->register_reads, 1);
}

static bool write_register(struct worker *worker, uint32_t file, uint32_t block,
                           uint32_t node)
{
    struct extent extent = register_extent(worker->world, file, block);
    struct answer answer;
    char what[64];

    extent.value = worker_value(worker);
    begin_write(worker, &extent);
    client_call(&worker->client, node, &answer);
    (void)snprintf(what, sizeof what, "W r%u.%u %llu", file, block,
                   (unsigned long long)extent.value);
    worker_record(worker, &answer, what, "");
    return answer_ok(&answer);
}

/* Small registers mostly. A write that was acknowledged is looked at through every other
 * node at once. */
void step_register(struct worker *worker)
{
    uint64_t draw = worker_draw(worker, 10);
    uint32_t file = draw < 6 ? 0 : draw < 9 ? 1 : 2;
    uint32_t block = (uint32_t)worker_draw(worker, REGISTER_BLOCKS);
    uint32_t nodes_n = worker->world->options->nodes_n;
    uint32_t node = worker_node(worker);

    if (worker_draw(worker, 4) != 0) {
        read_register(worker, file, block, node);
    } else if (write_register(worker, file, block, node)) {
        for (uint32_t i = 1; i < nodes_n && !atomic_load(&worker->world->stopping); i++) {
            read_register(worker, file, block, (node + i) % nodes_n);
        }
    }
}

void read_file(struct worker *worker, const struct object *file, uint32_t node)
{
    struct extent extent = {.fh = &file->fh[0],
                            .len = (FILE_BLOCKS + 1) * FILE_BLOCK_BYTES};
    struct answer answer;
    const uint8_t *data;
    char what[32];
    char results[24 * (FILE_BLOCKS + 1)] = "";
    uint32_t len = 0;

    begin_read(worker, &extent);
    client_call(&worker->client, node, &answer);
    data = read_data(&answer, &len);
    if (len % FILE_BLOCK_BYTES != 0) {
        (void)snprintf(results, sizeof results, "short");
        data = NULL;
    }
    for (uint32_t at = 0; data != NULL && at < len; at += FILE_BLOCK_BYTES) {
        size_t used = strlen(results);

        if (at > 0) {
            results[used++] = ',';
        }
        name_block(data + at, FILE_BLOCK_BYTES, results + used, sizeof results - used);
    }
    (void)snprintf(what, sizeof what, "r f%u -", file->id);
    worker_record(worker, &answer, what, results);
}

static void write_file(struct worker *worker, const struct object *file)
{
    uint32_t block = (uint32_t)worker_draw(worker, FILE_BLOCKS);
    struct extent extent = {.fh = &file->fh[0],
                            .offset = (uint64_t)block * FILE_BLOCK_BYTES,
                            .len = FILE_BLOCK_BYTES,
                            .value = worker_value(worker)};
    struct answer answer;
    char what[64];

    begin_write(worker, &extent);
    client_call(&worker->client, worker_node(worker), &answer);
    (void)snprintf(what, sizeof what, "w f%u %u,%llu", file->id, block,
                   (unsigned long long)extent.value);
    worker_record(worker, &answer, what, "");
}

static void cut_file(struct worker *worker, const struct object *file)
{
    uint32_t blocks = (uint32_t)worker_draw(worker, FILE_BLOCKS + 1);
    struct message *out = &worker->client.out;
    struct answer answer;
    char what[32];

    client_begin(&worker->client, PROC_SETATTR);
    put_fh(out, &file->fh[0]);
    put_u64(out, 0); /* Mode and owner: not set. */
    put_u32(out, 0);
    put_u32(out, 1); /* The size. */
    put_u64(out, (uint64_t)blocks * FILE_BLOCK_BYTES);
    put_u64(out, 0); /* Times: not set. */
    put_u32(out, 0); /* No guard. */
    client_call(&worker->client, worker_node(worker), &answer);
    (void)snprintf(what, sizeof what, "t f%u %u", file->id, blocks);
    worker_record(worker, &answer, what, "");
}

static void stat_file(struct worker *worker, const struct object *file)
{
    struct answer answer;
    struct attr attr = {0};
    char what[32];
    char results[24] = "";

    client_begin(&worker->client, PROC_GETATTR);
    put_fh(&worker->client.out, &file->fh[0]);
    client_call(&worker->client, worker_node(worker), &answer);
    if (answer_ok(&answer)) {
        get_attr(&answer.reply, &attr);
        (void)snprintf(results, sizeof results, "%llu", (unsigned long long)attr.size);
    }
    (void)snprintf(what, sizeof what, "s f%u -", file->id);
    worker_record(worker, &answer, what, results);
}

void step_file(struct worker *worker)
{
    struct world *world = worker->world;
    struct slot *slot = &world->files[worker_draw(worker, world->slots_n)];
    struct object *file = slot_object(worker, slot, 'f');
    uint64_t draw = worker_draw(worker, 10);

    if (draw < 4) {
        write_file(worker, file);
    } else if (draw < 7) {
        read_file(worker, file, worker_node(worker));
    } else if (draw < 8) {
        cut_file(worker, file);
    } else {
        stat_file(worker, file);
    }
}
