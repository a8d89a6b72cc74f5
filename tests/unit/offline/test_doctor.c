/* What the doctor concludes from what it saw, and that it concludes nothing from what it
 * did not see. */
#include "lib/check.h"
#include "offline/doctor.h"

#include <stdio.h>
#include <string.h>

static struct doctor_report report;

/* The ids found in @json, in order, with a blank behind each. */
static const char *ids(const char *json)
{
    static char out[4096];
    cJSON *facts = cJSON_Parse(json);

    CHECK(facts != NULL);
    doctor_judge(facts, &report);
    cJSON_Delete(facts);
    out[0] = '\0';
    for (uint32_t i = 0; i < report.n; i++) {
        strcat(out, report.findings[i].id);
        strcat(out, " ");
    }
    return out;
}

/* A daemon that answers, with @more in its answer. */
static const char *answered(const char *more)
{
    static char json[8192];

    snprintf(json, sizeof json,
             "{\"config_error\":\"\",\"answers\":true,\"daemon\":{\"self\":{\"version\":"
             "\"1\",\"initialised\":true,\"flusher\":true,\"files_max\":\"65536\"}%s}}",
             more);
    return ids(json);
}

static void nothing_known_nothing_found(void)
{
    CHECK_STR(ids("{}"), "");
    CHECK_STR(answered(""), "");
    CHECK(doctor_healthy(&report));
    CHECK_STR(ids("{\"answers\":true,\"daemon\":[],\"folders\":{\"a\":1},\"datasets\":7,"
                  "\"events\":\"x\"}"),
              "");
}

/* A dead daemon: its last refusal and what has its port; a live one that is silent is
 * another matter. */
static void dead_and_silent(void)
{
    CHECK_STR(
        ids("{\"answers\":false,\"held\":false,\"no_answer\":\"x\",\"last_event\":"
            "{\"kind\":\"start-refused\",\"words\":\"w\"},\"ports\":[{\"taken\":true},"
            "{\"taken\":false}]}"),
        "address-missing daemon-dead port-taken start-refused ");
    CHECK_STR(ids("{\"answers\":false,\"held\":true,\"ports\":[]}"), "daemon-silent ");
    CHECK(!doctor_healthy(&report));
}

static void folders(void)
{
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"fault\":\"x\"}]}"),
              "pool-missing ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"state\",\"fault\":\"x\"}]}"),
              "state-folder ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"hangs\":true}]}"), "pool-hangs ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"read_only\":true}]}"),
              "pool-read-only ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"writable\":false}]}"),
              "pool-broken ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"sync_fault\":\"Input/output "
                  "error\"}]}"),
              "pool-broken ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"sync_us\":700000}]}"),
              "pool-slow ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"sync_us\":9000}]}"), "");
}

/* Full is where members stop (64 MiB, or a quarter of a small disk); low is before. */
static void room(void)
{
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"free_bytes\":\"60000000\","
                  "\"total_bytes\":\"1000000000000\"}]}"),
              "pool-full ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"free_bytes\":\"1000000000\","
                  "\"total_bytes\":\"1000000000000\"}]}"),
              "pool-low ");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"free_bytes\":\"3000000000\","
                  "\"total_bytes\":\"1000000000000\"}]}"),
              "");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"free_bytes\":\"20000000\","
                  "\"total_bytes\":\"64000000\"}]}"),
              "");
}

/* Journals on a disk that turns are worth a word, unless the pool has a folder for them. */
static void journals_on_disks_that_turn(void)
{
    CHECK_STR(
        ids("{\"folders\":[{\"what\":\"pool\",\"pool\":\"a\",\"rotational\":true}]}"),
        "journal-on-hdd ");
    CHECK(doctor_healthy(&report));
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"pool\":\"a\",\"rotational\":true},"
                  "{\"what\":\"journal\",\"pool\":\"a\",\"rotational\":false}]}"),
              "");
    CHECK_STR(ids("{\"folders\":[{\"what\":\"pool\",\"pool\":\"a\",\"rotational\":false},"
                  "{\"what\":\"journal\",\"pool\":\"a\",\"rotational\":true}]}"),
              "journal-on-hdd ");
}

