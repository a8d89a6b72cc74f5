/* load_steps: what the files of steps share. Functions as in load.h: 0, or -1. */
#ifndef BENCH_LOAD_STEPS_H
#define BENCH_LOAD_STEPS_H

#include "load.h"

int load_check(struct load *load, const char *call, nfsstat3 status);
int load_run_new(struct load *load, struct load_run **out);
/* Runs, and takes @run. */
int load_run_end(struct load_run *run, struct load_result *out);

/* A guarded CREATE in our folder, and the handle that its reply gives. */
int load_create_send(struct load_run *run, struct load_slot *slot, char *name);
int load_create_take(struct load_run *run, const struct CREATE3res *res,
                     struct load_fh *out);
/* A run's done() for WRITE, READ and REMOVE. */
int load_write_done(struct load_run *run, struct load_slot *slot, void *reply);
int load_read_done(struct load_run *run, struct load_slot *slot, void *reply);
int load_remove_done(struct load_run *run, struct load_slot *slot, void *reply);

/* The file for random access is there; some small files are. */
int load_rand_prepare(struct load *load);
int load_small_prepare(struct load *load);

/* load_mix.c: steps in which calls of several kinds follow each other. */
int load_readmix(struct load *load, const struct load_step *step,
                 struct load_result *out);
int load_smallfile(struct load *load, const struct load_step *step,
                   struct load_result *out);

#endif
