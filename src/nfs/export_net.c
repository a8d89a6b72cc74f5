#include "nfs/export_net.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    IPV4_BITS = 32,
    IPV6_BITS = 128,
    MAPPED_BITS = 96, /* ::ffff:0:0/96 holds the IPv4 addresses (RFC 4291 2.5.5.2). */
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static unsigned family_bits(enum export_family family)
{
    return family == EXPORT_IPV4 ? IPV4_BITS : IPV6_BITS;
}

/* An address alone, all of its bits counting. */
static bool parse_address(const char *text, struct export_net *out)
{
    *out = (struct export_net){.family = EXPORT_IPV4, .bits = IPV4_BITS};
    if (inet_pton(AF_INET, text, out->bytes) == 1) {
        return true;
    }
    *out = (struct export_net){.family = EXPORT_IPV6, .bits = IPV6_BITS};
    return inet_pton(AF_INET6, text, out->bytes) == 1;
}

/* An IPv4-mapped network becomes the IPv4 one. */
static void unmap(struct export_net *net)
{
    uint8_t four[4];

    if (net->family != EXPORT_IPV6 || net->bits < MAPPED_BITS ||
        memcmp(net->bytes, mapped_prefix, sizeof mapped_prefix) != 0) {
        return;
    }
    memcpy(four, net->bytes + sizeof mapped_prefix, sizeof four);
    *net = (struct export_net){.family = EXPORT_IPV4,
                               .bits = (uint8_t)(net->bits - MAPPED_BITS)};
    memcpy(net->bytes, four, sizeof four);
}

/* "24". False: no number of bits that the family has. */
static bool parse_bits(const char *text, unsigned max, uint8_t *bits)
{
    unsigned long value;
    char *end;

    if (!isdigit((unsigned char)text[0]) || strlen(text) > 3) {
        return false;
    }
    value = strtoul(text, &end, 10);
    if (*end != '\0' || value > max) {
        return false;
    }
    *bits = (uint8_t)value;
    return true;
}

/* "255.255.255.0": ones, then zeros. */
static bool parse_mask(const char *text, uint8_t *bits)
{
    struct in_addr raw;
    uint32_t mask;
    uint8_t n = 0;

    if (inet_pton(AF_INET, text, &raw) != 1) {
        return false;
    }
    mask = ntohl(raw.s_addr);
    while (n < IPV4_BITS && (mask & 0x80000000u) != 0) {
        mask <<= 1;
        n++;
    }
    *bits = n;
    return mask == 0;
}

/* Clears what the prefix does not cover; true if there was something. */
static bool cut(struct export_net *net)
{
    bool found = false;

    for (unsigned i = 0; i < sizeof net->bytes; i++) {
        unsigned kept = net->bits > 8 * i ? net->bits - 8 * i : 0;
        unsigned mask = kept >= 8 ? 0xffu : (0xff00u >> kept) & 0xffu;

        found = found || (net->bytes[i] & ~mask) != 0;
        net->bytes[i] = (uint8_t)(net->bytes[i] & mask);
    }
    return found;
}

int export_net_parse(const char *text, struct export_net *out,
                     char reason[EXPORT_REASON_MAX])
{
    const char *slash = strchr(text, '/');
    char address[EXPORT_NET_TEXT_MAX] = "";
    char good[EXPORT_NET_TEXT_MAX];
    struct export_net net;
    size_t len = slash == NULL ? strlen(text) : (size_t)(slash - text);

    if (strcmp(text, "*") == 0) {
        *out = (struct export_net){.family = EXPORT_ANY};
        return 0;
    }
    if (len < sizeof address) {
        memcpy(address, text, len);
    }
    if (!parse_address(address, &net)) {
        snprintf(reason, EXPORT_REASON_MAX,
                 "'%.60s' is no client: give an address such as 192.0.2.7, a network "
                 "such as 192.0.2.0/24 or 2001:db8::/32 (no names), or *",
                 text);
        return -EINVAL;
    }
    if (slash != NULL && !parse_bits(slash + 1, family_bits(net.family), &net.bits) &&
        (net.family != EXPORT_IPV4 || !parse_mask(slash + 1, &net.bits))) {
        snprintf(reason, EXPORT_REASON_MAX,
                 "'%.60s' is no network: behind the slash goes a number from 0 to %u",
                 text, family_bits(net.family));
        return -EINVAL;
    }
    if (cut(&net)) {
        export_net_text(&net, good);
        snprintf(reason, EXPORT_REASON_MAX,
                 "'%.60s' has bits behind its prefix: give %s for the network, %s for "
                 "the one client",
                 text, good, address);
        return -EINVAL;
    }
    unmap(&net);
    *out = net;
    return 0;
}

bool export_net_client(const char *address, struct export_net *out)
{
    if (!parse_address(address, out)) {
        *out = (struct export_net){.family = EXPORT_ANY};
        return false;
    }
    unmap(out);
    return true;
}

bool export_net_has(const struct export_net *net, const struct export_net *client)
{
    unsigned whole = net->bits / 8;
    unsigned rest = net->bits % 8;
    unsigned mask = (0xff00u >> rest) & 0xffu;

    if (net->family == EXPORT_ANY) {
        return true;
    }
    if (net->family != client->family || memcmp(net->bytes, client->bytes, whole) != 0) {
        return false;
    }
    return rest == 0 || (client->bytes[whole] & mask) == net->bytes[whole];
}

bool export_net_equal(const struct export_net *a, const struct export_net *b)
{
    return a->family == b->family && a->bits == b->bits &&
           memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void export_net_text(const struct export_net *net, char out[EXPORT_NET_TEXT_MAX])
{
    const char *text;
    size_t len;

    if (net->family == EXPORT_ANY) {
        strcpy(out, "*");
        return;
    }
    text = inet_ntop(net->family == EXPORT_IPV4 ? AF_INET : AF_INET6, net->bytes, out,
                     EXPORT_NET_TEXT_MAX);
    ASSERT(text != NULL);
    if (net->bits < family_bits(net->family)) {
        len = strlen(out);
        snprintf(out + len, EXPORT_NET_TEXT_MAX - len, "/%u", net->bits);
    }
}
