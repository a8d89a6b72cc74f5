/* grapevine.conf: what is taken, and how what is wrong is told. */
#include "daemon/config.h"
#include "lib/check.h"

#include <stdio.h>
#include <string.h>

static struct config config;
static char error[CONFIG_ERROR_MAX];

static int load(const char *text)
{
    static char path[512];
    FILE *file;

    snprintf(path, sizeof path, "%s/grapevine.conf", check_tmpdir());
    file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK_INT(fclose(file), 0);
    error[0] = '\0';
    return config_load(path, &config, error);
}

/* The text does not load, and the one line that is said names the place and holds @what. */
static void refused(const char *text, const char *place, const char *what)
{
    CHECK(load(text) < 0);
    CHECK_PTR(config.exports, NULL);
    CHECK(strstr(error, place) != NULL);
    CHECK(strstr(error, what) != NULL);
    CHECK(strchr(error, '\n') == NULL);
}

static struct nfs_export_rule rule(const char *address, const char *zone)
{
    struct nfs_export_rule out;

    export_rule(config.exports, address, zone, &out);
    return out;
}

/* Sections of exports reach the table, a long list goes on in the lines below it, and
 * comments stay out of it. */
static void exports(void)
{
    CHECK_INT(load("[node]\n"
                   "name = orval\n"
                   "[export]\n"
                   "clients = 10.0.0.0/8(ro) ; the offices\n"
                   "  192.0.2.7\n"
                   "  # not this one: 192.0.2.8\n"
                   "  2001:db8::/32(no_root_squash)\n"
                   "anonuid = 7\n"
                   "[export tier-1]\n"
                   "access = ro\n"
                   "[export /]\n"
                   "clients = 192.0.2.7\n"),
              0);
    CHECK(rule("10.1.1.1", "z").read_only);
    CHECK_UINT(rule("10.1.1.1", "z").anon_uid, 7);
    CHECK(rule("192.0.2.7", "z").allowed);
    CHECK(!rule("192.0.2.7", "z").read_only);
    CHECK(rule("192.0.2.7", "tier-1").read_only);
    CHECK(!rule("192.0.2.8", "z").allowed);
    CHECK_INT(rule("2001:db8::1", "z").squash, NFS_SQUASH_NONE);
    CHECK(!rule("10.1.1.1", EXPORT_ROOT).allowed);
    config_deinit(&config);
}

/* A zone's name is as long as it may be, although inih would cut it: the rules would be
 * another zone's. */
static void long_zone_names(void)
{
    static char text[200];
    static char slug[CONFIG_NAME_MAX + 1];

    memset(slug, 'z', CONFIG_NAME_MAX);
    snprintf(text, sizeof text, "[export %s]\nclients = none\n", slug);
    CHECK_INT(load(text), 0);
    CHECK(!rule("10.1.1.1", slug).allowed);
    slug[CONFIG_NAME_MAX - 1] = '\0';
    CHECK(rule("10.1.1.1", slug).allowed);
    config_deinit(&config);
    snprintf(text, sizeof text, "[export %s%s]\nclients = none\n", slug, slug);
    refused(text, ".conf:1:", "unknown section");
}

/* What is wrong with an export is told with file and line, in one line. */
static void bad_exports(void)
{
    refused("[node]\n\n[export]\nclients = 10.0.0.1 10.0.0.0/33\n",
            ".conf:4:", "'10.0.0.0/33'");
    refused("[export]\nclients = 10.0.0.1\n  10.0.0.2 (ro)\n", ".conf:3:", "'(ro)'");
    refused("[export]\nsquash = root\nsquash = all\n", ".conf:3:", "twice");
    refused("[export]\nsquash = root\n all\n", ".conf:3:", "twice");
    refused("[export]\nclient = *\n", ".conf:2:", "'client'");
    refused("[export tier-1]\naccess = r\n", ".conf:2:", "give rw or ro");
    refused("[export Tier 1]\naccess = ro\n", ".conf:2:", "Tier 1");
    refused("[export ]\naccess = ro\n", ".conf:1:", "[export ]");
    refused("[export /]\nsquash = all\n", ".conf:2:", "[export /]");
}

