/*
 * hint.c - see hint.h.
 *
 * The summary bit of a group is set only after the group's memory was backed, and is never set for a group without
 * a chunk of the arena, so following a summary bit never touches a hole.
 */
#include "pages/hint.h"

#include "base/bits.h"
#include "base/verify.h"

static uint64_t *
summary_word(struct region *r, struct arena *arena, uint32_t kind, uint64_t group)
{
        ASSERT(kind < HINT_N_KINDS && group / 64 < r->layout.n_summary_words);
        return &arena->summary[kind * r->layout.n_summary_words + group / 64];
}

static uint64_t *
group_word(struct region *r, uint32_t arena_idx, uint32_t kind, uint64_t group)
{
        ASSERT(kind < HINT_N_KINDS && group < r->layout.n_groups && arena_idx < r->layout.n_arenas);
        return &r->hint_groups[(uint64_t)arena_idx * r->layout.n_groups + group].word[kind];
}

static void
set_bit(uint64_t *word, uint64_t bit)
{
        ASSERT(bit < 64);
        if (!(load_relaxed(word) & UINT64_C(1) << bit)) /* mostly set already: spare the line */
                fetch_or_relaxed(word, UINT64_C(1) << bit);
}

void
hint_set(struct region *r, uint32_t arena_idx, uint32_t kind, uint64_t chunk)
{
        struct arena *arena = region_arena(r, arena_idx);
        uint64_t group = chunk / 64;

        if (!arena || chunk >= r->layout.n_chunks)
                return;
        set_bit(group_word(r, arena_idx, kind, group), chunk % 64);
        set_bit(summary_word(r, arena, kind, group), group % 64);
}

void
hint_set_several(struct region *r, uint32_t arena_idx, uint32_t kind, uint32_t n, uint64_t chunk)
{
        struct arena *arena = region_arena(r, arena_idx);
        uint64_t group = chunk / 64, *word;

        ASSERT(kind + n <= HINT_N_KINDS);
        if (!arena || chunk >= r->layout.n_chunks)
                return;
        word = group_word(r, arena_idx, kind, group); /* kinds lie side by side */
        for (uint32_t i = 0; i < n; i++)
                set_bit(&word[i], chunk % 64);
        for (uint32_t i = 0; i < n; i++)
                set_bit(summary_word(r, arena, kind + i, group), group % 64);
}

void
hint_clear(struct region *r, uint32_t arena_idx, uint32_t kind, uint64_t chunk)
{
        ASSERT(kind < HINT_N_KINDS);
        if (region_arena(r, arena_idx) && chunk < r->layout.n_chunks)
                fetch_and_relaxed(group_word(r, arena_idx, kind, chunk / 64), ~(UINT64_C(1) << chunk % 64));
}

/* The group's word above bit `from`; an empty group loses its summary bit, unless it fills up meanwhile. */
static uint64_t
group_look(struct region *r, struct arena *arena, uint32_t arena_idx, uint32_t kind, uint64_t group, uint64_t from)
{
        uint64_t *word = group_word(r, arena_idx, kind, group);
        uint64_t hints = load_relaxed(word);

        ASSERT(from < 64);
        if (hints == 0) {
                uint64_t *summary = summary_word(r, arena, kind, group);

                fetch_and_relaxed(summary, ~(UINT64_C(1) << group % 64));
                hints = load_relaxed(word);
                if (hints != 0)
                        set_bit(summary, group % 64);
        }
        return hints & UINT64_MAX << from;
}

int64_t
hint_find(struct region *r, uint32_t arena_idx, uint32_t kind, uint64_t from)
{
        struct arena *arena = region_arena(r, arena_idx);
        uint64_t first = from / 64;

        ASSERT(kind < HINT_N_KINDS);
        if (!arena || from >= r->layout.n_chunks)
                return POSITION_NONE;
        for (uint64_t w = first / 64; w < r->layout.n_summary_words; w++) {
                uint64_t groups = load_relaxed(summary_word(r, arena, kind, w * 64));

                if (w == first / 64)
                        groups &= UINT64_MAX << first % 64;
                for (; groups != 0; groups &= groups - 1) {
                        uint64_t group = w * 64 + bits_ctz(groups);
                        uint64_t hints;

                        if (group >= r->layout.n_groups)
                                return POSITION_NONE;
                        hints = group_look(r, arena, arena_idx, kind, group, group == first ? from % 64 : 0);
                        if (hints != 0 && group * 64 + bits_ctz(hints) < region_chunks_hwm(r))
                                return (int64_t)(group * 64 + bits_ctz(hints));
                }
        }
        return POSITION_NONE;
}

int
hint_reserve(struct region *r, uint32_t arena_idx, uint64_t chunk)
{
        uint64_t group = (uint64_t)arena_idx * r->layout.n_groups + chunk / 64;

        ASSERT(arena_idx < r->layout.n_arenas && chunk < r->layout.n_chunks);
        return region_reserve_table(r, TABLE_HINT_GROUPS, group, 1);
}
