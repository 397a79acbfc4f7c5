/*
 * limit.c - see limit.h.
 *
 * Both tables are of fixed size.  When there are more kinds than places, the last place is theirs together; causes
 * that meet in one place take it from each other, and begin to count anew, so that many who know of that are held
 * by the limit of the kind alone.
 */
#include "shmallocd/limit.h"

#include <stdio.h>

static unsigned
find_kind(struct limit *l, const char *kind)
{
        unsigned i = 0;

        while (i < LIMIT_KINDS - 1 && l->kinds[i].kind && l->kinds[i].kind != kind)
                i++;
        if (!l->kinds[i].kind)
                l->kinds[i].kind = kind;
        return i;
}

static unsigned
find_cause(struct limit *l, unsigned kind, uint64_t cause, uint64_t now_ms)
{
        uint64_t key = (cause + kind + 1) * UINT64_C(0x9e3779b97f4a7c15);
        unsigned i = (unsigned)(key >> 32) % LIMIT_CAUSES;

        if (l->causes[i].key != key || now_ms - l->causes[i].since_ms >= LIMIT_WINDOW_MS) {
                l->causes[i].key = key;
                l->causes[i].since_ms = now_ms;
                l->causes[i].n = 0;
        }
        return i;
}

bool
limit_allows(struct limit *l, const char *kind, uint64_t cause, const char *text, uint64_t now_ms)
{
        unsigned k = find_kind(l, kind), c = find_cause(l, k, cause, now_ms);

        if ((l->kinds[k].n == 0 || now_ms - l->kinds[k].since_ms >= LIMIT_WINDOW_MS) && l->kinds[k].n_suppressed == 0) {
                l->kinds[k].since_ms = now_ms;
                l->kinds[k].n = 0;
        }
        if (l->causes[c].n >= LIMIT_PER_CAUSE || l->kinds[k].n >= LIMIT_PER_KIND) {
                l->kinds[k].n_suppressed++;
                snprintf(l->kinds[k].text, sizeof l->kinds[k].text, "%s", text);
                return false;
        }
        l->causes[c].n++;
        l->kinds[k].n++;
        return true;
}

void
limit_flush(struct limit *l, bool any, uint64_t now_ms, void (*fn)(uint64_t n, const char *text))
{
        for (unsigned i = 0; i < LIMIT_KINDS; i++) {
                if (l->kinds[i].n_suppressed == 0 || (!any && now_ms - l->kinds[i].since_ms < LIMIT_WINDOW_MS))
                        continue;
                fn(l->kinds[i].n_suppressed, l->kinds[i].text);
                l->kinds[i].n_suppressed = 0;
                l->kinds[i].n = 0;
                l->kinds[i].since_ms = now_ms;
        }
}
