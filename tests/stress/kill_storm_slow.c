/* The same for most of an hour: 10^5 deaths. */
#define KILLS_TIMES 4
#define KILLS_ALL   100000
#include "stress/kill_storm.c"
