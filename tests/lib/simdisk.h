/*
 * simdisk: a struct disk in memory that keeps what was written and what was made durable
 * apart, and can fail.
 *
 * What a crash may do, and a real disk does: each write since the file's last datasync is
 * kept, lost, or torn at 512-byte sectors, independently of the others, in any order;
 * truncations and punched holes likewise kept or lost; of the creations, removals and
 * renames in one folder since its last syncdir a prefix is kept. A datasync makes a
 * file's bytes and size durable, but not its name. A name that was lost takes the file
 * with it.
 *
 * Deterministic: all chance comes from the generators that the caller passes. Not
 * thread-safe. Renames stay within one folder (-EXDEV), folders are not renamed. "/" and
 * "." always exist and are one folder; paths are compared as written, without resolving
 * "..". After a crash every open file is dead: it gives -EIO until it is closed.
 */
#pragma once

#include "base/disk.h"
#include "base/prng.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SIMDISK_SECTOR = 512,
    SIMDISK_PATH_MAX = 1024,
};

struct simdisk;

/* A new, empty disk that is on, of @capacity bytes (0: without limit). Never NULL. */
struct simdisk *simdisk_new(uint64_t capacity);
/* All files are closed by then. */
void simdisk_free(struct simdisk *sim);
struct disk *simdisk_disk(struct simdisk *sim);

/*
 * The power goes: what was not durable is kept or lost as @prng decides. The disk stays
 * off, every call gives -EIO, until simdisk_power_on; meanwhile the crashed owner may be
 * torn down (close still frees).
 */
void simdisk_crash(struct simdisk *sim, struct prng *prng);
void simdisk_power_on(struct simdisk *sim);
/*
 * Switch off at the @n-th changing call from now (write, truncate, punch, datasync,
 * unlink, rename, mkdir, syncdir, creating open): that call gives -EIO, its write may or
 * may not survive the simdisk_crash that must follow. 0: never.
 */
void simdisk_power_off_after(struct simdisk *sim, uint64_t n);
bool simdisk_is_on(const struct simdisk *sim);
/* Changing calls so far. */
uint64_t simdisk_changes(const struct simdisk *sim);

enum simdisk_op {
    SIMDISK_READ,
    SIMDISK_WRITE, /* pwritev, truncate, punch. */
    SIMDISK_SYNC,  /* datasync, syncdir. */
    SIMDISK_NAME,  /* Creating open, unlink, rename, mkdir. */
    SIMDISK_OPS,
};
/* The same at the @n-th call of that kind. */
void simdisk_power_off_in(struct simdisk *sim, enum simdisk_op op, uint64_t n);
/* In what kind of call the power last went by itself. */
enum simdisk_op simdisk_off_op(const struct simdisk *sim);
/*
 * The @nth call of that kind from now gives @error (negated errno) and does nothing, once
 * or from then on. A failed sync loses what it should have made durable, as Linux does:
 * those writes stay readable and vanish at the next crash. @nth 0: no fault any more.
 */
void simdisk_fail(struct simdisk *sim, enum simdisk_op op, uint64_t nth, int error,
                  bool forever);
/* Change the capacity. Writes that would exceed it give -ENOSPC. */
void simdisk_set_capacity(struct simdisk *sim, uint64_t capacity);
/* Flip bit @bit (0 to 7) of the byte at @offset, for reads now and after a crash. Returns
 * false if there is no such byte. */
bool simdisk_flip(struct simdisk *sim, const char *path, uint64_t offset, unsigned bit);
/* The sector at @offset cannot be read any more, now or after a crash, until it is written
 * to. One for each file. False if there is no such byte. */
bool simdisk_bad(struct simdisk *sim, const char *path, uint64_t offset);
/* While true, syncs report success and do nothing: for checking that a test notices. */
void simdisk_lie(struct simdisk *sim, bool lie);
/* Bytes in use, as counted against the capacity. */
uint64_t simdisk_used(const struct simdisk *sim);
