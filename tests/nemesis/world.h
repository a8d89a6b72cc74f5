/*
 * world: what all clients of a run work on, and what each does to it.
 *
 * Three kinds of objects; the history that comes of it is described in check.py:
 *   r  files of a fixed size, each block a register; for the whole run;
 *   f  files of up to FILE_BLOCKS blocks that grow and are cut; each for a while;
 *   d  pairs of folders with NAMES names, half of them in each; each for a while.
 * Everything written is unique in the run. What is for a while is kept, and looked at again
 * in the end.
 */
#ifndef NEMESIS_WORLD_H
#define NEMESIS_WORLD_H

#include "client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define REGISTER_FILES 3
#define REGISTER_BLOCKS 8
#define FILE_BLOCKS 4
#define FILE_BLOCK_BYTES 512
#define NAMES 6
#define SLOTS_MAX 4
#define OBJECTS_MAX 65536
#define OBJECT_USES_MAX 120

struct object {
    char kind; /* 'f' or 'd'. */
    uint32_t id;
    struct fh fh[2]; /* The file; or both folders. */
    pthread_mutex_t lock;
    struct fh known;       /* A file that was in the folders lately, for LINK. */
    uint64_t known_fileid; /* 0: none. */
};

/* What is worked on now. */
struct slot {
    pthread_mutex_t lock;
    struct object *object;
    uint32_t uses;
};

struct world {
    const struct client_options *options;
    struct fh root;
    struct fh registers[REGISTER_FILES];
    struct slot files[SLOTS_MAX];
    struct slot folders[SLOTS_MAX];
    uint32_t slots_n; /* Of each kind. */
    struct object *objects[OBJECTS_MAX];
    _Atomic uint32_t objects_n;
    uint32_t workers_n;
    uint32_t percent_registers; /* Of all steps. */
    uint32_t percent_files;     /* The rest are steps on names. */
    _Atomic bool stopping;
    _Atomic uint64_t ops;
    _Atomic uint64_t register_reads;
};

struct worker {
    struct world *world;
    uint32_t number;
    uint64_t value; /* The last one written. */
    FILE *history;
    struct prng prng;
    struct client client;
};

/* The zone's root, and the files of registers, all zeros. Exits if it cannot. */
void world_make(struct world *world, struct worker *worker, const char *zone);
/* One or a few calls, recorded. */
void worker_step(struct worker *worker);
/* Look at everything once through every node: this worker's share of @workers_n. */
void worker_audit(struct worker *worker, uint32_t workers_n);

/* For steps_*.c. */
uint64_t worker_value(struct worker *worker); /* A new one. */
/* Whom to ask: every second client stays with one node for as long as it answers. */
uint32_t worker_node(struct worker *worker);
uint64_t worker_draw(struct worker *worker, uint64_t bound);
/* One line of the history. @what: the operation, the object, the arguments, with single
 * blanks between them; @results: without a blank, "" for none. */
void worker_record(struct worker *worker, const struct answer *answer, const char *what,
                   const char *results);
/* Whether there is an answer that says OK. */
bool answer_ok(const struct answer *answer);
/* Makes a file or folder that nobody knows yet, in the zone's root. */
void make_file(struct worker *worker, const char *name, struct fh *out);
struct object *world_object(struct worker *worker, char kind);
/* The slot's object, a new one if it was used up. Its pointer stays good. */
struct object *slot_object(struct worker *worker, struct slot *slot, char kind);

void zero_registers(struct worker *worker, uint32_t file);
void step_register(struct worker *worker);
void step_file(struct worker *worker);
void step_folder(struct worker *worker);
void read_register(struct worker *worker, uint32_t file, uint32_t block, uint32_t node);
void read_file(struct worker *worker, const struct object *file, uint32_t node);
void list_folder(struct worker *worker, struct object *pair, uint32_t half,
                 uint32_t node);

#endif
