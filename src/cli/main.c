/* gvraft: the command line; talks to the daemon's control socket only. */
#include <stdio.h>

int main(void)
{
    fputs("usage: gvraft [--socket S] [--json] COMMAND\n", stderr);
    return 2;
}
