/*
 * known.h - the states that a search has come to.
 */
#ifndef EXPLORE_KNOWN_H
#define EXPLORE_KNOWN_H

#include <stdint.h>

#define KNOWN_ON_PATH (-1.0) /* as a number of schedules: the state is being searched */

struct known {
        uint64_t key; /* 0: empty */
        double n_schedules;
};

/* Forgets all. */
void known_begin(void);

/* The state of this key, which is not 0, until another is added; NULL: the search has not come to it. */
struct known *known_find(uint64_t key);

/* One that was not known. */
void known_add(uint64_t key);

uint64_t known_count(void);

#endif
