/* Exports: which clients a list means, and what of several rules holds. */
#include "lib/check.h"
#include "nfs/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char reason[EXPORT_REASON_MAX];

/* True if the network @text has the client at @address. */
static bool has(const char *text, const char *address)
{
    struct export_net net;
    struct export_net client;

    CHECK_INT(export_net_parse(text, &net, reason), 0);
    (void)export_net_client(address, &client);
    return export_net_has(&net, &client);
}

/* A bare address means one client, a prefix exactly those that share it: also where it
 * ends within a byte. */
static void prefixes(void)
{
    CHECK(has("192.0.2.7", "192.0.2.7"));
    CHECK(!has("192.0.2.7", "192.0.2.6"));
    CHECK(has("192.0.2.0/24", "192.0.2.255"));
    CHECK(!has("192.0.2.0/24", "192.0.3.0"));
    CHECK(has("10.16.0.0/12", "10.31.255.255"));
    CHECK(!has("10.16.0.0/12", "10.32.0.0"));
    CHECK(!has("10.16.0.0/12", "10.15.255.255"));
    CHECK(has("192.0.2.6/31", "192.0.2.7"));
    CHECK(!has("192.0.2.6/31", "192.0.2.8"));
    CHECK(has("0.0.0.0/0", "203.0.113.9"));
    CHECK(has("2001:db8::/32", "2001:db8:ffff::1"));
    CHECK(!has("2001:db8::/32", "2001:db9::1"));
    CHECK(has("2001:db8::/33", "2001:db8:7fff::1"));
    CHECK(!has("2001:db8::/33", "2001:db8:8000::1"));
    CHECK(has("2001:db8::1", "2001:0db8:0:0:0:0:0:1"));
    CHECK(has("fe80::/10", "fe80::1"));
}

/* Who knows exports(5) may write the mask in full. */
static void masks_in_full(void)
{
    CHECK(has("192.0.2.0/255.255.255.0", "192.0.2.200"));
    CHECK(!has("192.0.2.0/255.255.255.128", "192.0.2.200"));
    CHECK(has("0.0.0.0/0.0.0.0", "192.0.2.200"));
}

/* A client that came in over an IPv6 socket is matched by IPv4 rules, and a rule that is
 * written that way is one. */
static void mapped_addresses_are_ipv4(void)
{
    CHECK(has("192.0.2.0/24", "::ffff:192.0.2.9"));
    CHECK(has("192.0.2.9", "::ffff:c000:209"));
    CHECK(has("::ffff:192.0.2.0/120", "192.0.2.9"));
    CHECK(!has("::ffff:192.0.2.0/120", "192.0.3.9"));
    CHECK(has("::ffff:0:0/96", "198.51.100.1"));
}

/* The families do not meet: all of IPv6 is not all clients, and back. */
static void families_are_apart(void)
{
    CHECK(!has("::/0", "192.0.2.1"));
    CHECK(!has("::/0", "::ffff:192.0.2.1"));
    CHECK(has("::/0", "::1"));
    CHECK(!has("0.0.0.0/0", "2001:db8::1"));
    CHECK(has("*", "2001:db8::1"));
    CHECK(has("*", "192.0.2.1"));
}

/* A client without an address that can be read gets what everyone gets, no more. */
static void address_that_is_none(void)
{
    CHECK(has("*", "?"));
    CHECK(!has("0.0.0.0/0", "?"));
    CHECK(!has("::/0", ""));
}

/* Every typo is refused with a line that has the typo in it. */
static void bad_networks(void)
{
    static const char *const bad[] = {
        "",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.0/",
        "192.0.2.0/33",
        "192.0.2.0/-1",
        "192.0.2.0/2 4",
        "192.0.2.0/024x",
        "192.0.2.0/255.0.255.0",
        "192.0.2.0/24/24",
        "192.0.2.1/24",
        "2001:db8::/129",
        "2001:db8::/255.255.0.0",
        "2001:db8::1/64",
        "[2001:db8::]/32",
        "::ffff:192.0.2.1/96",
        "fe80::1%eth0",
        "client.example.org",
        "*.example.org",
        "@netgroup",
        "**",
        "0x0a.0.0.0/8",
        "1111111111111111111111111111111111111111111111111111111111111111111111111111",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct export_net net;

        reason[0] = '\0';
        CHECK(export_net_parse(bad[i], &net, reason) < 0);
        CHECK(strncmp(reason + 1, bad[i], strlen(bad[i]) < 60 ? strlen(bad[i]) : 60) ==
              0);
        CHECK(strchr(reason, '\n') == NULL);
    }
}

