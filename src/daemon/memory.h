/*
 * memory: what the daemon needs of the kernel so that a node can mount its own zones.
 *
 * A process here that writes through such a mount makes pages dirty that become clean
 * only when the daemon has written what is in them. So the daemon may neither be slowed
 * down until they are clean nor wait for them when it needs memory, and what it is made
 * of should be there already.
 */
#ifndef DAEMON_MEMORY_H
#define DAEMON_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#define MEMORY_RESERVE_MAX (1u << 30)

struct memory_config {
    bool lock; /* Lock all pages, now and later. */
    /* Heap that is there from the start, if pages are locked; at most MEMORY_RESERVE_MAX. */
    uint64_t reserve_bytes;
};

/*
 * Set up the process. Threads inherit it: call it before there is a second one. What the
 * kernel refuses is logged, a line each, and done without. Afterwards the process has no
 * CAP_SYS_RESOURCE any more.
 */
void memory_prepare(const struct memory_config *config);

/* What came of it. */
struct memory_state {
    bool flusher;
    bool locked;
};
struct memory_state memory_state(void);

#endif