static void datasets(void)
{
    static const struct {
        const char *marker;
        const char *found;
    } rows[] = {{"ok", ""},
                {"missing", "dataset-missing "},
                {"no-pool", "dataset-missing "},
                {"damaged", "dataset-damaged "},
                {"unreadable", "pool-broken "},
                {"other-version", "dataset-version "},
                {"rotten", "dataset-rotten "},
                {"other-zone", "dataset-foreign "}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[256];

        snprintf(json, sizeof json,
                 "{\"datasets\":[{\"zone\":\"z\",\"marker\":\"%s\",\"ballast\":true,"
                 "\"journal_there\":true}]}",
                 rows[i].marker);
        CHECK_STR(ids(json), rows[i].found);
    }
    CHECK_STR(ids("{\"datasets\":[{\"marker\":\"ok\",\"ballast\":false,"
                  "\"journal_there\":false}]}"),
              "journal-missing ballast-missing ");
}

static void own_zones(void)
{
    CHECK_STR(answered(",\"zones\":[{\"zone\":\"z\",\"state\":\"online\"}]"), "");
    CHECK_STR(answered(",\"zones\":[{\"zone\":\"z\",\"state\":\"offline\"}]"),
              "zone-offline ");
    CHECK_STR(answered(",\"zones\":[{\"zone\":\"z\",\"state\":\"full\"}]"), "zone-full ");
    CHECK_STR(
        answered(",\"zones\":[{\"zone\":\"z\",\"state\":\"failed\",\"reason\":\"r\"},"
                 "{\"zone\":\"y\",\"state\":\"no-data\"}]"),
        "zone-failed zone-no-data ");
    CHECK_STR(answered(",\"zones\":[{\"zone\":\"z\",\"state\":\"catching-up\","
                       "\"sync_waits_ms\":9000}]"),
              "disk-waits zone-catching-up ");
    CHECK_STR(answered(",\"zones\":[{\"zone\":\"z\",\"unreadable_entry\":\"0\"},"
                       "{\"zone\":\"y\",\"unreadable_entry\":\"812\"}]"),
              "entry-unreadable ");
    CHECK(strstr(report.findings[0].what, "zone y: entry 812 ") != NULL);
    CHECK_STR(answered(",\"zones\":[{\"zone\":\"z\",\"sync_worst_us\":1500000}]"),
              "disk-slow ");
}

#define MEMBER(node, up) \
    "{\"node\":\"" node "\",\"role\":\"voter\",\"up\":" up ",\"lag\":\"0\"}"

/* Of three voters one missing leaves no spare; of five it does. */
static void spare_votes(void)
{
    CHECK_STR(
        answered(",\"status\":{\"zones\":[{\"slug\":\"z\",\"members\":[" MEMBER(
            "a",
            "true") "," MEMBER("b",
                               "true") "," MEMBER("c",
                                                  "false") "]}]},\"peers\":[{\"name\":"
                                                           "\"b\",\"host\":"
                                                           "\"10.0.0.2\"},{\"name\":"
                                                           "\"c\",\"host\":\"10.0.0.3\","
                                                           "\"since_ns\":"
                                                           "\"1764100000000000000\"}]"),
        "member-missing zone-no-spare ");
    CHECK(strstr(report.findings[0].what, "since 2025-11-25 19:46:40 UTC") != NULL);
    /* Not since the time when it came. */
    CHECK_STR(answered(",\"status\":{\"zones\":[{\"slug\":\"z\",\"members\":[" MEMBER(
                  "b", "false") "]}]},\"peers\":[{\"name\":\"b\",\"up\":true,"
                                "\"since_ns\":\"1764100000000000000\"}]"),
              "member-missing zone-one-member ");
    CHECK(strstr(report.findings[0].what, "does not answer, just now") != NULL);
    CHECK_STR(
        answered(
            ",\"status\":{\"zones\":[{\"slug\":\"z\",\"members\":[" MEMBER("a", "true") "," MEMBER(
                "b",
                "true") "," MEMBER("c",
                                   "true") "," MEMBER("d",
                                                      "true") "," MEMBER("e",
                                                                         "false") "]}]},"
                                                                                  "\"peer"
                                                                                  "s\":[{"
                                                                                  "\"name"
                                                                                  "\":"
                                                                                  "\"b\","
                                                                                  "\"host"
                                                                                  "\":"
                                                                                  "\"10."
                                                                                  "0.0."
                                                                                  "2\"}"
                                                                                  "]"),
        "member-missing ");
}