/* Whoever gives an address where a network belongs is told both. */
static void bits_behind_the_prefix(void)
{
    struct export_net net;

    CHECK(export_net_parse("192.0.2.77/26", &net, reason) < 0);
    CHECK(strstr(reason, "192.0.2.64/26") != NULL);
    CHECK(strstr(reason, "192.0.2.77 ") != NULL);
}

/* What is shown to people is the short form, and is taken again for the same. */
static void texts(void)
{
    static const char *const pairs[][2] = {
        {"*", "*"},
        {"192.0.2.7/32", "192.0.2.7"},
        {"192.0.2.0/255.255.255.0", "192.0.2.0/24"},
        {"2001:0DB8:0::/32", "2001:db8::/32"},
        {"::ffff:192.0.2.0/120", "192.0.2.0/24"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"::/0", "::/0"},
        {"1111:2222:3333:4444:5555:6666:7777:0/113",
         "1111:2222:3333:4444:5555:6666:7777:0/113"},
    };

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[EXPORT_NET_TEXT_MAX];
        struct export_net net;
        struct export_net again;

        CHECK_INT(export_net_parse(pairs[i][0], &net, reason), 0);
        export_net_text(&net, text);
        CHECK_STR(text, pairs[i][1]);
        CHECK_INT(export_net_parse(text, &again, reason), 0);
        CHECK(export_net_equal(&net, &again));
    }
}

/* A table from lines "zone|key|value", NULL-ended; the last one may fail. */
static struct export_table *table_of(const char *const *lines, int *rv)
{
    struct export_table *table = export_table_new();

    CHECK(table != NULL);
    *rv = 0;
    for (uint32_t i = 0; lines[i] != NULL; i++) {
        char copy[512];
        char *next = copy;
        struct export_pair pair = {.line = i + 1};

        CHECK_INT(*rv, 0);
        snprintf(copy, sizeof copy, "%s", lines[i]);
        pair.zone = strsep(&next, "|");
        pair.key = strsep(&next, "|");
        pair.value = next;
        *rv = export_table_set(table, &pair, reason);
    }
    return table;
}

/* What a client may do, as text. */
static const char *rule_text(const char *const *lines, const char *zone,
                             const char *address)
{
    static char text[80];
    static const char *const squashes[] = {"none", "root", "all"};
    struct nfs_export_rule rule;
    struct export_table *table;
    int rv;

    table = table_of(lines, &rv);
    CHECK_INT(rv, 0);
    export_rule(table, address, zone, &rule);
    export_table_free(table);
    if (!rule.allowed) {
        return "nothing";
    }
    snprintf(text, sizeof text, "%s %s %u:%u", rule.read_only ? "ro" : "rw",
             squashes[rule.squash], rule.anon_uid, rule.anon_gid);
    return text;
}

/* Without a word in the configuration, everyone who reaches the port has all but root. */
static void defaults(void)
{
    static const char *const lines[] = {NULL};

    CHECK_STR(rule_text(lines, "tier-1", "192.0.2.1"), "rw root 65534:65534");
    CHECK_STR(rule_text(lines, EXPORT_ROOT, "2001:db8::1"), "rw root 65534:65534");
}

/* A zone's section replaces what it names, and leaves the rest as [export] has it. */
static void a_zone_overrides_key_by_key(void)
{
    static const char *const lines[] = {
        "|clients|10.0.0.0/8",
        "|squash|all",
        "|anonuid|100",
        "|anongid|101",
        "tier-1|squash|none",
        "tier-2|clients|192.0.2.1",
        "tier-2|access|ro",
        "/|clients|192.0.2.0/24",
        NULL,
    };

    CHECK_STR(rule_text(lines, "other", "10.1.1.1"), "rw all 100:101");
    CHECK_STR(rule_text(lines, "other", "192.0.2.1"), "nothing");
    CHECK_STR(rule_text(lines, "tier-1", "10.1.1.1"), "rw none 100:101");
    CHECK_STR(rule_text(lines, "tier-2", "10.1.1.1"), "nothing");
    CHECK_STR(rule_text(lines, "tier-2", "192.0.2.1"), "ro all 100:101");
    CHECK_STR(rule_text(lines, EXPORT_ROOT, "10.1.1.1"), "nothing");
    CHECK_STR(rule_text(lines, EXPORT_ROOT, "192.0.2.9"), "rw all 100:101");
}

