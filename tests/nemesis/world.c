#include "world.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { PROC_LOOKUP = 3, PROC_CREATE = 8, PROC_MKDIR = 9, MOUNT_MNT = 1 };

uint64_t worker_draw(struct worker *worker, uint64_t bound)
{
    return prng_below(&worker->prng, bound);
}

uint64_t worker_value(struct worker *worker)
{
    return (uint64_t)(worker->number + 1) << 40 | ++worker->value;
}

uint32_t worker_node(struct worker *worker)
{
    uint32_t any = (uint32_t)worker_draw(worker, worker->world->options->nodes_n);

    return worker->number % 2 == 0 ? worker->client.home : any;
}

bool answer_ok(const struct answer *answer)
{
    return !answer->unknown && answer->status == NFS_OK;
}

static void need(bool good, const char *what)
{
    if (!good) {
        (void)fprintf(stderr, "nemesis_load: %s\n", what);
        exit(1);
    }
}

void worker_record(struct worker *worker, const struct answer *answer, const char *what,
                   const char *results)
{
    char end[24] = "-";
    char status[12] = "-";

    need(answer->unknown || !answer->reply.failed, "a reply ends too early");
    if (!answer->unknown) {
        (void)snprintf(end, sizeof end, "%llu", (unsigned long long)answer->ended_ns);
        (void)snprintf(status, sizeof status, "%u", answer->status);
    }
    (void)fprintf(worker->history, "%llu %s %u %u %u %s %s %s\n",
                  (unsigned long long)answer->began_ns, end, worker->number, answer->node,
                  answer->sent, what, status, *results == '\0' ? "-" : results);
    atomic_fetch_add(&worker->world->ops, 1);
}

static void put_sattr_mode(struct message *out, uint32_t mode)
{
    put_u32(out, 1);
    put_u32(out, mode);
    for (unsigned i = 0; i < 5; i++) { /* Owner, group, size, times: not set. */
        put_u32(out, 0);
    }
}

/* Create or MKDIR in the root; what an earlier attempt made is found. */
static void make(struct worker *worker, uint32_t procedure, const char *name,
                 struct fh *out)
{
    struct client *client = &worker->client;
    struct answer answer;

    client_begin(client, procedure);
    put_fh(&client->out, &worker->world->root);
    put_name(&client->out, name);
    if (procedure == PROC_CREATE) {
        put_u32(&client->out, 0); /* UNCHECKED. */
    }
    put_sattr_mode(&client->out, 0755);
    client_insist(client, worker_node(worker), &answer);
    client_begin(client, PROC_LOOKUP);
    put_fh(&client->out, &worker->world->root);
    put_name(&client->out, name);
    client_insist(client, worker_node(worker), &answer);
    need(answer.status == NFS_OK, "what was made is not there");
    get_fh(&answer.reply, out);
    need(!answer.reply.failed, "LOOKUP gives no handle");
}

void make_file(struct worker *worker, const char *name, struct fh *out)
{
    make(worker, PROC_CREATE, name, out);
}

struct object *world_object(struct worker *worker, char kind)
{
    struct world *world = worker->world;
    struct object *object = calloc(1, sizeof *object);
    uint32_t id = atomic_fetch_add(&world->objects_n, 1);
    char name[32];

    need(object != NULL && id < OBJECTS_MAX, "no room for more objects");
    object->kind = kind;
    object->id = id;
    (void)pthread_mutex_init(&object->lock, NULL);
    if (kind == 'f') {
        (void)snprintf(name, sizeof name, "f%u", id);
        make_file(worker, name, &object->fh[0]);
    } else {
        for (unsigned half = 0; half < 2; half++) {
            (void)snprintf(name, sizeof name, "d%u%c", id, "ab"[half]);
            make(worker, PROC_MKDIR, name, &object->fh[half]);
        }
    }
    world->objects[id] = object;
    return object;
}

struct object *slot_object(struct worker *worker, struct slot *slot, char kind)
{
    struct object *object;

    (void)pthread_mutex_lock(&slot->lock);
    if (slot->object == NULL || slot->uses == OBJECT_USES_MAX) {
        slot->object = world_object(worker, kind);
        slot->uses = 0;
    }
    slot->uses++;
    object = slot->object;
    (void)pthread_mutex_unlock(&slot->lock);
    return object;
}

void world_make(struct world *world, struct worker *worker, const char *zone)
{
    struct client *client = &worker->client;
    struct answer answer;

    client_begin_mount(client, MOUNT_MNT);
    put_name(&client->out, zone);
    client_insist(client, 0, &answer);
    need(answer.status == NFS_OK, "MNT is refused");
    get_fh(&answer.reply, &world->root);
    need(!answer.reply.failed, "MNT gives no handle");
    for (uint32_t i = 0; i < REGISTER_FILES; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "r%u", i);
        make_file(worker, name, &world->registers[i]);
        zero_registers(worker, i);
    }
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        (void)pthread_mutex_init(&world->files[i].lock, NULL);
        (void)pthread_mutex_init(&world->folders[i].lock, NULL);
    }
}

void worker_step(struct worker *worker)
{
    struct world *world = worker->world;
    uint64_t draw = worker_draw(worker, 100);

    if (draw < world->percent_registers) {
        step_register(worker);
    } else if (draw < world->percent_registers + world->percent_files) {
        step_file(worker);
    } else {
        step_folder(worker);
    }
}

void worker_audit(struct worker *worker, uint32_t workers_n)
{
    struct world *world = worker->world;
    uint32_t objects_n = atomic_load(&world->objects_n);

    for (uint32_t node = 0; node < world->options->nodes_n; node++) {
        for (uint32_t i = worker->number; i < REGISTER_FILES * REGISTER_BLOCKS;
             i += workers_n) {
            read_register(worker, i / REGISTER_BLOCKS, i % REGISTER_BLOCKS, node);
        }
        for (uint32_t i = worker->number; i < objects_n; i += workers_n) {
            struct object *object = world->objects[i];

            if (object->kind == 'f') {
                read_file(worker, object, node);
            } else {
                list_folder(worker, object, 0, node);
                list_folder(worker, object, 1, node);
            }
        }
    }
}
