/*
 * Preloaded into a daemon, makes its disk slow: every sync takes as many milliseconds more
 * as the file named by SLOWDISK_FILE says at that moment; none if it is not there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef int sync_fn(int fd);

static void wait_as_told(void)
{
    const char *path = getenv("SLOWDISK_FILE");
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    struct timespec left = {0};
    unsigned ms = 0;

    if (file == NULL) {
        return;
    }
    if (fscanf(file, "%u", &ms) == 1) {
        left.tv_sec = ms / 1000;
        left.tv_nsec = (long)(ms % 1000) * 1000000;
    }
    (void)fclose(file);
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static int call(const char *name, int fd)
{
    sync_fn *real = (sync_fn *)dlsym(RTLD_NEXT, name);

    wait_as_told();
    return real(fd);
}

int fdatasync(int fd)
{
    return call("fdatasync", fd);
}

int fsync(int fd)
{
    return call("fsync", fd);
}
