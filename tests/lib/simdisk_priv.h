/*
 * simdisk_priv: what the simulated disk's own files share. Nobody else includes it.
 */
#pragma once

#include "lib/simdisk.h"
#include "lib/simdisk_pages.h"

enum write_kind { WRITE_BYTES, WRITE_SIZE, WRITE_HOLE };

/* A write since the last sync. */
struct write {
    enum write_kind kind;
    uint64_t offset;
    uint64_t len; /* WRITE_SIZE: unused. */
    uint8_t *data;
};

struct inode {
    uint32_t refs; /* Names, changes of names, open files. */
    bool folder;
    bool settled; /* By the crash being resolved. */
    bool has_bad; /* A sector that cannot be read: */
    uint64_t bad;
    struct pages now;
    struct pages synced;
    struct write *writes;
    size_t n_writes;
    size_t cap_writes;
};

struct name {
    char *path;
    uint64_t hash;
    struct inode *inode;
};

struct names {
    struct name *list;
    size_t n;
    size_t cap;
};

/* A change in a folder since its last sync: @from goes, then @to is set. */
struct change {
    char *folder;
    char *from; /* NULL: nothing goes. */
    char *to;   /* NULL: nothing comes. */
    struct inode *inode;
};

struct fault {
    uint64_t nth; /* Calls until it strikes; 0 never. */
    int error;
    bool forever;
};

struct simdisk {
    struct disk disk;
    uint64_t capacity;
    uint64_t used_pages;
    struct names now;
    struct names durable;
    struct change *changes_list;
    size_t n_changes;
    size_t cap_changes;
    uint64_t changes;
    uint64_t off_after;
    enum simdisk_op off_in; /* SIMDISK_OPS: in any. */
    enum simdisk_op off_op;
    struct fault faults[SIMDISK_OPS];
    bool on;
    bool lie;
    uint64_t generation;
    uint64_t n_open;
    uint64_t
        n_nowait; /* Reads by who must not wait: of some the page cache has nothing. */
};

struct disk_file {
    struct inode *inode;
    uint64_t generation;
    bool writable;
};

/* A copy that is there. */
char *simdisk_copy_string(const char *text);
/* One spelling: no slash in front, at the end, or twice. The root is "". */
int simdisk_spell(const char *path, char out[SIMDISK_PATH_MAX]);
void simdisk_folder_of(const char *path, char out[SIMDISK_PATH_MAX]);

/* Forget the unsynced writes. */
void simdisk_writes_clear(struct inode *inode);
/* Carry one write out on @pages. */
void simdisk_write_do(struct pages *pages, const struct write *write);
/* Write now, durable after a sync. Takes @write. */
void simdisk_inode_write(struct simdisk *sim, struct inode *inode, struct write write);
void simdisk_inode_put(struct simdisk *sim, struct inode *inode);

struct name *simdisk_names_find(const struct names *names, const char *path);
void simdisk_names_set(struct simdisk *sim, struct names *names, const char *path,
                       struct inode *inode);
void simdisk_names_unset(struct simdisk *sim, struct names *names, const char *path);
void simdisk_names_clear(struct simdisk *sim, struct names *names);
bool simdisk_folder_exists(const struct names *names, const char *path);

/* Change names now; durable once the folder is synced. @inode with @to only. */
void simdisk_change_names(struct simdisk *sim, const char *from, const char *to,
                          struct inode *inode);
void simdisk_change_free(struct simdisk *sim, struct change *change);
/* Make the first @n changes in @folder durable and forget all of them there. */
void simdisk_settle_folder(struct simdisk *sim, const char *folder, uint64_t n);
