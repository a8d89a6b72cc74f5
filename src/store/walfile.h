/*
 * walfile: sqlite's write-ahead log, with the frames of a transaction in one write.
 *
 * sqlite writes a frame's header and its page by two calls, and a small transaction of ours
 * has eight frames. This stands between sqlite and the WAL's file of another VFS and
 * gathers writes that follow each other, up to WALFILE_BYTES. Before anything else happens
 * with the file they are written; and with the page of a frame that commits, by the call
 * that wrote the page: so a commit that succeeded has written all of its frames, and
 * whoever reads in the file what sqlite's index of it names finds it there.
 * A fault of an earlier frame's is that of the call that wrote it out, at the latest the
 * commit's.
 *
 * For a VFS: its szOsFile is walfile_size() of the other's; its xOpen opens the other's file
 * at walfile_inner(), and, if that went well, calls walfile_wrap().
 */
#ifndef STORE_WALFILE_H
#define STORE_WALFILE_H

#include <sqlite3.h>

/* sqlite's own VFS takes a write of 128 KiB for none: its count has 17 bits. */
#define WALFILE_BYTES (64u << 10)

int walfile_size(int inner_size);
sqlite3_file *walfile_inner(sqlite3_file *file);
void walfile_wrap(sqlite3_file *file);

/* The name of sqlite's "unix-excl" with its WALs wrapped; without memory, as it is. */
const char *walfile_vfs(void);

#endif
