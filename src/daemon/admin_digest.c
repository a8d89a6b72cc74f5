/* zone-digest: for comparing members. */
#include "daemon/admin.h"

#include "daemon/json.h"

#include <string.h>

static void on_digest(void *arg, int rv, const struct host_digest *digest)
{
    struct admin_call *call = arg;
    cJSON *result;

    call->busy--;
    if (rv != 0) {
        admin_error(call, "no digest of '%s' here now (%s): try again when it is online",
                    call->slug, strerror(-rv));
        return;
    }
    result = cJSON_CreateObject();
    json_put_u64(result, "index", digest->index);
    json_put_hex(result, "digest", digest->bytes, sizeof digest->bytes);
    admin_done(call, result);
}

void admin_zone_digest(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    struct host *host = zone == NULL ? NULL : node_host(call->node, zone->id);

    if (zone == NULL) {
        return;
    }
    if (host == NULL) {
        admin_error(call, "this node is no member of '%s'", call->slug);
        return;
    }
    call->busy++;
    host_digest(host, on_digest, call);
}
