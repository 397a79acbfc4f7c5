/*
 * text.c - see text.h.
 */
#include "common/text.h"

#include <stdio.h>
#include <string.h>

const char *
text_bytes(char buf[TEXT_BYTES_MAX], uint64_t bytes)
{
        return quantity_bytes(buf, bytes);
}

const char *
text_s(uint64_t n)
{
        return n == 1 ? "" : "s";
}

void
text_mode(char buf[TEXT_MODE_MAX], uint32_t mode)
{
        snprintf(buf, TEXT_MODE_MAX, "%04o", mode & 07777);
}

/* ------------------------------------------------------------------ text that others wrote */

/* What a page or terminal shows as nothing, or as something else: controls, marks of direction, no characters. */
static bool
is_invisible(uint32_t c)
{
        return c < 0xa0 || (c >= 0xd800 && c < 0xe000) || c == 0x61c || (c >= 0x200b && c < 0x2010) ||
               (c >= 0x2028 && c < 0x202f) || (c >= 0x2060 && c < 0x2070) || c == 0xfeff || (c & 0xfffe) == 0xfffe ||
               (c >= 0xfdd0 && c < 0xfdf0) || c > 0x10ffff;
}

/* Bytes of the UTF-8 character at `at`, of at most n; 0: it is none, or one that is not to be shown as it is. */
static size_t
utf8_length(const unsigned char *at, size_t n)
{
        static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
        size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc2 ? 2 : 0;
        uint32_t value = at[0] & (0x7fu >> length);

        if (at[0] >= ' ' && at[0] <= '~' && at[0] != '\\')
                return 1;
        if (length == 0 || at[0] > 0xf4 || length > n)
                return 0;
        for (size_t i = 1; i < length; i++) {
                if ((at[i] & 0xc0) != 0x80)
                        return 0;
                value = value << 6 | (at[i] & 0x3f);
        }
        return value < least[length] || is_invisible(value) ? 0 : length;
}

void
text_escape(char *buf, size_t size, const char *text, size_t n, enum text_kind kind)
{
        size_t done = 0;

        for (size_t i = 0; i < n && text[i] != '\0';) {
                const unsigned char *at = (const unsigned char *)text + i;
                size_t length = utf8_length(at, n - i);
                char piece[8];

                if (kind == TEXT_PLAIN && length > 1)
                        length = 0;
                if (kind == TEXT_MARKUP && length == 1 && strchr("<>&\"'", *at))
                        snprintf(piece, sizeof piece, "&#%u;", *at);
                else if (length == 0)
                        snprintf(piece, sizeof piece, "\\x%02x", *at);
                else
                        snprintf(piece, sizeof piece, "%.*s", (int)length, (const char *)at);
                if (done + strlen(piece) >= size)
                        break;
                memcpy(buf + done, piece, strlen(piece));
                done += strlen(piece);
                i += length > 0 ? length : 1;
        }
        if (size > 0)
                buf[done] = '\0';
}

/* ------------------------------------------------------------------ numbers */

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
