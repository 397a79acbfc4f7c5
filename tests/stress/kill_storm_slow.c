/* The same for minutes. */
#define KILLS_TIMES 25
#include "stress/kill_storm.c"
