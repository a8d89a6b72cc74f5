/*
 * direct: memory for transfers past the page cache, of any thread.
 *
 * A piece has DIRECT_BYTES and is aligned to them, in one huge page where the kernel gives
 * one: else a transfer has to find and pin each of 512 pages. The few that were given back
 * last are kept, since a page costs most when it is new.
 */
#ifndef BASE_DIRECT_H
#define BASE_DIRECT_H

#define DIRECT_BYTES (2u << 20)
#define DIRECT_KEPT_MAX 2u /* In the process. */

/* A piece, with whatever is in it; NULL without memory. */
void *direct_get(void);
/* NULL is a no-op. */
void direct_put(void *piece);

#endif
