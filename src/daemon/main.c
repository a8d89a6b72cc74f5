/* grapevined: the daemon, one per node. */
#include <stdio.h>

int main(void)
{
    fputs("usage: grapevined [--config FILE]\n", stderr);
    return 2;
}
