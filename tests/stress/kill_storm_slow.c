/* The same for longer: 10^5 deaths. */
#define KILLS_TIMES 24
#define KILLS_ALL   100000
#include "stress/kill_storm.c"
