/*
 * dataset: a zone's folder in a pool, from its first file to its last.
 *
 * A folder is only ever filled or removed on evidence that it is that zone's: the file
 * "making" that is written before anything else, or the store's marker that comes last.
 * Somebody's folder that has a zone's name is left as it is.
 *
 * A removal renames first, to a name that no zone can have: from then on the zone's name
 * is free, and what a crash leaves half-removed is known by that name. Blocks; not for a
 * loop thread.
 */
#ifndef DAEMON_DATASET_H
#define DAEMON_DATASET_H

#include "base/disk.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Begin to make the dataset @dir (its journal in @journal, perhaps inside) of zone @id,
 * or go on where a crash ended that. 0; -ENOTEMPTY: there is something else; a fault.
 */
int dataset_make_begin(struct disk *disk, const char *dir, const char *journal,
                       const uint8_t id[16]);
/* The marker is there. */
void dataset_make_end(struct disk *disk, const char *dir);

/*
 * No entry of the dataset @dir, nor of the folders in it, is a symbolic link. What makes and
 * removes files there goes by names, so a link that somebody else put on the disk would lead
 * it out of the dataset. 0, also if there is no @dir; -ELOOP; a fault.
 */
int dataset_check_links(const char *dir);

/*
 * Remove zone @id's dataset, named @slug in the folder @pool, and its journal @journal.
 * What is not there counts as removed. 0; -EEXIST: the folder is not that zone's; or the
 * errno of removing, then part of it may be gone and the next call goes on.
 */
int dataset_remove(const char *pool, const char *slug, const char *journal,
                   const uint8_t id[16]);

#define DATASET_KEPT_MARK ".discarded-"
/*
 * Keep it instead, beside the zones: as SLUG.discarded-TIME, @time_s as YYYYMMDDTHHMMSSZ,
 * with a file DISCARDED in it that says so, and its journal, if elsewhere, under the same
 * name there. Nothing ever removes it but a person. Returns as dataset_remove; done
 * again, it goes on.
 */
int dataset_keep(const char *pool, const char *slug, const char *journal,
                 const uint8_t id[16], uint64_t time_s);
/* Its marker is there and so damaged that it does not say whose it is. */
bool dataset_is_damaged(const char *pool, const char *slug);
/*
 * Move zone @id's dataset, named @slug in the folder @pool, and its journal @journal aside,
 * to names that end with ".quarantine-" and @stamp, which no zone can have. One whose marker
 * is damaged, too; a person has to remove that later. What is not there counts as moved.
 * 0; -EEXIST: the folder is not that zone's; or a fault, then the next call goes on.
 */
int dataset_set_aside(const char *pool, const char *slug, const char *journal,
                      const uint8_t id[16], const char *stamp);
/*
 * Remove what dataset_set_aside made of zone @id in @pool, and of its journals, whose
 * folder is @journals (NULL: they were inside). The number of datasets removed, or a
 * fault.
 */
int dataset_sweep(const char *pool, const char *slug, const char *journals,
                  const uint8_t id[16]);

#endif
