/*
 * state_file: a small text of the node's state folder, twice on the disk, with a checksum.
 *
 * What these files say decides whether data is kept, used or made anew, so a bit of them that
 * flips must not be taken for a word. The text has a line "check 1f2e3d4c" behind it, the
 * CRC32C of all before that line; NAME.copy is the same again, written afterwards. A text
 * without the line is taken as it is: older versions wrote none, and a person may have
 * corrected it.
 */
#ifndef DAEMON_STATE_FILE_H
#define DAEMON_STATE_FILE_H

#include "base/disk.h"

#include <stddef.h>

enum state_file_from {
    STATE_FILE_WHOLE, /* Both are there and the same. */
    STATE_FILE_ONE,   /* The copy is older, missing or damaged: write it anew. */
    STATE_FILE_COPY,  /* It is the copy's: the file is missing or damaged. */
};

struct state_file {
    char *text; /* Without its check line, with a NUL behind it. The caller frees it. */
    size_t len;
    enum state_file_from from;
};

/*
 * Of @max bytes at most. -ENOENT: neither is there. -EUCLEAN: neither is what was written.
 * Else the fault of reading. Changes nothing on the disk.
 */
int state_file_read(struct disk *disk, const char *path, size_t max,
                    struct state_file *out);
/* Replace both, one after the other. 0, or a fault: then the next read may give either. */
int state_file_write(struct disk *disk, const char *path, const char *text);
/* The same for what is written often and is known elsewhere, too: there is no copy. */
int state_file_write_one(struct disk *disk, const char *path, const char *text);

#endif
