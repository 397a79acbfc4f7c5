/*
 * suite.h - the main() of a test of the daemon: one suite, one directory, emptied around each test.
 */
#ifndef DAEMON_SUITE_H
#define DAEMON_SUITE_H

#include <stdlib.h>

#include "daemon/rig.h"
#include "support/checks.h"
#include "support/suite.h"

static inline int
daemon_suite_run(const char *name, const char *folder, const TTest *const tests[], size_t n)
{
        Suite *s = suite_create(name);
        TCase *tc = tcase_create(folder);
        int status;

        for (size_t i = 0; i < n; i++)
                tcase_add_test(tc, tests[i]);
        tcase_add_checked_fixture(tc, rig_empty, rig_empty);
        suite_add_tcase(s, tc);
        rig_create(folder);
        status = suite_run(s);
        rig_remove();
        return status;
}

#define SUITE_RUN(name, folder, ...)                                                                                   \
        daemon_suite_run(name, folder, (const TTest *const[]){__VA_ARGS__},                                            \
                         sizeof((const TTest *const[]){__VA_ARGS__}) / sizeof(const TTest *))

#endif
