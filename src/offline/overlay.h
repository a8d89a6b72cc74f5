/*
 * overlay: a disk that reads what is there and keeps all changes in memory.
 *
 * For code that recovers by writing (the journal's tail, sqlite's WAL), on a dataset that
 * must stay as it is: nothing below is opened for writing, made, renamed or removed. What
 * is written as it was already costs nothing; the rest is bounded by OVERLAY_BYTES_MAX
 * (then -ENOSPC). One thread at a time.
 */
#ifndef OFFLINE_OVERLAY_H
#define OFFLINE_OVERLAY_H

#include "base/disk.h"

#define OVERLAY_BYTES_MAX (2ull << 30)

/* Over @under, which must outlive it. NULL without memory. */
struct disk *overlay_new(struct disk *under);
/* No file may be open. NULL is a no-op. */
void overlay_free(struct disk *disk);

#endif
