#include "base/direct.h"

#include "base/assert.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[DIRECT_KEPT_MAX];
static unsigned n_kept;

/* Twice as much is asked for, so that a piece at a multiple of its size lies in it; the
 * rest goes back. */
static void *make(void)
{
    uint8_t *all = mmap(NULL, 2 * (size_t)DIRECT_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t before;

    if (all == MAP_FAILED) {
        return NULL;
    }
    before = (DIRECT_BYTES - (uintptr_t)all % DIRECT_BYTES) % DIRECT_BYTES;
    if (before > 0) {
        (void)munmap(all, before);
    }
    (void)munmap(all + before + DIRECT_BYTES, DIRECT_BYTES - before);
    (void)madvise(all + before, DIRECT_BYTES, MADV_HUGEPAGE); /* It is only faster. */
    return all + before;
}

void *direct_get(void)
{
    void *piece = NULL;

    (void)pthread_mutex_lock(&lock);
    if (n_kept > 0) {
        n_kept--;
        piece = kept[n_kept];
    }
    (void)pthread_mutex_unlock(&lock);
    return piece != NULL ? piece : make();
}

void direct_put(void *piece)
{
    if (piece == NULL) {
        return;
    }
    ASSERT((uintptr_t)piece % DIRECT_BYTES == 0);
    (void)pthread_mutex_lock(&lock);
    if (n_kept < DIRECT_KEPT_MAX) {
        kept[n_kept] = piece;
        n_kept++;
        piece = NULL;
    }
    (void)pthread_mutex_unlock(&lock);
    if (piece != NULL) {
        (void)munmap(piece, DIRECT_BYTES);
    }
}
