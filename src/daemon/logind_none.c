/* In place of logind_uv.c where libsystemd was not there at the build. */
#include "daemon/logind_uv.h"

#include "base/assert.h"

#include <errno.h>

int logind_uv_open(uv_loop_t *loop, const struct logind_callbacks *callbacks,
                   struct logind_uv **out)
{
    (void)loop;
    (void)callbacks;
    (void)out;
    return -ENOSYS;
}

const char *logind_uv_view(const struct logind_uv *logind)
{
    (void)logind;
    return "absent";
}

void logind_uv_close(struct logind_uv *logind, void (*closed)(void *arg), void *arg)
{
    (void)logind;
    (void)closed;
    (void)arg;
    ASSERT_NEVER("there is none");
}
