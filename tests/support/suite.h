/*
 * suite.h - how a test program runs its suite.
 */
#ifndef SUPPORT_SUITE_H
#define SUPPORT_SUITE_H

#include <stdlib.h>

#include "support/checks.h"

/* Runs the suite, and says what main() is to return.  CK_VERBOSITY and the like are obeyed. */
static inline int
suite_run(Suite *suite)
{
        SRunner *runner = srunner_create(suite);
        int n_failed;

        srunner_run_all(runner, CK_ENV);
        n_failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
