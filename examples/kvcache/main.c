/*
 * main.c - kvcache: a cache server whose workers share one table in a shmalloc heap, and survive each other's death.
 *
 * Where to begin reading: README.md, shared.h, table.h.
 */
#include <stdio.h>

#include "audit.h"
#include "settings.h"
#include "supervisor.h"

int
main(int argc, char **argv)
{
        settings_parse(argc, argv);
        if (!settings.is_check)
                return supervisor_run();
        if (settings.heap_name[0] == '\0')
                snprintf(settings.heap_name, sizeof settings.heap_name, "kvcache-%u", settings.port);
        return audit_run();
}
