/*
 * Preloaded into a daemon, makes its clock of the day wrong by as many seconds as the file
 * named by WRONGCLOCK_FILE says at that moment; by none if it is not there.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef int gettime_fn(clockid_t id, struct timespec *out);

/* By system calls alone: who asks for the time may hold any lock. */
static long seconds_told(void)
{
    const char *path = getenv("WRONGCLOCK_FILE");
    char text[24] = "";
    ssize_t n = 0;
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0) {
        return 0;
    }
    n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    static gettime_fn *real;
    int rv;

    if (real == NULL) {
        real = (gettime_fn *)dlsym(RTLD_NEXT, "clock_gettime");
    }
    rv = real(id, out);
    if (rv == 0 && id == CLOCK_REALTIME) {
        out->tv_sec += seconds_told();
    }
    return rv;
}
