/* The same for longer: 30,000 deaths. */
#define KILLS_TIMES 48
#define KILLS_ALL   30000
#include "stress/kill_storm.c"
