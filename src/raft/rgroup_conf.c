#include "raft/rgroup_impl.h"

#include "base/assert.h"
#include "base/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <raft.h>
#include <stdio.h>
#include <string.h>

/*
 * The engine's encoding: u8 version, u64 servers, each {u64 id, its address as a string
 * with its terminating zero, u8 role}, then zeros up to a multiple of 8. We know members
 * by their id alone, so the address is the id in decimal.
 */
enum {
    CONF_VERSION = 1,
    CONF_ALIGN = 8,
    CONF_ADDRESS_BYTES = 24, /* 20 digits of a 64-bit id, and the zero. */
};

static size_t address_of(uint64_t id, char out[CONF_ADDRESS_BYTES])
{
    return (size_t)snprintf(out, CONF_ADDRESS_BYTES, "%" PRIu64, id) + 1;
}

int conf_engine_role(enum rgroup_role role, bool spares)
{
    switch (role) {
    case RGROUP_VOTER:
        return RAFT_VOTER;
    case RGROUP_STANDBY:
        return RAFT_STANDBY;
    }
    return spares ? RAFT_SPARE : -1;
}

static bool role_valid(uint8_t role, bool spares)
{
    return role == RAFT_VOTER || role == RAFT_STANDBY || (spares && role == RAFT_SPARE);
}

const struct rgroup_server *conf_find(const struct rgroup_conf *conf, uint64_t id)
{
    uint32_t i;

    for (i = 0; i < conf->n; i++) {
        if (conf->servers[i].id == id) {
            return &conf->servers[i];
        }
    }
    return NULL;
}

uint32_t conf_voters(const struct rgroup_conf *conf)
{
    uint32_t n = 0;
    uint32_t i;

    for (i = 0; i < conf->n; i++) {
        n += conf->servers[i].role == RGROUP_VOTER;
    }
    return n;
}

bool conf_votes(const struct rgroup_conf *conf, uint64_t id)
{
    const struct rgroup_server *server = conf_find(conf, id);

    return server != NULL && server->role == RGROUP_VOTER;
}

int rgroup_conf_encode(const struct rgroup_conf *conf, uint8_t *out, size_t cap,
                       size_t *len)
{
    struct wire_enc enc = wire_enc(out, cap);
    char address[CONF_ADDRESS_BYTES];
    uint32_t i;

    if (conf->n == 0 || conf->n > RGROUP_MEMBERS_MAX) {
        return -EINVAL;
    }
    wire_put_u8(&enc, CONF_VERSION);
    wire_put_u64(&enc, conf->n);
    for (i = 0; i < conf->n; i++) {
        const struct rgroup_server *server = &conf->servers[i];
        size_t address_len = address_of(server->id, address);
        int role = conf_engine_role(server->role, false);

        if (server->id == 0 || role < 0 || conf_find(conf, server->id) != server) {
            return -EINVAL;
        }
        wire_put_u64(&enc, server->id);
        wire_put_bytes(&enc, address, address_len);
        wire_put_u8(&enc, (uint8_t)role);
    }
    while (!enc.failed && enc.len % CONF_ALIGN != 0) {
        wire_put_u8(&enc, 0);
    }
    if (enc.failed) {
        return -ENOBUFS;
    }
    *len = enc.len;
    return 0;
}

/* Decode strictly; with @out NULL only check. Servers have distinct ids. */
static bool decode(const uint8_t *bytes, size_t len, bool spares, struct rgroup_conf *out)
{
    struct wire_dec dec = wire_dec(bytes, len);
    uint64_t seen[RGROUP_MEMBERS_MAX];
    char address[CONF_ADDRESS_BYTES];
    uint64_t n;
    uint64_t i;
    uint64_t k;

    if (bytes == NULL || len == 0 || len > RGROUP_CONF_BYTES_MAX ||
        len % CONF_ALIGN != 0 || wire_get_u8(&dec) != CONF_VERSION) {
        return false;
    }
    n = wire_get_u64(&dec);
    if (dec.failed || n == 0 || n > RGROUP_MEMBERS_MAX) {
        return false;
    }
    for (i = 0; i < n; i++) {
        uint64_t id = wire_get_u64(&dec);
        size_t address_len = address_of(id, address);
        const uint8_t *found = wire_get_view(&dec, address_len);
        uint8_t role = wire_get_u8(&dec);

        if (dec.failed || id == 0 || memcmp(found, address, address_len) != 0 ||
            !role_valid(role, spares)) {
            return false;
        }
        for (k = 0; k < i; k++) {
            if (seen[k] == id) {
                return false;
            }
        }
        seen[i] = id;
        if (out != NULL) {
            out->servers[i].id = id;
            out->servers[i].role = role == RAFT_VOTER ? RGROUP_VOTER : RGROUP_STANDBY;
        }
    }
    if (out != NULL) {
        out->n = (uint32_t)n;
    }
    if (len - dec.at >= CONF_ALIGN) {
        return false;
    }
    while (dec.at < len) {
        if (wire_get_u8(&dec) != 0) {
            return false;
        }
    }
    return true;
}

int rgroup_conf_decode(const uint8_t *bytes, size_t len, struct rgroup_conf *out)
{
    struct rgroup_conf conf;

    if (!decode(bytes, len, false, &conf)) {
        return -EINVAL;
    }
    out->n = conf.n;
    memcpy(out->servers, conf.servers, conf.n * sizeof conf.servers[0]);
    return 0;
}

bool conf_valid(const uint8_t *bytes, size_t len, bool spares)
{
    return decode(bytes, len, spares, NULL);
}

int conf_to_engine(const uint8_t *bytes, size_t len, struct raft_configuration *out)
{
    struct raft_buffer buffer = {.base = (void *)(uintptr_t)bytes, .len = len};
    int rv;

    rv = raft_configuration_decode(&buffer, out);
    ASSERT(rv == 0 || rv == RAFT_NOMEM); /* The bytes were checked. */
    return rv == 0 ? 0 : -ENOMEM;
}

void conf_from_engine(const struct raft_configuration *from, struct rgroup_conf *out)
{
    unsigned i;

    ASSERT(from->n <= RGROUP_MEMBERS_MAX);
    out->n = from->n;
    for (i = 0; i < from->n; i++) {
        out->servers[i].id = from->servers[i].id;
        out->servers[i].role =
            from->servers[i].role == RAFT_VOTER ? RGROUP_VOTER : RGROUP_STANDBY;
    }
}

int conf_engine_add(struct raft_configuration *conf, uint64_t id, int role)
{
    char address[CONF_ADDRESS_BYTES];

    (void)address_of(id, address);
    return raft_configuration_add(conf, id, address, role);
}