/* The longest prefix is the client's rule, wherever it stands in the list. */
static void the_longest_prefix_wins(void)
{
    static const char *const lines[] = {
        "|clients|10.0.0.0/8(ro) 10.1.0.0/16(rw) *(ro,all_squash) "
        "10.1.2.3(no_root_squash)",
        "|clients|0.0.0.0/0(rw,anonuid=5)",
        NULL,
    };

    CHECK_STR(rule_text(lines, "z", "10.9.9.9"), "ro root 65534:65534");
    CHECK_STR(rule_text(lines, "z", "10.1.9.9"), "rw root 65534:65534");
    CHECK_STR(rule_text(lines, "z", "10.1.2.3"), "rw none 65534:65534");
    CHECK_STR(rule_text(lines, "z", "192.0.2.1"), "rw root 5:65534");
    CHECK_STR(rule_text(lines, "z", "2001:db8::1"), "ro all 65534:65534");
}

/* Options beside a client beat the keys of their own section; a zone's key beats all that
 * [export] says, or "access = ro" would not mean it for the clients named there. */
static void sections_before_clients(void)
{
    static const char *const lines[] = {
        "|clients|10.0.0.1(rw,no_root_squash) *",
        "|access|ro",
        "archive|access|ro",
        "archive|squash|all_squash",
        "open|clients|10.0.0.1(ro,anongid=7) 10.0.0.2",
        "open|access|rw",
        NULL,
    };

    CHECK_STR(rule_text(lines, "z", "10.0.0.1"), "rw none 65534:65534");
    CHECK_STR(rule_text(lines, "z", "10.0.0.2"), "ro root 65534:65534");
    CHECK_STR(rule_text(lines, "archive", "10.0.0.1"), "ro all 65534:65534");
    CHECK_STR(rule_text(lines, "open", "10.0.0.1"), "ro root 65534:7");
    CHECK_STR(rule_text(lines, "open", "10.0.0.2"), "rw root 65534:65534");
    CHECK_STR(rule_text(lines, "open", "10.0.0.3"), "nothing");
}

/* As in exports(5), all_squash holds whatever is said of root. */
static void all_before_root(void)
{
    static const char *const lines[] = {
        "|clients|10.0.0.1(no_root_squash) 10.0.0.2(no_all_squash) "
        "10.0.0.3(no_root_squash,no_all_squash)",
        "|squash|all",
        NULL,
    };

    CHECK_STR(rule_text(lines, "z", "10.0.0.1"), "rw all 65534:65534");
    CHECK_STR(rule_text(lines, "z", "10.0.0.2"), "rw root 65534:65534");
    CHECK_STR(rule_text(lines, "z", "10.0.0.3"), "rw none 65534:65534");
}

/* A list of nobody is a word of its own: an empty one is more likely a mistake. */
static void nobody(void)
{
    static const char *const lines[] = {"|clients|none", "z|clients|*", NULL};

    CHECK_STR(rule_text(lines, "other", "10.0.0.1"), "nothing");
    CHECK_STR(rule_text(lines, "z", "10.0.0.1"), "rw root 65534:65534");
}

/* What showmount -e is told is the list that holds, and sections can be gone through. */
static void lists_can_be_shown(void)
{
    static const char *const lines[] = {"|clients|10.0.0.0/8(ro) 2001:db8::/32",
                                        "b|clients|none", "a|squash|root", NULL};
    char text[EXPORT_NET_TEXT_MAX];
    struct export_table *table;
    uint32_t line = 0;
    int rv;

    table = table_of(lines, &rv);
    CHECK(export_client(table, "a", 0, text));
    CHECK_STR(text, "10.0.0.0/8");
    CHECK(export_client(table, "a", 1, text));
    CHECK_STR(text, "2001:db8::/32");
    CHECK(!export_client(table, "a", 2, text));
    CHECK(!export_client(table, "b", 0, text));
    CHECK_STR(export_section(table, 0, &line), "");
    CHECK_STR(export_section(table, 1, &line), "a");
    CHECK_UINT(line, 3);
    CHECK_STR(export_section(table, 2, &line), "b");
    CHECK_PTR(export_section(table, 3, &line), NULL);
    export_table_free(table);
    table = export_table_new();
    CHECK(export_client(table, "a", 0, text));
    CHECK_STR(text, "*");
    CHECK(!export_client(table, "a", 1, text));
    export_table_free(table);
}

