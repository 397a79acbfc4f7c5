#include "ctl/ctl.h"
int
verb_top(int argc, char **argv)
{
        (void)argc;
        (void)argv;
        return 0;
}
