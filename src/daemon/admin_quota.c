/* zone-set-quota: the zone itself counts; its row in the directory is for lists. */
#include "daemon/admin.h"

#define MAJORITY_HINT "is a majority of the nodes reachable?"

bool admin_quota_parse(struct admin_call *call, uint64_t *out)
{
    char text[64];

    if (!admin_arg(call, "quota", text, sizeof text)) {
        return false;
    }
    if (config_parse_bytes(text, out) != 0 || *out < 1u << 20 || *out > 1ull << 60) {
        admin_error(call,
                    "'%s' is no quota: give a size such as 512GB or 4TiB, at least "
                    "1 MiB",
                    text);
        return false;
    }
    return true;
}

/* For lists: the zone itself has it already. */
static void quota_row(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    struct directory_zone row;

    if (zone != NULL) {
        row = *zone;
        row.quota_bytes = call->bytes;
        call->phase = 2;
        admin_row_write(call, &row);
    }
}

void admin_zone_quota(struct admin_call *call)
{
    struct zone_op op = {.type = ZONE_OP_SET_QUOTA};
    const struct directory_zone *zone;

    if (call->phase == 0) {
        zone = admin_zone(call);
        if (zone == NULL || !admin_quota_parse(call, &call->bytes)) {
            return;
        }
        op.offset = call->bytes;
        call->phase = 1;
        admin_op(call, zone->id, &op);
    } else if (call->phase == 1 && call->outcome != 0) {
        admin_error(call, "the zone did not take the quota (%s): " MAJORITY_HINT,
                    admin_outcome(call->outcome));
    } else if (call->phase == 1) {
        quota_row(call);
    } else if (call->outcome == OUT_MISMATCH) {
        /* Another change of the row came between, perhaps of its members. */
        if (!admin_late(call, "the quota is set, but the directory does not show it: "
                              "set it again") &&
            admin_again(call)) {
            quota_row(call);
        }
    } else if (admin_row_written(call)) {
        admin_done(call, NULL);
    }
}