/* What is wrong in a list is said, and nothing is guessed: a space before the options
 * would in exports(5) have given them to everyone. */
static void bad_pairs(void)
{
    static const char *const bad[][2] = {
        {"|clients|10.0.0.0/8 (rw)", "'(rw)'"},
        {"|clients|10.0.0.1(rw", "'10.0.0.1(rw'"},
        {"|clients|10.0.0.1(rw)x", "'10.0.0.1(rw)x'"},
        {"|clients|10.0.0.1rw)", "'10.0.0.1rw)'"},
        {"|clients|10.0.0.1()", "''"},
        {"|clients|10.0.0.1(rw,)", "''"},
        {"|clients|10.0.0.1(sync)", "'sync'"},
        {"|clients|10.0.0.1(rw,ro)", "'ro'"},
        {"|clients|10.0.0.1(root_squash,no_root_squash)", "'no_root_squash'"},
        {"|clients|10.0.0.1(anonuid=x)", "'anonuid=x'"},
        {"|clients|10.0.0.1(anonuid=4294967295)", "'anonuid=4294967295'"},
        {"|clients|10.0.0.1,10.0.0.2", "'10.0.0.1,10.0.0.2'"},
        {"|clients|10.0.0.0/33", "'10.0.0.0/33'"},
        {"|clients|10.0.0.1 ::ffff:10.0.0.1", "10.0.0.1 is listed twice"},
        {"|clients|", "empty"},
        {"|clients|  ", "empty"},
        {"|clients|none 10.0.0.1", "'none'"},
        {"|squash|nobody", "squash"},
        {"|access|readonly", "access"},
        {"|anonuid|-2", "anonuid"},
        {"|anongid|", "anongid"},
        {"|sqaush|root", "'sqaush'"},
        {"z|path|/x", "[export z]"},
        {"/|squash|root", "[export /]"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *lines[] = {bad[i][0], NULL};
        int rv;

        reason[0] = '\0';
        export_table_free(table_of(lines, &rv));
        CHECK(rv < 0);
        CHECK(strstr(reason, bad[i][1]) != NULL);
    }
}

/* A key that is given twice is an error; only lists add up. */
static void keys_given_twice(void)
{
    static const char *const twice[] = {"|squash|root", "z|squash|all", "|squash|root",
                                        NULL};
    static const char *const none[] = {"|clients|10.0.0.1", "|clients|none", NULL};
    int rv;

    export_table_free(table_of(twice, &rv));
    CHECK(rv < 0);
    export_table_free(table_of(none, &rv));
    CHECK(rv < 0);
}

/* Neither lists nor sections grow without bound. */
static void bounds(void)
{
    struct export_table *table = export_table_new();
    char text[40];
    int rv = 0;

    for (uint32_t i = 0; i <= EXPORT_CLIENTS_MAX; i++) {
        CHECK_INT(rv, 0);
        snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
        rv = export_table_set(
            table, &(struct export_pair){.zone = "", .key = "clients", .value = text},
            reason);
    }
    CHECK(rv < 0);
    rv = 0;
    for (uint32_t i = 1; i <= EXPORT_SECTIONS_MAX; i++) {
        CHECK_INT(rv, 0);
        snprintf(text, sizeof text, "zone-%u", i);
        rv = export_table_set(
            table, &(struct export_pair){.zone = text, .key = "access", .value = "ro"},
            reason);
    }
    CHECK(rv < 0);
    export_table_free(table);
}

TEST_MAIN(CHECK_TEST(prefixes), CHECK_TEST(masks_in_full),
          CHECK_TEST(mapped_addresses_are_ipv4), CHECK_TEST(families_are_apart),
          CHECK_TEST(address_that_is_none), CHECK_TEST(bad_networks),
          CHECK_TEST(bits_behind_the_prefix), CHECK_TEST(texts), CHECK_TEST(defaults),
          CHECK_TEST(a_zone_overrides_key_by_key), CHECK_TEST(the_longest_prefix_wins),
          CHECK_TEST(sections_before_clients), CHECK_TEST(all_before_root),
          CHECK_TEST(nobody), CHECK_TEST(lists_can_be_shown), CHECK_TEST(bad_pairs),
          CHECK_TEST(keys_given_twice), CHECK_TEST(bounds))
