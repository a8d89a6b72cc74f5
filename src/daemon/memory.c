#include "daemon/memory.h"

#include "base/log.h"

#include <errno.h>
#include <linux/capability.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

enum {
    TRIM_BYTES = 16 << 20, /* So much more than what is kept goes back at once. */
    CHUNK_BYTES = 1 << 20, /* Below the size from which malloc maps each apart. */
    MMAP_BYTES = 4 << 20,
};

/* Payload buffers pass from thread to thread; with an arena for each thread, every arena
 * would come to hold what the busiest moment needed. */
static void bound_heap(uint64_t keep)
{
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, (int)keep + TRIM_BYTES);
    if (keep > 0) {
        (void)mallopt(M_TOP_PAD, (int)keep); /* Trimming leaves it. */
    }
}

/*
 * The kernel slows down whoever writes to a file while too many pages are dirty, of
 * whatever disk, and lets whoever needs memory write out or wait for dirty pages. A
 * flusher is slowed down for its own disk's pages only and never waits for others'.
 */
static bool become_flusher(void)
{
    bool done = prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0;

    if (!done) {
        log_info("daemon",
                 "msg=\"no flusher of the kernel's: writing much through a mount of "
                 "this node's zones on this machine will be very slow; CAP_SYS_RESOURCE "
                 "mends it\" error=\"%s\"",
                 strerror(errno));
    }
    return done;
}

/*
 * Only without a limit: with one, a later allocation would fail where it now succeeds.
 * The program is read in as a whole; of what comes later (stacks, heap) pages are locked
 * as they are used, since most of them never are.
 */
static bool lock_pages(void)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    int rv = setrlimit(RLIMIT_MEMLOCK, &unlimited);

    if (rv == 0) {
        rv = mlockall(MCL_CURRENT);
    }
    if (rv == 0) {
        rv = mlockall(MCL_FUTURE | MCL_ONFAULT);
    }
    if (rv != 0) {
        log_info("daemon",
                 "msg=\"memory is not locked: needs an unlimited RLIMIT_MEMLOCK or "
                 "CAP_SYS_RESOURCE\" error=\"%s\"",
                 strerror(errno));
        (void)munlockall();
    }
    return rv == 0;
}

/* Have @bytes of heap in memory; freed, they stay the top of the main arena, which is
 * where the loop thread's buffers come from. */
static void fill_reserve(uint64_t bytes)
{
    void **last = NULL;

    for (uint64_t n = 0; n < bytes; n += CHUNK_BYTES) {
        void **chunk = malloc(CHUNK_BYTES - 64);

        if (chunk == NULL) {
            break;
        }
        memset(chunk, 1, CHUNK_BYTES - 64); /* Zeros could become a calloc. */
        *chunk = last;
        last = chunk;
    }
    while (last != NULL) {
        void **before = *last;

        free(last);
        last = before;
    }
}

/* With it, file systems give away the blocks that they keep for root, and no quota holds:
 * a full disk would show too late. */
static void drop_capability(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};
    uint32_t *const masks[] = {&sets[0].effective, &sets[0].permitted,
                               &sets[0].inheritable};
    int rv = (int)syscall(SYS_capget, &head, sets);

    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        *masks[i] &= ~(UINT32_C(1) << CAP_SYS_RESOURCE);
    }
    if (rv == 0) {
        rv = (int)syscall(SYS_capset, &head, sets);
    }
    if (rv != 0) {
        log_info("daemon", "msg=\"could not drop CAP_SYS_RESOURCE\" error=\"%s\"",
                 strerror(errno));
    }
}

static struct memory_state state_now; /* Of the process. */

struct memory_state memory_state(void)
{
    return state_now;
}

void memory_prepare(const struct memory_config *config)
{
    bool locked;

    state_now.flusher = become_flusher();
    locked = config->lock && lock_pages();
    bound_heap(locked ? config->reserve_bytes : 0);
    if (locked) {
        fill_reserve(config->reserve_bytes);
    }
    drop_capability();
    state_now.locked = locked;
    log_debug("daemon", "msg=\"memory prepared\" locked=%d", locked);
}
