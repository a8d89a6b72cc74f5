/*
 * A connection's bytes: record marking, then whatever the records are. The first byte
 * says in what pieces they arrive. However hostile: bounded memory, one reply per call.
 */
#include "fuzz_nfs3_backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rpc_record record = {0};
    size_t piece;

    if (size < 1) {
        return 0;
    }
    piece = data[0] == 0 ? size : data[0];
    fuzz_set_result(NULL, 0);
    for (size_t at = 1; at < size;) {
        size_t n = piece > size - at ? size - at : piece;
        struct buf *out = NULL;
        size_t used = 0;

        if (rpc_record_feed(&record, data + at, n, &used, &out) != 0) {
            break;
        }
        ASSERT(used > 0 && used <= n);
        ASSERT(record.buf == NULL || record.buf->cap <= RPC_RECORD_MAX);
        at += used;
        if (out != NULL) {
            fuzz_record(out);
        }
    }
    rpc_record_deinit(&record);
    return 0;
}
