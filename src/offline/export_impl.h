/* export's inside. */
#ifndef OFFLINE_EXPORT_IMPL_H
#define OFFLINE_EXPORT_IMPL_H

#include "offline/export.h"
#include "store/pages.h"
#include "store/store.h"
#include "zone/zone.h"

#include <sys/types.h>

#define EXPORT_PATH_MAX 1024u

struct export
{
    struct export_options options;
    struct export_result *result;
    char *error;
    char journal_dir[EXPORT_PATH_MAX];
    uint8_t zone_id[16];
    struct disk *disk; /* The overlay. */
    struct journal *journal;
    struct store *store;
    struct zone *zone;
    struct pages_salvaged salvaged;
    bool has_no_marker; /* None that says anything: export_marker. */
    bool is_root;
};

void export_problem(struct export *export, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* export_marker.c: whose the dataset is (zone_id), and which meta.db is the live one. */
int export_marker(struct export *export, uint64_t *generation);
/* Where there was none, one for the store; in the overlay. */
int export_marker_put(struct export *export, uint64_t generation);
/* export_open.c: read the dataset; apply what the journal has beyond it. The destination is
 * made, and opened as @dest_fd, once it is known that this is a dataset that may be read. */
int export_open(struct export *export, int *dest_fd);
void export_close(struct export *export);
/* export_tree.c: everything below the zone's root into @dest_fd. */
int export_tree(struct export *export, int dest_fd);
/* export_dest.c: the destination, empty, made if need be; not in what is exported. */
int export_dest(struct export *export, int *out);
/* export_file.c: the content of @inode into @fd; @path for what is told. 0, also if some of it
 * is damaged, which is told; or the errno with which @fd did not take it. */
int export_content(struct export *export, const struct store_inode *inode, int fd,
                   const char *path);
/* Owner, mode and times of @name in @dir_fd; name "" : of @dir_fd itself. */
void export_dress(struct export *export, const struct store_inode *inode, int dir_fd,
                  const char *name, const char *path);

#endif
