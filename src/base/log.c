#include "base/log.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static _Atomic int level_now = LOG_LEVEL_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
    atomic_store(&level_now, (int)level);
}

/* Control bytes would let whoever chose a file name forge log lines, and speak to the
 * terminal of who reads them; so would U+0080 to U+009F, which are two bytes of UTF-8. */
static void mask_control(char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)line[i];

        if (byte == 0xc2 && i + 1 < len && (unsigned char)line[i + 1] < 0xa0) {
            line[i++] = '?';
            line[i] = '?';
        } else if (byte < 0x20 || byte == 0x7f) {
            line[i] = '?';
        }
    }
}

void log_write(enum log_level level, const char *module, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    struct timespec now;
    struct tm tm;
    size_t len;
    va_list args;
    int n;

    if ((int)level > atomic_load(&level_now)) {
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    len = strftime(line, sizeof line, "time=%Y-%m-%dT%H:%M:%S", &tm);
    n = snprintf(line + len, sizeof line - len, ".%03ldZ level=%s module=%s ",
                 now.tv_nsec / 1000000, level_names[level], module);
    len += n > 0 ? (size_t)n : 0;
    va_start(args, format);
    n = vsnprintf(line + len, sizeof line - len - 1, format, args);
    va_end(args);
    if (n > 0) {
        len += (size_t)n < sizeof line - len - 1 ? (size_t)n : sizeof line - len - 2;
    }
    mask_control(line, len);
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0) {
        return; /* Nobody is left to tell. */
    }
}

void assert_failed(const char *expression, const char *file, int line)
{
    log_error("base", "msg=\"assertion failed\" expression=\"%s\" at=%s:%d", expression,
              file, line);
    abort();
}
