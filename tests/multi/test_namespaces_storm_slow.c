/* Far more: see test_namespaces_storm.c. */
#define N_ROUNDS 3000
#include "test_namespaces_storm.c"
