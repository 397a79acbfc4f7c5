/*
 * glob.c - see glob.h.
 *
 * A star takes as little as it can; when what follows does not fit, only the last star takes one more: those before it
 * never need to.  So no pattern takes exponential time.
 */
#include "glob.h"

static unsigned char
literal(const char *p, size_t bytes, size_t *at)
{
        if (p[*at] == '\\' && *at + 1 < bytes)
                (*at)++;
        return (unsigned char)p[(*at)++];
}

/* The set behind '[' at *at. */
static bool
in_set(const char *p, size_t bytes, size_t *at, unsigned char c)
{
        bool is_negated = *at < bytes && p[*at] == '^', is_in = false;

        *at += is_negated;
        while (*at < bytes && p[*at] != ']') {
                unsigned char low = literal(p, bytes, at), high = low;

                if (*at + 1 < bytes && p[*at] == '-') {
                        (*at)++;
                        high = literal(p, bytes, at);
                }
                is_in |= low <= high ? c >= low && c <= high : c >= high && c <= low;
        }
        *at += *at < bytes;
        return is_in != is_negated;
}

bool
glob_match(const char *pattern, size_t pattern_bytes, const char *text, size_t text_bytes)
{
        size_t p = 0, t = 0, star_p = 0, star_t = 0;
        bool has_star = false;

        while (t < text_bytes || p < pattern_bytes) {
                bool fits = false;

                if (p < pattern_bytes && pattern[p] == '*') {
                        has_star = true;
                        star_p = ++p;
                        star_t = t;
                        continue;
                }
                if (p < pattern_bytes && t < text_bytes) {
                        unsigned char c = (unsigned char)text[t++];

                        if (pattern[p] == '?') {
                                p++;
                                fits = true;
                        } else if (pattern[p] == '[') {
                                p++;
                                fits = in_set(pattern, pattern_bytes, &p, c);
                        } else {
                                fits = literal(pattern, pattern_bytes, &p) == c;
                        }
                }
                if (fits)
                        continue;
                if (!has_star || star_t >= text_bytes)
                        return false;
                p = star_p;
                t = ++star_t;
        }
        return true;
}
