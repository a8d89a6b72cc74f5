/*
 * Steps on names, in a pair of folders. Name N of NAMES is in folder N / (NAMES / 2).
 */
#include "world.h"

#include <string.h>

enum {
    PROC_LOOKUP = 3,
    PROC_CREATE = 8,
    PROC_REMOVE = 12,
    PROC_RENAME = 14,
    PROC_LINK = 15,
    PROC_READDIR = 16,
};
enum { UNCHECKED, GUARDED, EXCLUSIVE };

#define HALF (NAMES / 2)
#define LIST_BYTES 4096

static void put_place(struct message *out, const struct object *pair, uint32_t n)
{
    char name[8];

    (void)snprintf(name, sizeof name, "n%u", n);
    put_fh(out, &pair->fh[n / HALF]);
    put_name(out, name);
}

static void remember(struct object *pair, const struct fh *fh, uint64_t fileid)
{
    (void)pthread_mutex_lock(&pair->lock);
    pair->known = *fh;
    pair->known_fileid = fileid;
    (void)pthread_mutex_unlock(&pair->lock);
}

static void create(struct worker *worker, struct object *pair, uint32_t n)
{
    struct message *out = &worker->client.out;
    uint32_t how = (uint32_t)worker_draw(worker, 3);
    struct answer answer;
    char what[32];
    char results[24] = "";

    client_begin(&worker->client, PROC_CREATE);
    put_place(out, pair, n);
    put_u32(out, how);
    if (how == EXCLUSIVE) {
        put_u64(out, worker_value(worker)); /* The verifier. */
    } else {
        put_u64(out, (uint64_t)1 << 32 | 0644); /* The mode. */
        put_u64(out, 0); /* Owner, group, size and times: not set. */
        put_u64(out, 0);
        put_u32(out, 0);
    }
    client_call(&worker->client, worker_node(worker), &answer);
    if (answer_ok(&answer)) {
        struct fh fh = {0};
        struct attr attr = {0};

        if (get_u32(&answer.reply) != 0) {
            get_fh(&answer.reply, &fh);
        }
        (void)get_post_attr(&answer.reply, &attr);
        remember(pair, &fh, attr.fileid);
        (void)snprintf(results, sizeof results, "%llu", (unsigned long long)attr.fileid);
    }
    (void)snprintf(what, sizeof what, "c d%u %u,%u", pair->id, how, n);
    worker_record(worker, &answer, what, results);
}

static void look_up(struct worker *worker, struct object *pair, uint32_t n)
{
    struct answer answer;
    char what[32];
    char results[40] = "";

    client_begin(&worker->client, PROC_LOOKUP);
    put_place(&worker->client.out, pair, n);
    client_call(&worker->client, worker_node(worker), &answer);
    if (answer_ok(&answer)) {
        struct fh fh;
        struct attr attr;

        get_fh(&answer.reply, &fh);
        (void)get_post_attr(&answer.reply, &attr);
        remember(pair, &fh, attr.fileid);
        (void)snprintf(results, sizeof results, "%llu,%u",
                       (unsigned long long)attr.fileid, attr.nlink);
    }
    (void)snprintf(what, sizeof what, "k d%u %u", pair->id, n);
    worker_record(worker, &answer, what, results);
}

static void remove_name(struct worker *worker, const struct object *pair, uint32_t n)
{
    struct answer answer;
    char what[32];

    client_begin(&worker->client, PROC_REMOVE);
    put_place(&worker->client.out, pair, n);
    client_call(&worker->client, worker_node(worker), &answer);
    (void)snprintf(what, sizeof what, "x d%u %u", pair->id, n);
    worker_record(worker, &answer, what, "");
}

static void rename_name(struct worker *worker, const struct object *pair, uint32_t n)
{
    uint32_t to = (n + 1 + (uint32_t)worker_draw(worker, NAMES - 1)) % NAMES;
    struct answer answer;
    char what[32];

    client_begin(&worker->client, PROC_RENAME);
    put_place(&worker->client.out, pair, n);
    put_place(&worker->client.out, pair, to);
    client_call(&worker->client, worker_node(worker), &answer);
    (void)snprintf(what, sizeof what, "m d%u %u,%u", pair->id, n, to);
    worker_record(worker, &answer, what, "");
}

static void link_name(struct worker *worker, struct object *pair, uint32_t n)
{
    struct answer answer;
    struct fh fh;
    uint64_t fileid;
    char what[64];

    (void)pthread_mutex_lock(&pair->lock);
    fh = pair->known;
    fileid = pair->known_fileid;
    (void)pthread_mutex_unlock(&pair->lock);
    if (fileid == 0) {
        look_up(worker, pair, n);
        return;
    }
    client_begin(&worker->client, PROC_LINK);
    put_fh(&worker->client.out, &fh);
    put_place(&worker->client.out, pair, n);
    client_call(&worker->client, worker_node(worker), &answer);
    (void)snprintf(what, sizeof what, "l d%u %llu,%u", pair->id,
                   (unsigned long long)fileid, n);
    worker_record(worker, &answer, what, "");
}

/* "N:FILEID,N:FILEID"; a name that nobody made is N = 99. All of it fits into one page. */
static void name_entries(struct reader *in, char *out, size_t out_size)
{
    struct attr attr;

    (void)get_post_attr(in, &attr);
    (void)get_u64(in); /* The cookie verifier. */
    while (get_u32(in) != 0 && !in->failed) {
        uint64_t fileid = get_u64(in);
        uint32_t len = 0;
        const uint8_t *name = get_opaque(in, &len);
        size_t used = strlen(out);
        bool ours = len == 2 && name != NULL && name[0] == 'n';

        (void)get_u64(in); /* The cookie. */
        if (name != NULL && name[0] != '.') {
            (void)snprintf(out + used, out_size - used, "%s%d:%llu", used > 0 ? "," : "",
                           ours ? name[1] - '0' : 99, (unsigned long long)fileid);
        }
    }
    if (get_u32(in) == 0) {
        (void)snprintf(out, out_size, "unended");
    }
}

void list_folder(struct worker *worker, struct object *pair, uint32_t half, uint32_t node)
{
    struct message *out = &worker->client.out;
    struct answer answer;
    char what[32];
    char results[32 * (NAMES + 2)] = "";

    client_begin(&worker->client, PROC_READDIR);
    put_fh(out, &pair->fh[half]);
    put_u64(out, 0); /* From the beginning. */
    put_u64(out, 0);
    put_u32(out, LIST_BYTES);
    client_call(&worker->client, node, &answer);
    if (answer_ok(&answer)) {
        name_entries(&answer.reply, results, sizeof results);
    }
    (void)snprintf(what, sizeof what, "d d%u %u", pair->id, half);
    worker_record(worker, &answer, what, results);
}

void step_folder(struct worker *worker)
{
    struct world *world = worker->world;
    struct slot *slot = &world->folders[worker_draw(worker, world->slots_n)];
    struct object *pair = slot_object(worker, slot, 'd');
    uint32_t n = (uint32_t)worker_draw(worker, NAMES);
    uint64_t draw = worker_draw(worker, 20);

    if (draw < 6) {
        create(worker, pair, n);
    } else if (draw < 9) {
        remove_name(worker, pair, n);
    } else if (draw < 11) {
        rename_name(worker, pair, n);
    } else if (draw < 13) {
        link_name(worker, pair, n);
    } else if (draw < 17) {
        look_up(worker, pair, n);
    } else {
        list_folder(worker, pair, n / HALF, worker_node(worker));
    }
}