static void member_counts(void)
{
    CHECK_STR(answered(",\"status\":{\"zones\":[{\"slug\":\"z\",\"members\":[" MEMBER(
                  "a", "true") "]}]}"),
              "zone-one-member ");
    CHECK(doctor_healthy(&report));
    CHECK_STR(
        answered(",\"status\":{\"zones\":[{\"slug\":\"z\",\"members\":[" MEMBER(
            "a", "true") "," MEMBER("b",
                                    "true") "]}]},\"peers\":[{"
                                            "\"name\":\"b\",\"host\":\"127.0.0.2\"}]"),
        "zone-one-machine zone-two-members ");
    CHECK_STR(
        answered(",\"status\":{\"zones\":[{\"slug\":\"z\",\"state\":\"remote\","
                 "\"leader\":\"\",\"quota_bytes\":\"100\",\"used_bytes\":\"96\"}]}"),
        "zone-no-leader zone-quota ");
}

static void peers(void)
{
    CHECK_STR(answered(",\"peers\":[{\"name\":\"b\",\"up\":true,\"version\":\"1\","
                       "\"clock_ahead_ms\":4000}]"),
              "");
    CHECK_STR(answered(",\"peers\":[{\"name\":\"b\",\"up\":false,\"fault\":\"f\"},"
                       "{\"name\":\"c\",\"up\":true,\"version\":\"2\","
                       "\"clock_ahead_ms\":-6000},{\"name\":\"d\",\"clock_ahead_ms\":"
                       "61000}]"),
              "clock-far-off clock-off peer-down version-differs ");
    CHECK(strstr(report.findings[1].what, "node c is 6 s behind") != NULL);
}

/* Who may not ask is told that, not that the daemon is dead and the pools are broken. */
static void not_allowed(void)
{
    CHECK_STR(ids("{\"answers\":false,\"denied\":true,\"held\":false,\"folders\":["
                  "{\"what\":\"pool\",\"writable\":false}]}"),
              "not-allowed ");
    CHECK_STR(ids("{\"answers\":false,\"denied\":false,\"held\":false}"), "daemon-dead ");
}

/* Where nobody at all is reached, that is the first thing to know. */
static void alone(void)
{
    CHECK_STR(answered(",\"peers\":[{\"name\":\"b\",\"up\":false},"
                       "{\"name\":\"c\",\"up\":false}]"),
              "alone peer-down peer-down ");
    CHECK_STR(answered(",\"peers\":[{\"name\":\"b\",\"up\":false},"
                       "{\"name\":\"c\",\"up\":true}]"),
              "peer-down ");
    CHECK_STR(answered(",\"peers\":[{\"name\":\"b\",\"up\":false}]"), "peer-down ");
}

/* A right that is missing matters where its own zones are mounted. */
static void rights(void)
{
    CHECK_STR(ids("{\"answers\":true,\"daemon\":{\"self\":{\"flusher\":false,"
                  "\"lock_wanted\":true,\"locked\":false,\"rpcbind\":\"refused\","
                  "\"files_max\":\"1024\",\"file_size_limited\":true}}}"),
              "file-size-limit few-files rpcbind-refused memory-not-locked no-flusher ");
    CHECK_STR(ids("{\"answers\":true,\"own_mounts\":[\"/mnt\"],\"daemon\":{\"self\":{"
                  "\"flusher\":false}}}"),
              "no-flusher-mounted ");
}

/* Why a node leads nothing; and that one would not hear in time. Where there is no logind,
 * or nobody wants to know, there is nothing to say. */
