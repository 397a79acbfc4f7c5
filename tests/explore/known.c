/*
 * known.c - see known.h.  A hash table with open addressing: the keys are hashes themselves.
 */
#include "explore/known.h"

#include <stddef.h>

#include "explore/need.h"

static struct known *table;
static uint64_t room, n_known;

static struct known *
place_of(struct known *in, uint64_t in_room, uint64_t key)
{
        uint64_t i = key & (in_room - 1);

        while (in[i].key != 0 && in[i].key != key)
                i = (i + 1) & (in_room - 1);
        return &in[i];
}

static void
grow(void)
{
        uint64_t new_room = room ? 2 * room : 1 << 16;
        struct known *bigger = need(calloc(new_room, sizeof *bigger));

        for (uint64_t i = 0; i < room; i++)
                if (table[i].key != 0)
                        *place_of(bigger, new_room, table[i].key) = table[i];
        free(table);
        table = bigger;
        room = new_room;
}

void
known_begin(void)
{
        free(table);
        table = NULL;
        room = n_known = 0;
        grow();
}

struct known *
known_find(uint64_t key)
{
        struct known *found = place_of(table, room, key);

        return found->key == 0 ? NULL : found;
}

void
known_add(uint64_t key)
{
        *place_of(table, room, key) = (struct known){.key = key, .n_schedules = KNOWN_ON_PATH};
        if (++n_known * 4 > room * 3)
                grow();
}

uint64_t
known_count(void)
{
        return n_known;
}