/* A section that nobody knows is told where it begins, also if nothing is in it. */
static void bad_sections(void)
{
    refused("[node]\n[exprot]\n", ".conf:2:", "[exprot]");
    refused("[exports]\nclients = *\n", ".conf:1:", "[exports]");
    refused("[node]\nname = orval\n  [export]\nclients = none\n", ".conf:3:", "space");
}

/* inih gives the rest of a line that is too long out as another line: then a comment
 * could become a client. */
static void long_lines(void)
{
    static char text[1000];

    memset(text, 'x', sizeof text - 1);
    memcpy(text, "[export]\nclients = 10.0.0.1\n# ", 30);
    strcpy(text + 500, " *\n");
    refused(text, ".conf:3:", "bytes");
}

/* rpcbind is asked unless one says no. */
static void rpcbind(void)
{
    CHECK_INT(load("[node]\n"), 0);
    CHECK(config.rpcbind);
    config_deinit(&config);
    CHECK_INT(load("[listen]\nrpcbind = no\n"), 0);
    CHECK(!config.rpcbind);
    config_deinit(&config);
    refused("[listen]\nrpcbind = yes\n", ".conf:2:", "auto or no");
}

/* A node minds its machine's sleep unless one says no. */
static void sleep_of_the_machine(void)
{
    CHECK_INT(load("[node]\n"), 0);
    CHECK(config.sleep);
    config_deinit(&config);
    CHECK_INT(load("[node]\nsleep = ignore\n"), 0);
    CHECK(!config.sleep);
    config_deinit(&config);
    refused("[node]\nsleep = no\n", ".conf:2:", "hand-over or ignore");
}

/* Other nodes are told the listening address, unless another one is given. */
static void advertised_is_what_listens(void)
{
    CHECK_INT(load("[listen]\npeer = 192.0.2.7:2646\n"), 0);
    CHECK_STR(config.advertise.host, "192.0.2.7");
    CHECK_UINT(config.advertise.port, 2646);
    config_deinit(&config);
    CHECK_INT(load("[listen]\npeer = 0.0.0.0:2646\nadvertise = 192.0.2.8:12646\n"), 0);
    CHECK_STR(config.peer.host, "0.0.0.0");
    CHECK_STR(config.advertise.host, "192.0.2.8");
    CHECK_UINT(config.advertise.port, 12646);
    config_deinit(&config);
}

/* A wildcard leads nowhere: it is refused where it is configured, not by another node. */
static void wildcard_needs_an_address(void)
{
    refused("[listen]\npeer = 0.0.0.0:2646\n", ".conf", "advertise");
    refused("[listen]\npeer = [::]:2646\n", ".conf", "advertise");
    refused("[listen]\nadvertise = 0.0.0.0:2646\n", ".conf:2:", "advertise");
    refused("[listen]\nadvertise = nas.local:2646\n", ".conf:2:", "advertise");
    refused("[listen]\nadvertise = 192.0.2.7:0\n", ".conf:2:", "advertise");
    refused("[listen]\nadvertise = 192.0.2.7\n", ".conf:2:", "advertise");
}

/* A file that cannot be read is told by its name. */
static void file_that_is_not_there(void)
{
    CHECK(config_load("/nonexistent/grapevine.conf", &config, error) < 0);
    CHECK(strstr(error, "/nonexistent/grapevine.conf") != NULL);
    CHECK_PTR(config.exports, NULL);
}

TEST_MAIN(CHECK_TEST(exports), CHECK_TEST(long_zone_names), CHECK_TEST(bad_exports),
          CHECK_TEST(bad_sections), CHECK_TEST(long_lines), CHECK_TEST(rpcbind),
          CHECK_TEST(sleep_of_the_machine), CHECK_TEST(advertised_is_what_listens),
          CHECK_TEST(wildcard_needs_an_address), CHECK_TEST(file_that_is_not_there))