static void machine_that_sleeps(void)
{
    static const char *const words[] = {"leaving", "left",   "refused", "ready",
                                        "asking",  "absent", "unused"};
    static const char *const found[] = {
        "sleep-begins ", "sleep-begins ", "sleep-untold ", "", "", "", ""};
    char facts[128];

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        snprintf(facts, sizeof facts,
                 "{\"answers\":true,\"daemon\":{\"self\":{\"sleep\":\"%s\"}}}", words[i]);
        CHECK_STR(ids(facts), found[i]);
    }
}

static void events_and_exports(void)
{
    CHECK_STR(ids("{\"events\":{\"block-healed\":2,\"recovery\":1},"
                  "\"open_root_exports\":[\"tier-1\"]}"),
              "blocks-bad export-open-root crashed ");
    CHECK_STR(ids("{\"events\":{\"entry-bad\":1}}"), "blocks-bad ");
    CHECK_STR(ids("{\"events\":{\"recovery\":3,\"slow-disk\":1,\"quarantine\":1}}"),
              "crashes was-slow was-quarantined ");
    CHECK_STR(ids("{\"events\":{\"state-healed\":1}}"), "state-rotten ");
}

/* A quarantine that is over is history; one that is not is an error, also where nobody but
 * zones.json says so. */
static void quarantine(void)
{
    CHECK_STR(ids("{\"answers\":true,\"daemon\":{\"zones\":[{\"zone\":\"z\",\"state\":"
                  "\"failed\",\"quarantined\":true},{\"zone\":\"y\",\"state\":\"online\","
                  "\"quarantined\":false}]}}"),
              "quarantined zone-failed ");
    CHECK(strstr(report.findings[0].what, "zone z") != NULL);
    CHECK_STR(ids("{\"answers\":true,\"datasets\":[{\"zone\":\"z\",\"marker\":\"ok\","
                  "\"lost\":true}]}"),
              "");
    CHECK_STR(ids("{\"answers\":false,\"held\":true,\"datasets\":[{\"zone\":\"z\","
                  "\"marker\":\"ok\",\"lost\":true}]}"),
              "daemon-silent quarantined ");
}

/* However much is wrong, the report is bounded and says what it left out. */
static void bounded(void)
{
    cJSON *facts = cJSON_CreateObject();
    cJSON *all = cJSON_AddArrayToObject(facts, "folders");

    for (uint32_t i = 0; i < DOCTOR_FINDINGS_MAX + 5; i++) {
        cJSON *folder = cJSON_CreateObject();

        cJSON_AddBoolToObject(folder, "hangs", true);
        cJSON_AddItemToArray(all, folder);
    }
    doctor_judge(facts, &report);
    cJSON_Delete(facts);
    CHECK_INT(report.n, DOCTOR_FINDINGS_MAX);
    CHECK_INT(report.left_out, 5);
}

/* Ids are the runbook's headings: each once, of small letters and hyphens. */
static void ids_are_good(void)
{
    const char *id;

    for (uint32_t i = 0; (id = doctor_id(i)) != NULL; i++) {
        CHECK(strspn(id, "abcdefghijklmnopqrstuvwxyz-") == strlen(id) && id[0] != '\0');
        for (uint32_t j = 0; j < i; j++) {
            CHECK(strcmp(id, doctor_id(j)) != 0);
        }
    }
}

TEST_MAIN(CHECK_TEST(nothing_known_nothing_found), CHECK_TEST(dead_and_silent),
          CHECK_TEST(folders), CHECK_TEST(room), CHECK_TEST(journals_on_disks_that_turn),
          CHECK_TEST(datasets), CHECK_TEST(own_zones), CHECK_TEST(spare_votes),
          CHECK_TEST(member_counts), CHECK_TEST(peers), CHECK_TEST(alone),
          CHECK_TEST(not_allowed), CHECK_TEST(rights), CHECK_TEST(machine_that_sleeps),
          CHECK_TEST(events_and_exports), CHECK_TEST(quarantine), CHECK_TEST(bounded),
          CHECK_TEST(ids_are_good))
