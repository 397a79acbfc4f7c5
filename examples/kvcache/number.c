/*
 * number.c - see number.h.
 */
#include "number.h"

#include <string.h>

bool
number_parse(const char *p, size_t bytes, int64_t *ret_value)
{
        bool is_negative = bytes > 0 && *p == '-';
        int64_t value = 0;

        p += is_negative;
        bytes -= is_negative;
        if (bytes == 0 || bytes > 19 || (*p == '0' && (bytes > 1 || is_negative)))
                return false;
        for (; bytes > 0; p++, bytes--) { /* downwards: there is one number more */
                if (*p < '0' || *p > '9' || __builtin_mul_overflow(value, 10, &value) ||
                    __builtin_sub_overflow(value, *p - '0', &value))
                        return false;
        }
        if (!is_negative && value == INT64_MIN)
                return false;
        *ret_value = is_negative ? value : -value;
        return true;
}

int
number_print(char *p, int64_t value)
{
        uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
        char digits[20];
        int n = 0, at = 0;

        do
                digits[n++] = (char)('0' + left % 10);
        while ((left /= 10) > 0);
        if (value < 0)
                p[at++] = '-';
        while (n > 0)
                p[at++] = digits[--n];
        return at;
}
