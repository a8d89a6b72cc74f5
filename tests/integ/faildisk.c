/*
 * Preloaded into a daemon, makes its disk give EIO: the file named by FAILDISK_FILE, as it is
 * at that moment, has lines "KIND PREFIX". KIND is sync (fsync and fdatasync of a file of
 * which the path begins so), or open.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int sync_fn(int fd);
typedef int open_fn(const char *path, int flags, ...);

static bool fails(const char *kind, const char *path)
{
    const char *name = getenv("FAILDISK_FILE");
    FILE *file = name != NULL ? fopen(name, "re") : NULL;
    char line[PATH_MAX + 32];
    bool found = false;

    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        size_t len = strlen(kind);
        char *prefix = line + len + 1;

        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, kind, len) == 0 && line[len] == ' ' &&
                strncmp(path, prefix, strlen(prefix)) == 0;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

static int sync_call(const char *name, int fd)
{
    sync_fn *real = (sync_fn *)dlsym(RTLD_NEXT, name);
    char link[64];
    char path[PATH_MAX] = "";
    ssize_t n;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n > 0 && fails("sync", path)) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fdatasync(int fd)
{
    return sync_call("fdatasync", fd);
}

int fsync(int fd)
{
    return sync_call("fsync", fd);
}

static int open_call(const char *name, const char *path, int flags, mode_t mode)
{
    open_fn *real = (open_fn *)dlsym(RTLD_NEXT, name);

    if (fails("open", path)) {
        errno = EIO;
        return -1;
    }
    return real(path, flags, mode);
}

static mode_t mode_of(int flags, va_list args)
{
    return (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
}

#undef open
#undef open64

int open(const char *path, int flags, ...);
int open64(const char *path, int flags, ...);

int open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    return open_call("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    return open_call("open64", path, flags, mode);
}
