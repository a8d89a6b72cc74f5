/* What a marker says of itself, whole or with bits that rotted. */
#include "base/crc32c.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEAD "grapevinefs dataset "
#define MENDED_MAX 160u /* A marker of ours is shorter; the time to look for two bits. */

bool store_marker_checks(const char *text)
{
    const char *check = strstr(text, "\ncheck ");
    uint32_t crc;

    return check != NULL && sscanf(check, "\ncheck %8" SCNx32 "\n", &crc) == 1 &&
           crc == crc32c(0, text, (size_t)(check + 1 - text));
}

/* Only the first line, whatever has become of it: it can have been nothing else. */
static bool mend_head(const char *text, char out[STORE_MARKER_MAX])
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

static bool is_whole(const char *text)
{
    return strncmp(text, HEAD, strlen(HEAD)) == 0 && store_marker_checks(text);
}

static void turn(char *text, size_t bit)
{
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
}

/* One bit or two, wherever they are. CRC32C tells any two texts of this length apart that
 * differ in fewer than six bits (Koopman 2002), so there is one answer at most; the check
 * itself is of digits, of which a flip makes one other digit or none. */
static bool mend_bits(char *text, size_t n_bits)
{
    for (size_t first = 0; first < n_bits; first++) {
        turn(text, first);
        if (is_whole(text)) {
            return true;
        }
        for (size_t second = first + 1; second < n_bits; second++) {
            turn(text, second);
            if (is_whole(text)) {
                return true;
            }
            turn(text, second);
        }
        turn(text, first);
    }
    return false;
}

bool store_marker_mend(const char *text, size_t len, char out[STORE_MARKER_MAX])
{
    if (strlen(text) == len && (store_marker_checks(text) || mend_head(text, out))) {
        return !store_marker_checks(text);
    }
    if (len == 0 || len > MENDED_MAX) {
        return false;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return mend_bits(out, 8 * len);
}
