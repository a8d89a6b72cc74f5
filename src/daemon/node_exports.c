/*
 * node_exports: sections of the configuration for zones that there are not (yet).
 *
 * Zones come after the configuration, so such a section is no error; but it is what a
 * misspelled name looks like, too: it is told in the log and with every status.
 */
#include "daemon/node.h"

#include "base/log.h"

#include <string.h>

bool node_export_unknown(const struct node *node, uint32_t i, const char **zone,
                         uint32_t *line)
{
    *zone = export_section(node->config.exports, i, line);
    return *zone != NULL && (*zone)[0] != '\0' && strcmp(*zone, EXPORT_ROOT) != 0 &&
           node->directory.index != 0 /* It has been read. */ &&
           directory_zone_named(&node->directory, *zone) == NULL;
}

bool node_exports_root(const struct node *node, const char *slug)
{
    char client[EXPORT_NET_TEXT_MAX];

    for (uint32_t i = 0; export_client(node->config.exports, slug, i, client); i++) {
        struct nfs_export_rule rule;

        /* A network's first address; for "*" any will do. */
        client[strcspn(client, "/")] = '\0';
        export_rule(node->config.exports, client, slug, &rule);
        if (rule.squash != NFS_SQUASH_ROOT) {
            return true;
        }
    }
    return false;
}

void node_exports_check(struct node *node)
{
    const char *zone;
    uint32_t line;

    for (uint32_t i = 0; i < EXPORT_SECTIONS_MAX; i++) {
        bool unknown = node_export_unknown(node, i, &zone, &line);

        if (zone == NULL) {
            return;
        }
        if (unknown && !node->export_told[i]) {
            log_warn("daemon",
                     "msg=\"[export %s] is for a zone that there is not, or not yet\" "
                     "file=\"%s\" line=%u",
                     zone, node->config.path, line);
        } else if (!unknown && node->export_told[i]) {
            log_info("daemon", "msg=\"[export %s] is in use now\"", zone);
        }
        node->export_told[i] = unknown;
    }
}
