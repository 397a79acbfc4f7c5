/* The same for minutes. */
#define KILLS_TIMES 8
#include "stress/kill_storm.c"
