#include "cli/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX (366u * 86400u)

char *units_bytes(uint64_t bytes, char out[UNITS_TEXT_MAX])
{
    static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t i = 0;

    if (bytes < 1024) {
        snprintf(out, UNITS_TEXT_MAX, "%" PRIu64 " B", bytes);
        return out;
    }
    /* 1023.95 and above would be printed as 1024.0. */
    for (value /= 1024; value >= 1023.95 && i + 1 < sizeof names / sizeof names[0]; i++) {
        value /= 1024;
    }
    snprintf(out, UNITS_TEXT_MAX, "%.1f %s", value, names[i]);
    return out;
}

char *units_rtt(uint64_t us, char out[UNITS_TEXT_MAX])
{
    if (us == 0) {
        strcpy(out, "-");
    } else if (us < 1000) {
        snprintf(out, UNITS_TEXT_MAX, "%" PRIu64 " us", us);
    } else {
        snprintf(out, UNITS_TEXT_MAX, "%.1f ms", (double)us / 1000);
    }
    return out;
}

int units_parse_duration(const char *text, uint64_t *seconds)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    unsigned long long value;
    char *end;

    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || value == 0 || value > SECONDS_MAX) {
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].name) == 0 && value * units[i].factor <= SECONDS_MAX) {
            *seconds = value * units[i].factor;
            return 0;
        }
    }
    return -EINVAL;
}

void units_put_text(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char second = (unsigned char)text[1];

        /* U+0080 to U+009F are control characters too, of two bytes. */
        if ((unsigned char)text[0] == 0xc2 && second >= 0x80 && second < 0xa0) {
            fputc('?', file);
            text++;
        } else {
            fputc(iscntrl((unsigned char)*text) ? '?' : *text, file);
        }
    }
}
