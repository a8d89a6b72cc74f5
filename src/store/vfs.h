/*
 * vfs: sqlite3 on a struct disk.
 *
 * For the simulator and for tests: the same meta.db code runs on a simulated disk that
 * loses what was not synced. Several connections to one file, also from several threads,
 * work within one process (WAL included: its shared memory and all locks live in process
 * memory, dropped with the last connection as after a crash); another process must not
 * have the files open. Nothing here reads a clock, sleeps or draws from the system's
 * randomness, so a run replays: time counts calls, randomness depends on @name alone
 * (sqlite draws its WAL salts from its own generator, which it seeds from the default
 * VFS; they change no behaviour. SQLITE_TESTCTRL_PRNG_SEED fixes them too).
 * No memory mapping of files.
 */
#ifndef STORE_VFS_H
#define STORE_VFS_H

#include "base/disk.h"

/*
 * Register a VFS called @name (copied) over @disk, which must outlive it. Not the
 * default. Returns 0, -EEXIST if the name is taken, or -ENOMEM.
 */
int vfs_register(struct disk *disk, const char *name);
/* Forget it again. No connection may be open. A name that is not there is a no-op. */
void vfs_unregister(const char *name);

#endif
