#include "base/outcome.h"
#include "base/wire.h"
#include "lib/check.h"
#include "net_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct slice text(const char *string)
{
    return slice_borrow(string, strlen(string));
}

/* Three nodes that know each other bring up three channels per pair, with the other's
 * boot id: that is all the daemon has to do to be connected. */
static void three_nodes_connect(void)
{
    struct fixture f = {0};

    fixture_up(&f, 3);
    CHECK(strstr(f.nodes[0].trace, "up 2 control 101\n") != NULL);
    CHECK(strstr(f.nodes[0].trace, "up 3 bulk 102\n") != NULL);
    CHECK(strstr(f.nodes[2].trace, "up 1 log 100\n") != NULL);
    CHECK(strstr(f.nodes[2].trace, "up 2 bulk 101\n") != NULL);
    CHECK(peer_is_up(f.nodes[1].net, 3, PEER_LOG));
    CHECK(!peer_is_up(f.nodes[1].net, 2, PEER_LOG));
    CHECK(!peer_is_up(f.nodes[1].net, 9, PEER_LOG));
    fixture_deinit(&f);
}

/* A frame arrives as it was sent, both ways, empty ones too. */
static void frame_arrives(void)
{
    struct fixture f = {0};

    fixture_up(&f, 2);
    f.nodes[0].trace[0] = 0;
    f.nodes[1].trace[0] = 0;
    CHECK_INT(peer_send(f.nodes[0].net, 2, PEER_LOG, 7, text("hello"), text("body")), 0);
    CHECK_INT(peer_send(f.nodes[0].net, 2, PEER_LOG, 8, text(""), text("")), 0);
    CHECK_INT(peer_send(f.nodes[0].net, 2, PEER_LOG, 9, text(""), text("x")), 0);
    CHECK_INT(peer_send(f.nodes[1].net, 1, PEER_BULK, 255, text("y"), text("")), 0);
    RUN_UNTIL(&f, f.nodes[1].frames == 3 && f.nodes[0].frames == 1);
    CHECK_STR(f.nodes[1].trace, "frame 1 log 7 \"hello\" 4\n"
                                "frame 1 log 8 \"\" 0\n"
                                "frame 1 log 9 \"\" 1\n");
    CHECK_STR(f.nodes[0].trace, "frame 2 bulk 255 \"y\" 0\n");
    fixture_deinit(&f);
}

TEST_MAIN(CHECK_TEST(three_nodes_connect), CHECK_TEST(frame_arrives))
