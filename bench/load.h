/*
 * load: work for an NFSv3 server over one connection, through libnfs, verified.
 *
 * A run keeps a number of calls under way (its depth) until its work, its time or its
 * count is used up; each slot holds one call. What is read is compared with what was
 * written, and what a run was told is there must be there: any mismatch is an error.
 *
 * Everything is bounded: by load_options, LOAD_OPS_MAX calls a step, and
 * LOAD_SILENCE_MS without any reply. Functions return 0, or -1 with a line in
 * load.error.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <nfsc/libnfs.h>
/* Behind libnfs.h, which it needs. */
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw.h>

#define LOAD_BLOCK 4096u
#define LOAD_IO_MAX (1u << 20)
#define LOAD_DEPTH_MAX 64u
#define LOAD_OPS_MAX 1000000u
#define LOAD_SILENCE_MS 60000

struct load_options {
    uint64_t seq_bytes;  /* Of the sequential file; a multiple of 1 MiB. */
    uint64_t rand_bytes; /* Of the file for random access; likewise. */
    uint32_t files_max;  /* Small files. */
    uint32_t list_files; /* To list, at least. */
    const char *pids;    /* "N,N,...": the server's processes; NULL: not known. */
    double seconds;      /* A step of single calls takes no longer, or twice that. */
    const char *only;    /* NULL: all steps; else those whose name begins so. */
};

struct load_server {
    const char *host; /* Name or address. */
    int nfs_port;
    int mount_port;
    const char *path; /* The export. */
};

struct load_fh {
    u_int len;
    char bytes[NFS3_FHSIZE];
};

/* A file of blocks; the content of each is a function of file, block and version. */
struct load_file {
    bool present;
    struct load_fh fh;
    uint32_t id;
    uint64_t bytes;
    uint32_t *versions; /* By block; NULL: all 1. */
    bool *busy;         /* By block: a write is under way. */
};

struct load {
    struct rpc_context *rpc;
    struct load_options options;
    struct load_fh root;
    struct load_fh folder; /* Our own. */
    char folder_name[64];
    uint32_t read_max; /* Bytes in one call, at most LOAD_IO_MAX. */
    uint32_t write_max;
    uint64_t random;
    struct load_file seq;
    struct load_file rand;
    struct load_fh *small; /* By number; len 0: not there. */
    uint32_t n_small;      /* Numbers given out. */
    uint32_t removed;      /* Below it all are removed. */
    uint32_t small_bytes;  /* Size that they all have. */
    char error[256];
    bool failed;
};

/* What a step measured. */
struct load_result {
    uint64_t ops;
    uint64_t bytes;
    uint64_t ns;
    uint64_t p50_ns;
    uint64_t p99_ns;
    uint64_t max_ns;
    double cpu_s; /* Filled by nfsload. */
};

struct load_run;

struct load_slot {
    struct load_run *run;
    uint64_t began_ns;
    uint64_t item;  /* Whatever the run means by it. */
    uint32_t stage; /* Likewise; 0 at first. */
    uint32_t len;
    uint32_t version;
    char *buf; /* LOAD_IO_MAX bytes if the run asked for them. */
};

struct load_run {
    struct load *load;
    uint32_t depth;
    double seconds;   /* 0: until the work is done. */
    uint64_t ops_max; /* 0: LOAD_OPS_MAX. */
    bool buffers;
    /* Issue the slot's next call; 1: there is no more work; -1. */
    int (*issue)(struct load_run *run, struct load_slot *slot);
    /* Look at the reply, which is only valid meanwhile. */
    int (*done)(struct load_run *run, struct load_slot *slot, void *reply);
    struct load_file *file;
    uint64_t next; /* Of the work; the run's own. */
    uint64_t end;
    int stable;
    bool has_verf;
    char verf[NFS3_WRITEVERFSIZE];
    /* Filled by load_run_go. */
    uint64_t began_ns;
    uint64_t issued;
    uint64_t ops;
    uint64_t bytes;
    uint64_t *latencies;
    uint32_t in_flight;
    struct load_slot slots[LOAD_DEPTH_MAX];
};

/* Mount, make a folder of our own. */
int load_open(struct load *load, const struct load_server *server,
              const struct load_options *options);
/* Remove what was made, unless a step failed; disconnect. */
int load_close(struct load *load);
/* Remove a file of our folder. */
int load_remove(struct load *load, char *name);
/* Note the first error; returns -1. */
int load_fail(struct load *load, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t load_now_ns(void);
uint64_t load_random(struct load *load);
struct nfs_fh3 load_fh_out(struct load_fh *fh);
int load_fh_in(struct load *load, const struct nfs_fh3 *in, struct load_fh *out);
/* For every rpc_nfs3_*_async: calls the run's done() and issues the next one. */
void load_reply(struct rpc_context *rpc, int status, void *reply, void *slot);
/* Runs to the end. @result may be NULL. */
int load_run_go(struct load_run *run, struct load_result *result);

/* Content of @len bytes at @offset, both multiples of LOAD_BLOCK, of one version. */
void load_fill(const struct load_file *file, uint64_t offset, char *out, uint32_t len,
               uint32_t version);
/* Compare with the versions that the file has; a block in flight is not looked at. */
bool load_matches(const struct load_file *file, uint64_t offset, const char *data,
                  uint32_t len);

/* load_steps.c: one step by its number, from 0. */
struct load_step {
    const char *name;
    const char *unit; /* "MB/s" or "/s". */
    uint32_t depth;
    int (*go)(struct load *load, const struct load_step *step, struct load_result *out);
};
extern const struct load_step load_steps[];
extern const unsigned load_steps_n;
/* Remove every file that the steps made. */
int load_steps_clean(struct load *load);

#endif
