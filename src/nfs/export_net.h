/*
 * export_net: which clients an address or a network in CIDR notation means.
 *
 * Pure: text in, bytes and answers out. An IPv4-mapped IPv6 address or network
 * (::ffff:192.0.2.7) is the IPv4 one that it holds, so that a client is the same client
 * whichever socket it came in by; "::/0" therefore holds no IPv4 client.
 */
#ifndef NFS_EXPORT_NET_H
#define NFS_EXPORT_NET_H

#include "nfs/backend.h"

#include <stdbool.h>
#include <stdint.h>

#define EXPORT_NET_TEXT_MAX NFS_CLIENT_TEXT_MAX
#define EXPORT_REASON_MAX 400u

enum export_family { EXPORT_ANY = 0, EXPORT_IPV4 = 4, EXPORT_IPV6 = 6 };

struct export_net {
    enum export_family family; /* EXPORT_ANY: "*", everyone. */
    uint8_t bits;              /* Leading ones that count; 0 for "*". */
    uint8_t bytes[16];         /* IPv4: the first four. The others are zero. */
};

/*
 * "*", an address, "192.0.2.0/24", "192.0.2.0/255.255.255.0" or "2001:db8::/32". Returns
 * 0, or -EINVAL with what is wrong, in one line, in @reason. Bits behind the prefix are
 * an error: who wrote 192.0.2.7/24 meant either the host or the network.
 */
int export_net_parse(const char *text, struct export_net *out,
                     char reason[EXPORT_REASON_MAX]);
/* A client's own address, as the socket gives it. False: it is none; only "*" has it. */
bool export_net_client(const char *address, struct export_net *out);
bool export_net_has(const struct export_net *net, const struct export_net *client);
bool export_net_equal(const struct export_net *a, const struct export_net *b);
/* The shortest text that export_net_parse takes for the same. */
void export_net_text(const struct export_net *net, char out[EXPORT_NET_TEXT_MAX]);

#endif
