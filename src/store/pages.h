/*
 * pages: a checksum on every page of a meta.db, as a VFS of sqlite over another one.
 *
 * Rows carry checksums of their own, but a bit that flips in the structure of a page, in
 * an inner page or in an index can make rows disappear without a trace. So each page of
 * the database file ends with a CRC32C over its place and content, put there when it is
 * written and checked whenever it is read: what does not match is SQLITE_IOERR_DATA.
 *
 * Pages in the WAL have sqlite's checksums, which it checks only when it recovers. What is
 * written there, or read by a recovery, is remembered in memory (4 bytes a frame) and
 * checked when it is read again. Connections to one file share that.
 *
 * A page of zeros passes: sqlite leaves unused pages unwritten. What was written once and
 * lost later, so that an older page is read, is not seen.
 */
#ifndef STORE_PAGES_H
#define STORE_PAGES_H

#include <stdint.h>

#define PAGES_BYTES 4096u
#define PAGES_RESERVED 8u /* At the end of a page: u32 CRC32C, u32 zero. */

/* The name of the VFS with checksums over that called @base, registered when first asked
 * for. NULL without memory, or if there is no such base. */
const char *pages_vfs(const char *base);
/*
 * To read what is left of a damaged database that is not to be used any more: from now on,
 * through the VFS of @base (pages_vfs made it), a page of the file of which one bit flipped is
 * read as it was, and any other that does not match as it is: the rows on it have checksums,
 * but some may be missing. No connection is open; one thread only. NULL: no more.
 */
struct pages_salvaged {
    uint32_t mended; /* Reads of such pages. */
    uint32_t bad;
};
void pages_salvage(const char *base, struct pages_salvaged *salvaged);
/* @base goes. No connection may be open. A name that is not there is a no-op. */
void pages_forget(const char *base);

#endif
