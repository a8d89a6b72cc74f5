#include "daemon/json.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX_MAX 64u

void hex_put(char *hex, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[2 * len] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_get(const char *hex, uint8_t *bytes, size_t len)
{
    if (strlen(hex) != 2 * len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(hex[2 * i]);
        int low = hex_digit(hex[2 * i + 1]);

        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* cJSON bounds the depth (CJSON_NESTING_LIMIT). */
static bool keys_differ(const cJSON *json)
{
    uint32_t n = 0;

    for (const cJSON *item = json->child; item != NULL; item = item->next) {
        if (cJSON_IsObject(json) && ++n > JSON_KEYS_MAX) {
            return false;
        }
        for (const cJSON *other = json->child; cJSON_IsObject(json) && other != item;
             other = other->next) {
            if (strcmp(other->string, item->string) == 0) {
                return false;
            }
        }
        if (!keys_differ(item)) {
            return false;
        }
    }
    return true;
}

cJSON *json_parse(const char *text, size_t len)
{
    cJSON *json = cJSON_ParseWithLength(text, len);

    if (json != NULL && !keys_differ(json)) {
        cJSON_Delete(json);
        json = NULL;
    }
    return json;
}

bool json_text(const cJSON *object, const char *key, char *out, size_t cap)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    if (!cJSON_IsString(item) || strlen(item->valuestring) >= cap) {
        return false;
    }
    strcpy(out, item->valuestring);
    return true;
}

bool json_u64(const cJSON *object, const char *key, uint64_t *out)
{
    return json_u64_of(cJSON_GetObjectItemCaseSensitive(object, key), out);
}

bool json_u64_of(const cJSON *item, uint64_t *out)
{
    char *end;

    if (cJSON_IsNumber(item)) {
        double value = item->valuedouble;

        if (!(value >= 0 && value < 9007199254740992.0) ||
            (double)(uint64_t)value < value) {
            return false;
        }
        *out = (uint64_t)value;
        return true;
    }
    if (!cJSON_IsString(item) || !isdigit((unsigned char)item->valuestring[0])) {
        return false;
    }
    errno = 0;
    *out = strtoull(item->valuestring, &end, 10);
    return errno == 0 && *end == '\0';
}

bool json_hex(const cJSON *object, const char *key, uint8_t *out, size_t len)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsString(item) && hex_get(item->valuestring, out, len);
}

bool json_flag(const cJSON *object, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key));
}

void json_put_u64(cJSON *object, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, value);
    cJSON_AddStringToObject(object, key, text);
}

void json_put_number(cJSON *object, const char *key, uint64_t value)
{
    cJSON_AddNumberToObject(object, key, (double)value);
}

void json_put_hex(cJSON *object, const char *key, const uint8_t *bytes, size_t len)
{
    char text[2 * HEX_MAX + 1];

    if (len <= HEX_MAX) {
        hex_put(text, bytes, len);
        cJSON_AddStringToObject(object, key, text);
    }
}
