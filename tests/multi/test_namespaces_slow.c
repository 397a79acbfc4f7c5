/* A thousand namespaces: see test_namespaces.c. */
#define N_NAMESPACES 1000
#include "test_namespaces.c"
