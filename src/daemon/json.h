/*
 * json: checked reading of cJSON objects, and 64-bit numbers as decimal strings.
 *
 * JSON numbers are doubles for most readers, so a 64-bit value travels as a string; a
 * plain number is accepted too where it is whole and below 2^53.
 */
#ifndef DAEMON_JSON_H
#define DAEMON_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Text from outside, or NULL: it does not parse, an object has a key twice (readers could
 * disagree about which one counts) or more than JSON_KEYS_MAX keys.
 */
#define JSON_KEYS_MAX 64u
cJSON *json_parse(const char *text, size_t len);

/* False if the key is absent or of another kind, or the text does not fit @cap. */
bool json_text(const cJSON *object, const char *key, char *out, size_t cap);
bool json_u64(const cJSON *object, const char *key, uint64_t *out);
/* Of a value itself, such as an array's. */
bool json_u64_of(const cJSON *item, uint64_t *out);
bool json_hex(const cJSON *object, const char *key, uint8_t *out, size_t len);
/* False if absent. */
bool json_flag(const cJSON *object, const char *key);

/* Add to @object; memory failures show when the whole is printed. */
void json_put_u64(cJSON *object, const char *key, uint64_t value);
void json_put_number(cJSON *object, const char *key, uint64_t value);
void json_put_hex(cJSON *object, const char *key, const uint8_t *bytes, size_t len);

/* Lower-case hex and back. @hex has 2 * len digits and a NUL. */
void hex_put(char *hex, const uint8_t *bytes, size_t len);
bool hex_get(const char *hex, uint8_t *bytes, size_t len);

#endif
