/*
 * text.c - see text.h.
 */
#include "common/text.h"

#include <stdio.h>
#include <string.h>

const char *
text_bytes(char buf[TEXT_BYTES_MAX], uint64_t bytes)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        unsigned unit = 0;
        double value = (double)bytes;

        for (; value >= 1023.5 && unit < sizeof units / sizeof units[0] - 1; unit++)
                value /= 1024;
        snprintf(buf, TEXT_BYTES_MAX, unit > 0 && value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
        return buf;
}

bool
text_parse_number(const char *text, unsigned base, uint64_t min, uint64_t max, uint64_t *ret_value)
{
        uint64_t value = 0;

        if (text[0] == '\0')
                return false;
        for (; *text; text++) {
                unsigned digit = (unsigned)(unsigned char)*text - '0';

                if (digit >= base || __builtin_mul_overflow(value, (uint64_t)base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit, &value))
                        return false;
        }
        if (value < min || value > max)
                return false;
        *ret_value = value;
        return true;
}

bool
text_parse_bytes(const char *text, uint64_t *ret_bytes)
{
        static const char suffixes[] = "KMGT";
        char digits[24];
        size_t len = strlen(text);
        unsigned shift = 0;
        const char *suffix = len > 0 ? strchr(suffixes, text[len - 1] & ~0x20) : NULL;

        if (len > 0 && suffix && *suffix) {
                shift = 10 * ((unsigned)(suffix - suffixes) + 1);
                len--;
        }
        if (len == 0 || len >= sizeof digits)
                return false;
        memcpy(digits, text, len);
        digits[len] = '\0';
        if (!text_parse_number(digits, 10, 0, UINT64_MAX >> shift, ret_bytes))
                return false;
        *ret_bytes <<= shift;
        return true;
}

bool
text_parse_bool(const char *text, bool *ret_value)
{
        static const char *const words[2][4] = {{"false", "no", "off", "0"}, {"true", "yes", "on", "1"}};

        for (unsigned value = 0; value < 2; value++)
                for (unsigned i = 0; i < 4; i++)
                        if (strcmp(text, words[value][i]) == 0) {
                                *ret_value = value == 1;
                                return true;
                        }
        return false;
}
