/*
 * NFSv3 arguments behind a good header and a good handle. Input: procedure, handle and
 * credential, what the zone answers (see fuzz_set_result), then the arguments that
 * follow the first handle.
 */
#include "fuzz_nfs3_backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nfs3_fh fh = {0};
    uint8_t length[4] = {0, 0, 0, NFS3_FH_BYTES};
    uint8_t bytes[NFS3_FH_BYTES];
    struct buf *record;
    size_t used;

    if (size < 2) {
        return 0;
    }
    used = 2 + fuzz_set_result(data + 2, size - 2);
    record = fuzz_header(NFS3_PROGRAM, data[0] % (NFSPROC3_COUNT + 1), (data[1] & 1) != 0,
                         size);
    fh.root = (data[1] & 2) != 0;
    if (!fh.root) {
        memcpy(fh.zone_id, fuzz_zone.id, sizeof fh.zone_id);
        fh.obj.ino = data[1] / 4 % 4;
    }
    nfs3_fh_encode(&fh, fuzz_handle_key(NULL), bytes);
    fuzz_append(record, length, sizeof length);
    fuzz_append(record, bytes, sizeof bytes);
    fuzz_append(record, data + used, size - used);
    fuzz_record(record);
    return 0;
}
