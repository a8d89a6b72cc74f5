/* MOUNTv3 arguments behind a good header. Input: procedure, export rule, what the zone
 * answers, then the arguments. */
#include "fuzz_nfs3_backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf *record;
    size_t used;

    if (size < 2) {
        return 0;
    }
    used = 2 + fuzz_set_result(data + 2, size - 2);
    fuzz_rule.allowed = (data[1] & 1) == 0;
    record = fuzz_header(MNT3_PROGRAM, data[0] % (MOUNTPROC3_COUNT + 1), true, size);
    fuzz_append(record, data + used, size - used);
    fuzz_record(record);
    return 0;
}
