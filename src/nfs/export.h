/*
 * export: who may mount what, and how: the [export] sections of grapevine.conf.
 *
 * The section of no zone (name "") holds for all; that of a zone (its slug), and that of
 * the root folder ("/"), say what is different there. Rules go from general to special,
 * later ones first:
 *   built-in defaults: everyone, read and write, root squashed to 65534:65534;
 *   what [export] says; then the options of its matching client, if the zone's section
 *   has no list of its own;
 *   what [export ZONE] says; then the options of its matching client.
 * Of several clients of a list that match, the one with the longest prefix is the
 * matching one, wherever it stands.
 *
 * Pure: no socket, clock or log. Not changed any more once it is used.
 */
#ifndef NFS_EXPORT_H
#define NFS_EXPORT_H

#include "nfs/backend.h"
#include "nfs/export_net.h"

#define EXPORT_SECTIONS_MAX 300u
#define EXPORT_CLIENTS_MAX 256u /* Of one section. */
#define EXPORT_ROOT "/"         /* The name of the root folder's section. */

struct export_table;

/* NULL without memory. */
struct export_table *export_table_new(void);
/* NULL is a no-op. */
void export_table_free(struct export_table *table);

/*
 * Take the pair @key = @value of the section @zone: keys clients, access, squash, anonuid
 * and anongid. "clients" may be given several times: the lists add up. @line is kept for
 * export_section. Returns 0, or -EINVAL with what is wrong, in one line, in @reason.
 */
struct export_pair {
    const char *zone;
    const char *key;
    const char *value;
    uint32_t line;
};
int export_table_set(struct export_table *table, const struct export_pair *pair,
                     char reason[EXPORT_REASON_MAX]);

/* What the client at @address may do with @zone (a slug, or EXPORT_ROOT). */
void export_rule(const struct export_table *table, const char *address, const char *zone,
                 struct nfs_export_rule *out);
/* The @i-th client in the list that holds for @zone, in the order of the list. False:
 * there are not so many. */
bool export_client(const struct export_table *table, const char *zone, uint32_t i,
                   char out[EXPORT_NET_TEXT_MAX]);
/* The @i-th section in rising order of names, and where it began in the file; NULL: there
 * are not so many. */
const char *export_section(const struct export_table *table, uint32_t i, uint32_t *line);

#endif
