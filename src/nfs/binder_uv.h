/*
 * binder_uv: the binder's connection to the local rpcbind, and its clock.
 *
 * Nothing here waits: not for an rpcbind that is not there, nor for one that does not
 * answer.
 */
#ifndef NFS_BINDER_UV_H
#define NFS_BINDER_UV_H

#include <stdint.h>

struct uv_loop_s;
struct binder_uv;

/*
 * Register a listener at @host and @port, and go on doing so. Returns 0 (also if there is
 * no rpcbind), or -ENOMEM. *@out is NULL if there is nothing to register.
 */
int binder_uv_open(struct uv_loop_s *loop, const char *host, uint16_t port,
                   struct binder_uv **out);
/* "registered", "absent" (no rpcbind answers), "refused", "unknown" (not yet); "unused" for
 * NULL: nothing is to be registered. */
const char *binder_uv_view(const struct binder_uv *binder);
/* Take back what was registered, for BINDER_STOP_MS at most; then @closed is called and
 * the memory is gone. */
void binder_uv_close(struct binder_uv *binder, void (*closed)(void *arg), void *arg);

#endif
