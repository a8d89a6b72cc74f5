/* What a marker says of itself, whole or with a first line that rotted. */
#include "base/crc32c.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEAD "grapevinefs dataset "

bool store_marker_checks(const char *text)
{
    const char *check = strstr(text, "\ncheck ");
    uint32_t crc;

    return check != NULL && sscanf(check, "\ncheck %8" SCNx32 "\n", &crc) == 1 &&
           crc == crc32c(0, text, (size_t)(check + 1 - text));
}

bool store_marker_mend(const char *text, char out[STORE_MARKER_MAX])
{
    const char *rest = strchr(text, '\n');
    int n;

    if (rest == NULL) {
        return false;
    }
    n = snprintf(out, STORE_MARKER_MAX, HEAD "%u%s", STORE_FORMAT, rest);
    return n >= 0 && (size_t)n < STORE_MARKER_MAX && strcmp(text, out) != 0 &&
           store_marker_checks(out);
}
