/*
 * quantity.c - see quantity.h.  In whole numbers: the caller's stack may be small.
 */
#include "base/quantity.h"

#include <stdio.h>

#include "base/verify.h"

/* In 1024ths of the unit that is 1024^unit bytes. */
static uint64_t
parts_of(uint64_t bytes, unsigned unit)
{
        ASSERT(unit >= 1 && unit <= 6);
        return bytes >> (10 * unit - 10);
}

const char *
quantity_bytes(char buf[QUANTITY_BYTES_MAX], uint64_t bytes)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        unsigned unit = 1;
        uint64_t parts, tenths;

        if (bytes < 1024) {
                snprintf(buf, QUANTITY_BYTES_MAX, "%u %s", (unsigned)bytes, units[0]);
                return buf;
        }
        while (unit < 6 && bytes >> (10 * unit) >= 1024)
                unit++;
        if (unit < 6 && parts_of(bytes, unit) + 512 >= 1024 * 1024) /* 1023.7 would be rounded to 1024 */
                unit++;
        parts = parts_of(bytes, unit);
        tenths = (parts * 10 + 512) / 1024;
        ASSERT(unit < sizeof units / sizeof units[0] && tenths >= 10);
        if (tenths < 1000)
                snprintf(buf, QUANTITY_BYTES_MAX, "%u.%u %s", (unsigned)(tenths / 10), (unsigned)(tenths % 10),
                         units[unit]);
        else
                snprintf(buf, QUANTITY_BYTES_MAX, "%u %s", (unsigned)((parts + 512) / 1024), units[unit]);
        return buf;
}
