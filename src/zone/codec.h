/*
 * codec: what the encodings of ops, results and entries share. Internal to zone/.
 * Formats: docs/formats/entry.md.
 */
#ifndef ZONE_CODEC_H
#define ZONE_CODEC_H

#include "base/outcome.h"
#include "base/wire.h"
#include "zone/op.h"

#define ZONE_NSEC 1000000000u /* Nanoseconds in a second. */

void zone_put_time(struct wire_enc *enc, struct zone_time time);
struct zone_time zone_get_time(struct wire_dec *dec);
void zone_put_attr(struct wire_enc *enc, const struct zone_attr *attr);
void zone_get_attr(struct wire_dec *dec, struct zone_attr *attr);

/* The op's version and type are ones that this version can decode. */
bool zone_op_supported(const void *bytes, size_t len);

/* Head and data in one buffer, as the request table keeps a result; and back, into
 * memory that *@result borrows from @bytes. 0, -ENOMEM, -EPROTO. */
int zone_reply_encode(const struct zone_result *result, struct buf **out);
int zone_reply_decode(struct slice bytes, struct zone_result *result);

#endif
