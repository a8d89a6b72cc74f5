#include "nfs/nfs3_cred.h"

void nfs3_cred_map(const struct rpc_header *header, const struct nfs_export_rule *rule,
                   struct zone_cred *cred)
{
    bool anonymous = header->anonymous || rule->squash == NFS_SQUASH_ALL ||
                     (rule->squash == NFS_SQUASH_ROOT && header->cred.uid == 0);

    if (anonymous) {
        *cred = (struct zone_cred){.uid = rule->anon_uid, .gid = rule->anon_gid};
        return;
    }
    *cred = header->cred;
    if (rule->squash != NFS_SQUASH_ROOT) {
        return;
    }
    /* Root's group is root's power too. */
    if (cred->gid == 0) {
        cred->gid = rule->anon_gid;
    }
    for (uint32_t i = 0; i < cred->n_groups; i++) {
        if (cred->groups[i] == 0) {
            cred->groups[i] = rule->anon_gid;
        }
    }
}
