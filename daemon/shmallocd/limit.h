/*
 * limit.h - how many lines of a log one cause may have.
 *
 * Whoever may connect to the daemon, or has a heap open, makes it log.  So lines of one kind are counted, by who made
 * them and altogether; those beyond are suppressed, and how many they were is said once a window.  The time is the
 * caller's.
 */
#ifndef SHMALLOCD_LIMIT_H
#define SHMALLOCD_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum {
        LIMIT_WINDOW_MS = 60000,
        LIMIT_PER_CAUSE = 60,  /* lines of a kind, by one cause, in a window */
        LIMIT_PER_KIND = 1000, /* by all */
        LIMIT_KINDS = 64,
        LIMIT_CAUSES = 256,
        LIMIT_TEXT_MAX = 120
};

struct limit {
        struct {
                const char *kind;
                uint64_t since_ms;
                uint32_t n;
                uint64_t n_suppressed; /* not said yet */
                char text[LIMIT_TEXT_MAX];
        } kinds[LIMIT_KINDS];
        struct {
                uint64_t key, since_ms;
                uint32_t n;
        } causes[LIMIT_CAUSES];
};

/* Whether a line may be written.  `kind` is told from others by its address; `cause` is any number.  A line that may
 * not is counted, with its text for an example. */
bool limit_allows(struct limit *l, const char *kind, uint64_t cause, const char *text, uint64_t now_ms);

/* Calls fn for each kind of which lines were suppressed in a window that is over, or in any, and forgets them. */
void limit_flush(struct limit *l, bool any, uint64_t now_ms, void (*fn)(uint64_t n, const char *text));

#endif
