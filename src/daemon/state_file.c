#include "daemon/state_file.h"

#include "base/crc32c.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK "\ncheck "
#define CHECK_BYTES (sizeof CHECK - 1 + 8 + 1)

static int copy_path(const char *path, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s.copy", path);

    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Where the text ends that has no check line: behind a JSON value, or it is damaged. */
static size_t end_of_unchecked(const char *text, size_t len)
{
    while (len > 0 && isspace((unsigned char)text[len - 1])) {
        len--;
    }
    return len > 0 && (text[len - 1] == '}' || text[len - 1] == ']') ? len : 0;
}

/* The length of what stands before the check line; 0: it is not what was written. */
static size_t checked(const char *text, size_t len)
{
    char line[CHECK_BYTES + 1];
    size_t end;

    if (strlen(text) != len) {
        return 0;
    }
    if (len <= CHECK_BYTES || strstr(text, CHECK) == NULL) {
        return end_of_unchecked(text, len);
    }
    end = len - CHECK_BYTES;
    snprintf(line, sizeof line, CHECK "%08" PRIx32 "\n", crc32c(0, text, end + 1));
    return strcmp(text + end, line) == 0 ? end : 0;
}

/* One of the two, cut to its text. */
static int read_one(struct disk *disk, const char *path, size_t max,
                    struct state_file *out)
{
    char *text = NULL;
    size_t whole = 0;
    size_t end;
    int rv = disk_read_file(disk, path, max + CHECK_BYTES, &text, &whole);

    if (rv != 0) {
        return rv == -EFBIG ? -EUCLEAN : rv;
    }
    end = checked(text, whole);
    if (end == 0) {
        free(text);
        return -EUCLEAN;
    }
    text[end] = '\0';
    *out = (struct state_file){.text = text, .len = end};
    return 0;
}

int state_file_read(struct disk *disk, const char *path, size_t max,
                    struct state_file *out)
{
    struct state_file file = {0};
    struct state_file copy = {0};
    char other[PATH_MAX];
    int copy_rv = copy_path(path, other);
    int rv = read_one(disk, path, max, &file);

    if (copy_rv == 0) {
        copy_rv = read_one(disk, other, max, &copy);
    }
    if (rv == 0) {
        file.from = copy_rv == 0 && strcmp(copy.text, file.text) == 0 ? STATE_FILE_WHOLE
                                                                      : STATE_FILE_ONE;
        *out = file;
        free(copy.text);
    } else if (copy_rv == 0) {
        copy.from = STATE_FILE_COPY;
        *out = copy;
        rv = 0;
    } else if (rv == -ENOENT) {
        rv = copy_rv; /* A copy that is damaged was a file's once. */
    }
    return rv;
}

/* @text and its check line, or NULL. */
static char *with_check(const char *text)
{
    size_t len = strlen(text);
    char *whole = malloc(len + CHECK_BYTES + 1);

    if (whole != NULL) {
        memcpy(whole, text, len);
        whole[len] = '\n';
        snprintf(whole + len, CHECK_BYTES + 1, CHECK "%08" PRIx32 "\n",
                 crc32c(0, whole, len + 1));
    }
    return whole;
}

int state_file_write_one(struct disk *disk, const char *path, const char *text)
{
    char *whole = with_check(text);
    int rv =
        whole == NULL ? -ENOMEM : disk_replace_file(disk, path, whole, strlen(whole));

    free(whole);
    return rv;
}

int state_file_write(struct disk *disk, const char *path, const char *text)
{
    char other[PATH_MAX];
    int rv = copy_path(path, other);

    rv = rv != 0 ? rv : state_file_write_one(disk, path, text);
    return rv != 0 ? rv : state_file_write_one(disk, other, text);
}
