/*
 * Texts that others wrote: rows of the directory, which every node may write; requests to
 * join, invitations, the state folder's files and a dataset's marker. What is taken is within
 * every limit, and is taken again as it is written down. The first byte chooses.
 */
#include "base/assert.h"
#include "base/wire.h"
#include "daemon/config.h"
#include "daemon/directory.h"
#include "daemon/join.h"
#include "daemon/json.h"
#include "daemon/state_file.h"
#include "lib/simdisk.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

enum { PAIRS_BYTES = 1 << 17, STATE_MAX = 4096, MARKER_MAX = 30 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t pairs[PAIRS_BYTES];

/* Written down and read, a row is the same. */
static void check_zone(const struct directory_zone *zone)
{
    struct directory again = {0};
    char key[DIRECTORY_NAME_MAX + 8] = "zone/";
    char *text = directory_zone_json(zone);
    struct wire_enc enc = wire_enc(pairs, sizeof pairs);
    struct zone_kv pair = {.version = zone->version};

    ASSERT(text != NULL && zone->n_members <= DIRECTORY_MEMBERS_MAX &&
           zone->genesis.n_first > 0 && config_check_name(zone->slug) == 0);
    strcat(key, zone->slug);
    pair.key = slice_borrow(key, strlen(key));
    pair.value = slice_borrow(text, strlen(text));
    zone_kv_put(&enc, &pair);
    ASSERT(!enc.failed && directory_parse(&again, slice_borrow(pairs, enc.len), 1) == 0);
    ASSERT(again.n_zones == 1 && memcmp(&again.zones[0], zone, sizeof *zone) == 0);
    directory_deinit(&again);
    free(text);
}

/* Each line is a row: its key, a blank, its value. */
static void fuzz_rows(const uint8_t *data, size_t size)
{
    struct directory directory = {0};
    struct wire_enc enc = wire_enc(pairs, sizeof pairs);
    const uint8_t *end = data + size;

    while (data < end) {
        const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
        const uint8_t *line_end = newline == NULL ? end : newline;
        const uint8_t *blank = memchr(data, ' ', (size_t)(line_end - data));
        struct zone_kv pair = {.version = (uint64_t)(end - data)};

        if (blank != NULL && blank - data <= (ptrdiff_t)ZONE_KEY_MAX &&
            line_end - blank - 1 <= (ptrdiff_t)ZONE_VALUE_MAX) {
            pair.key = slice_borrow(data, (size_t)(blank - data));
            pair.value = slice_borrow(blank + 1, (size_t)(line_end - blank - 1));
            zone_kv_put(&enc, &pair);
        }
        data = newline == NULL ? end : newline + 1;
    }
    if (enc.failed || directory_parse(&directory, slice_borrow(pairs, enc.len), 1) != 0) {
        return;
    }
    for (uint32_t i = 0; i < directory.n_nodes; i++) {
        char *text = directory_node_json(&directory.nodes[i]);

        ASSERT(text != NULL && config_check_name(directory.nodes[i].name) == 0 &&
               directory_node(&directory, directory.nodes[i].peer.number) != NULL);
        free(text);
    }
    for (uint32_t i = 0; i < directory.n_zones; i++) {
        check_zone(&directory.zones[i]);
    }
    directory_deinit(&directory);
}

static void fuzz_join(const uint8_t *data, size_t size)
{
    static const uint8_t fingerprint[PEER_FINGERPRINT_BYTES];
    struct directory none = {0};
    struct join_request request;
    char error[CONFIG_ERROR_MAX];
    cJSON *json = json_parse((const char *)data, size);

    if (json != NULL && join_parse(json, fingerprint, &request)) {
        ASSERT(config_check_name(request.node.name) == 0);
        ASSERT(join_decide(&none, "10.0.0.1", &request, 1, error) == JOIN_REFUSED);
    }
    cJSON_Delete(json);
}

static void fuzz_token(const uint8_t *data, size_t size)
{
    char hex[2 * JOIN_TOKEN_HEX_MAX];
    char again[JOIN_TOKEN_HEX_MAX + 1];
    struct join_token token;
    size_t len = size < sizeof hex - 1 ? size : sizeof hex - 1;

    memcpy(hex, data, len);
    hex[len] = '\0';
    if (join_token_decode(hex, &token) && strlen(token.inviter.host) > 0) {
        join_token_encode(&token, again);
        ASSERT(join_token_decode(again, &token));
    }
}

/* The file, and at times its copy. */
static void fuzz_state(const uint8_t *data, size_t size)
{
    struct simdisk *sim = simdisk_new(0);
    struct disk *disk = simdisk_disk(sim);
    struct state_file file;
    size_t half = size / 2;

    ASSERT(disk_replace_file(disk, "f", data, half) == 0);
    ASSERT(disk_replace_file(disk, "f.copy", data + half, size - half) == 0);
    if (state_file_read(disk, "f", STATE_MAX, &file) == 0) {
        ASSERT(file.len <= STATE_MAX + 32 && strlen(file.text) == file.len);
        ASSERT(state_file_write(disk, "f", file.text) == 0);
        free(file.text);
        ASSERT(state_file_read(disk, "f", STATE_MAX + 32, &file) == 0 &&
               file.from == STATE_FILE_WHOLE);
        free(file.text);
    }
    simdisk_free(sim);
}

static void fuzz_marker(const uint8_t *data, size_t size)
{
    char mended[STORE_MARKER_MAX];
    char text[STORE_MARKER_MAX];
    size_t len =
        size < MARKER_MAX ? size : MARKER_MAX; /* Two bits of it are looked for. */

    memcpy(text, data, len);
    text[len] = '\0';
    if (store_marker_mend(text, len, mended)) {
        ASSERT(store_marker_checks(mended));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    switch (data[0] % 8) {
    case 0:
        fuzz_join(data + 1, size - 1);
        break;
    case 1:
        fuzz_token(data + 1, size - 1);
        break;
    case 2:
        fuzz_state(data + 1, size - 1);
        break;
    case 3:
        fuzz_marker(data + 1, size - 1);
        break;
    default:
        fuzz_rows(data + 1, size - 1);
        break;
    }
    return 0;
}
