/*
 * The fields: every word of the header, and of each table that is in use every field of a few elements of each kind.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap/root_cell.h"
#include "hostile/hostile.h"

enum { RUNS_MAX = 40, MAGAZINES_MAX = 16, PLACES_MAX = 4 };

/* ------------------------------------------------------------------ the list */

struct list {
        struct fields *fields;
        const struct image *image;
        struct region *r;
        char element[32]; /* "thread 3" */
        uint64_t off;     /* of the element */
};

static void
add(struct list *l, const char *what, uint64_t at, uint8_t bytes, uint8_t shift, uint8_t bits, uint64_t bound0,
    uint64_t bound1, uint64_t bound2)
{
        struct fields *f = l->fields;
        struct field *field;

        if (f->n == f->room) {
                f->room = f->room ? 2 * f->room : 1024;
                f->all = realloc(f->all, f->room * sizeof *f->all);
                if (!f->all)
                        abort();
        }
        field = &f->all[f->n++];
        *field = (struct field){
                .off = l->off + at, .bytes = bytes, .shift = shift, .bits = bits, .bounds = {bound0, bound1, bound2}};
        snprintf(field->name, sizeof field->name, "%s %s", l->element, what);
}

static void
element(struct list *l, uint64_t off, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        vsnprintf(l->element, sizeof l->element, fmt, args);
        va_end(args);
        l->off = off;
}

static void
refused(struct list *l)
{
        l->fields->all[l->fields->n - 1].is_refused = true;
}

#define WORD(l, type, member, ...)                                                                                     \
        add((l), #member, offsetof(type, member), (uint8_t)sizeof(((type *)0)->member), 0,                             \
            (uint8_t)(8 * sizeof(((type *)0)->member)), BOUNDS(__VA_ARGS__))
#define BITS(l, type, member, what, shift, bits, ...)                                                                  \
        add((l), #member " " what, offsetof(type, member), (uint8_t)sizeof(((type *)0)->member), (shift), (bits),      \
            BOUNDS(__VA_ARGS__))
#define BOUNDS(...)                        BOUNDS_(__VA_ARGS__, 0, 0, 0)
#define BOUNDS_(a, b, c, ...)              (a), (b), (c)
#define BITS_OF(l, what, shift, bits, ...) add((l), what, 0, 8, (shift), (bits), BOUNDS(__VA_ARGS__))

/* ------------------------------------------------------------------ what there is */

static void
list_header(struct list *l)
{
        const struct layout *layout = &l->r->layout;
        const struct region_header *h = l->r->header;

        element(l, 0, "header");
        WORD(l, struct region_header, magic, 0), refused(l);
        WORD(l, struct region_header, version, 0), refused(l);
        WORD(l, struct region_header, hash, 0), refused(l);
        WORD(l, struct region_header, region_bytes, layout->chunks_off), refused(l);
        WORD(l, struct region_header, base_addr, UINT64_C(0x7ffffffff000), UINT64_C(0x550000000000), UINT64_C(1) << 22);
        WORD(l, struct region_header, features_compat, 0);
        WORD(l, struct region_header, features_ro_compat, 0), refused(l);
        WORD(l, struct region_header, features_incompat, 0), refused(l);
        WORD(l, struct region_header, params.max_capacity, LAYOUT_CAPACITY_MAX, GEO_CHUNK_BYTES), refused(l);
        WORD(l, struct region_header, params.max_clients, 65535, 65536);
        WORD(l, struct region_header, params.max_threads, THREAD_NO_MAX, 65536);
        WORD(l, struct region_header, params.n_nodes, NODE_MAX, NODE_MAX + 1);
        WORD(l, struct region_header, params.arenas_per_node, 64, 65);
        WORD(l, struct region_header, params.max_roots, 65536, 65537);
        WORD(l, struct region_header, params.page_shift, 12, 21, 30);
        add(l, "name[0]", offsetof(struct region_header, name), 8, 0, 64, 0, 0, 0);
        add(l, "name[56]", offsetof(struct region_header, name) + 56, 8, 0, 64, 0x4141414141414141, 0, 0);
        WORD(l, struct region_header, created_realtime_ns, 0);
        WORD(l, struct region_header, id, 0);
        WORD(l, struct region_header, decay_ms, 32, 33);
        WORD(l, struct region_header, numa_policy, 3, 4);
        WORD(l, struct region_header, creator_uid, 65534);
        WORD(l, struct region_header, creator_user_ns, 0);
        WORD(l, struct region_header, numa_nodes, 0);
        WORD(l, struct region_header, capacity_chunks, layout->n_chunks, h->chunks_hwm);
        WORD(l, struct region_header, chunks_hwm, layout->n_chunks, h->capacity_chunks);
        WORD(l, struct region_header, threads_hwm, layout->n[TABLE_THREADS]);
        WORD(l, struct region_header, clients_hwm, layout->n[TABLE_CLIENTS]);
        WORD(l, struct region_header, roots_hwm, layout->n[TABLE_ROOTS]);
        WORD(l, struct region_header, roots_head, h->roots_hwm, layout->n[TABLE_ROOTS]);
        WORD(l, struct region_header, n_released, 0);
        BITS(l, struct region_header, sweep, "owner", 0, 16, THREAD_NO_MAX, 1);
        BITS(l, struct region_header, sweep, "mark", 16, 8, SWEEP_N, SWEEP_THREADS);
        BITS(l, struct region_header, sweep, "limit", 24, 40, 0);
        BITS(l, struct region_header, folding, "owner", 0, 16, layout->n[TABLE_THREADS], THREAD_NO_MAX, 1);
        BITS(l, struct region_header, folding, "slot", 16, 16, layout->n[TABLE_THREADS], THREAD_NO_MAX, 1);
        BITS(l, struct region_header, folding, "committed", 32, 1, 1);
        BITS(l, struct region_header, folding, "n", 33, 31, FOLDS_MAX, 1);
        WORD(l, struct region_header, magazines_hwm[0], layout->magazines_per_node);
        WORD(l, struct region_header, magazines_hwm[1], layout->magazines_per_node), refused(l);
        WORD(l, struct region_header, magazines_hwm[63], 1), refused(l);
        WORD(l, struct region_header, node_version[0], 0);
        WORD(l, struct region_header, node_version[63], 0);
}

static void
list_small_tables(struct list *l)
{
        const struct layout *layout = &l->r->layout;

        for (uint32_t i = 0; i < layout->n_arenas; i++) {
                element(l, layout->off[TABLE_ARENA_WORDS] + 4 * i, "arena word %u", i);
                add(l, "state", 0, 4, 0, 32, 2, 0, 0);
        }
        for (uint32_t i = 0; i < layout->n[TABLE_BINDINGS]; i++) {
                element(l, layout->off[TABLE_BINDINGS] + 4 * i, "binding %u", i);
                add(l, "word", 0, 4, 0, 32, BINDING_RESERVE, BINDING_USED, BINDING_ARENA(layout->n_arenas));
        }
        element(l, layout->off[TABLE_FREE_CHUNKS], "free chunks");
        add(l, "word", 0, 8, 0, 64, 0, 0, 0);
        element(l, layout->off[TABLE_POOL_HINTS], "pool hints");
        add(l, "word", 0, 8, 0, 64, 0, 0, 0);
        add(l, "second word", 8, 8, 0, 64, 0, 0, 0);
}

static void
list_clients(struct list *l)
{
        for (uint32_t i = 0; i < l->r->header->clients_hwm; i++) {
                element(l, l->r->layout.off[TABLE_CLIENTS] + i * sizeof(struct client_slot), "client %u", i);
                WORD(l, struct client_slot, word, 0);
                BITS(l, struct client_slot, word, "state", 0, 2, 1);
                BITS(l, struct client_slot, word, "attached", 2, 30, 1);
                BITS(l, struct client_slot, word, "incarnation", 32, 32, 1);
                BITS(l, struct client_slot, process, "pid", 0, 32, 1);
                BITS(l, struct client_slot, process, "incarnation", 32, 32, 1);
                WORD(l, struct client_slot, uid, 65534);
                WORD(l, struct client_slot, start_ticks, 0);
                WORD(l, struct client_slot, pid_ns, 0);
                add(l, "name", offsetof(struct client_slot, name), 8, 0, 64, 0x0a0d1b5b22273c26, 0, 0);
                add(l, "name's end", offsetof(struct client_slot, name) + 24, 8, 0, 64, 0x4141414141414141, 0, 0);
                WORD(l, struct client_slot, image, 0);
        }
}

/* A lock as words: what the C library reads of it, too. */
static void
list_lock(struct list *l, const char *which, uint64_t at)
{
        for (uint32_t i = 0; i < sizeof(struct robust_lock) / 4; i++) {
                char text[24];

                snprintf(text, sizeof text, "%s word %u", which, i);
                add(l, text, at + 4 * i, 4, 0, 32, 1, UINT32_C(0x40000000), INT32_MAX - 1);
        }
}

static void
list_intent(struct list *l)
{
        const struct layout *layout = &l->r->layout;
        uint64_t granules = l->r->header->chunks_hwm * GEO_GRANULES_PER_CHUNK;

        for (uint64_t kind = INTENT_NONE + 1; kind <= INTENT_N_KINDS; kind += 3)
                WORD(l, struct thread_slot, intent.kind, kind, kind + 1, kind + 2);
        WORD(l, struct thread_slot, intent.fill.head, granules, layout->n_chunks * GEO_GRANULES_PER_CHUNK);
        WORD(l, struct thread_slot, intent.fill.magazine, l->r->header->magazines_hwm[0], layout->n[TABLE_MAGAZINES]);
        WORD(l, struct thread_slot, intent.fill.n, MAGAZINE_CAP_MAX);
        WORD(l, struct thread_slot, intent.swap.i, MAGAZINE_CAP_MAX);
        WORD(l, struct thread_slot, intent.swap.j, MAGAZINE_CAP_MAX);
        WORD(l, struct thread_slot, intent.swap.a, l->r->canonical, granules << GEO_GRANULE_SHIFT);
        WORD(l, struct thread_slot, intent.alloc_one.dest, layout->chunks_off, layout->region_bytes,
             layout->off[TABLE_THREADS] + offsetof(struct slot_gate, pending));
}

static void
list_candidate(struct list *l)
{
        const struct layout *layout = &l->r->layout;
        uint64_t chunks = l->r->header->chunks_hwm;

        WORD(l, struct thread_slot, candidate, 0);
        BITS(l, struct thread_slot, candidate, "kind", 0, 4, CANDIDATE_N_KINDS, CANDIDATE_CHUNK, CANDIDATE_HUGE);
        BITS(l, struct thread_slot, candidate, "head", 4, 30, chunks * GEO_GRANULES_PER_CHUNK, chunks,
             layout->n_chunks);
        BITS(l, struct thread_slot, candidate, "length", 34, 28, GEO_GRANULES_PER_CHUNK, chunks, layout->n_chunks);
}

static void
list_pending(struct list *l)
{
        char text[32];

        for (uint32_t k = 0; k < ROOTS_PENDING_MAX; k++) {
                uint64_t at = offsetof(struct slot_gate, pending) + 8 * k;

                snprintf(text, sizeof text, "pending %u", k);
                add(l, text, at, 8, 0, 64, l->r->layout.chunks_off, l->r->layout.region_bytes,
                    l->r->layout.chunks_off + 16);
                add(l, "pending kind", at, 8, 0, 3, 0, 0, 0);
                add(l, "pending sequence", at, 8, 3, 24, 0, 0, 0);
                add(l, "pending block", at, 8, 27, 37, (l->r->header->chunks_hwm << GEO_CHUNK_SHIFT) / 16, 0, 0);
        }
}

static void
list_places(struct list *l, const struct thread_slot *slot)
{
        uint32_t n_tags = l->r->layout.n_tags, n = 0;

        for (uint32_t place = 0; place < 2 * n_tags; place++) {
                char text[24];

                if (place != 0 && place != 2 * n_tags - 1 && (slot->magazines[place] == 0 || n++ >= PLACES_MAX))
                        continue;
                snprintf(text, sizeof text, "place %u", place);
                add(l, text, offsetof(struct thread_slot, magazines) + 4 * place, 4, 0, 32,
                    l->r->header->magazines_hwm[0], l->r->layout.n[TABLE_MAGAZINES], slot->magazines[place] + 2);
        }
}

static void
list_gates(struct list *l)
{
        for (uint32_t i = 0; i < l->r->header->threads_hwm; i++) {
                const struct slot_gate *gate = &l->r->gates[i];

                element(l, l->r->layout.off[TABLE_GATES] + i * sizeof *gate, "gate of thread %u", i + 1);
                if (i % 5 == 0) {
                        list_lock(l, "life", offsetof(struct slot_gate, life));
                        list_lock(l, "reap", offsetof(struct slot_gate, reap));
                        WORD(l, struct slot_gate, os_tid, 0);
                        WORD(l, struct slot_gate, root_sequence, 0);
                }
                WORD(l, struct slot_gate, state, 1);
                WORD(l, struct slot_gate, client_idx, l->r->header->clients_hwm, l->r->layout.n[TABLE_CLIENTS]);
                WORD(l, struct slot_gate, client_incarnation, 0);
                WORD(l, struct slot_gate, os_pid, 1);
                WORD(l, struct slot_gate, dest, l->r->layout.chunks_off, l->r->layout.region_bytes, 8);
                WORD(l, struct slot_gate, is_bare, 1);
                if (i % 5 == 0 || gate->pending[0] != 0)
                        list_pending(l);
        }
}

static void
list_threads(struct list *l)
{
        uint32_t roots_hwm = l->r->header->roots_hwm;

        list_gates(l);
        for (uint32_t i = 0; i < l->r->header->threads_hwm; i++) {
                const struct thread_slot *slot = region_thread(l->r, i);

                element(l, l->r->layout.off[TABLE_THREADS] + i * l->r->layout.stride[TABLE_THREADS], "thread %u",
                        i + 1);
                if (i % 5 == 0) {
                        WORD(l, struct thread_slot, n_attached, 0);
                        WORD(l, struct thread_slot, n_dropped, 0);
                        WORD(l, struct thread_slot, n_huge_malloc, 0);
                        WORD(l, struct thread_slot, n_reaped, 0);
                        WORD(l, struct thread_slot, counters[3].n_filled, 0);
                        WORD(l, struct thread_slot, counters[3].n_drained, 0);
                }
                WORD(l, struct thread_slot, hand, l->r->header->magazines_hwm[0], l->r->layout.n[TABLE_MAGAZINES]);
                list_candidate(l);
                if (i % 5 == 0 || slot->intent.kind != INTENT_NONE)
                        list_intent(l);
                for (uint32_t k = 0; k < ROOTS_PENDING_MAX && (i % 5 == 0 || l->r->gates[i].pending[0] != 0); k++)
                        add(l, "pending record", offsetof(struct thread_slot, pending_record) + 4 * k, 4, 0, 32,
                            roots_hwm, UINT32_C(1) << 31 | 1, UINT32_C(1) << 31 | 3 << 16 | 5);
                if (i % 3 == 0)
                        list_places(l, slot);
        }
}

static void
list_roots(struct list *l)
{
        uint32_t hwm = l->r->header->roots_hwm;

        for (uint32_t i = 0; i < hwm; i++) {
                element(l, l->r->layout.off[TABLE_ROOTS] + i * sizeof(struct root_record), "root %u", i);
                WORD(l, struct root_record, word, 0);
                BITS(l, struct root_record, word, "state", 0, 4, 3);
                BITS(l, struct root_record, word, "owner", 4, 16, l->r->header->threads_hwm);
                WORD(l, struct root_record, object, 0);
                BITS(l, struct root_record, object, "kind", 0, 3, 0);
                BITS(l, struct root_record, object, "slack", 3, 19, 200);
                BITS(l, struct root_record, object, "thread", 27, 16, l->r->header->threads_hwm, 65535);
                BITS(l, struct root_record, object, "entry", 43, 2, 0);
                BITS(l, struct root_record, object, "block", 27, 37,
                     (l->r->header->chunks_hwm << GEO_CHUNK_SHIFT) / 16);
                WORD(l, struct root_record, next, hwm, i + 1, l->r->layout.n[TABLE_ROOTS]);
                add(l, "name", offsetof(struct root_record, name), 8, 0, 64, 0x0a0d1b5b22273c26, 0, 0);
                add(l, "name's end", offsetof(struct root_record, name) + 56, 8, 0, 64, 0x4141414141414141, 0, 0);
        }
}

static void
list_hints(struct list *l, uint32_t a)
{
        static const uint32_t kinds[] = {0, 5, HINT_RUN_ANY, HINT_RUN_ANY + 6, HINT_RUN_WARM, HINT_EMPTY, HINT_DIRTY};
        const struct layout *layout = &l->r->layout;

        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
                element(l, layout->off[TABLE_ARENAS] + a * layout->stride[TABLE_ARENAS], "arena %u", a);
                add(l, "summary", offsetof(struct arena, summary) + 8 * kinds[i] * layout->n_summary_words, 8, 0, 64, 2,
                    3, UINT64_C(1) << 63 | 1);
                element(l, layout->off[TABLE_HINT_GROUPS] + (uint64_t)a * layout->n_groups * sizeof(struct hint_group),
                        "hints of arena %u", a);
                add(l, "word", 8 * kinds[i], 8, 0, 64, layout->n_chunks, UINT64_C(0x2a), UINT64_C(0x15));
        }
}

static void
list_arenas(struct list *l)
{
        const struct layout *layout = &l->r->layout;

        for (uint32_t a = 0; a < layout->n_arenas; a++) {
                const struct arena *arena = region_arena(l->r, a);

                if (!arena)
                        continue;
                element(l, layout->off[TABLE_ARENAS] + a * layout->stride[TABLE_ARENAS], "arena %u", a);
                WORD(l, struct arena, decay_next_ms, 0);
                WORD(l, struct arena, decay_hand, l->r->header->chunks_hwm);
                WORD(l, struct arena, granule_hand, l->r->header->chunks_hwm * GEO_GRANULES_PER_CHUNK);
                WORD(l, struct arena, magazine_hand, l->r->header->magazines_hwm[0]);
                for (uint32_t c = 0; c < SIZE_CLASS_N_CACHED; c += c < 6 ? 1 : 13)
                        for (uint32_t i = 0; i < 32 && i < size_class_depot_places(c); i += 5) {
                                add(l, "depot",
                                    offsetof(struct arena, depot) + 4 * ((uint64_t)size_class_depot_first(c) + i), 4, 0,
                                    32, l->r->header->magazines_hwm[0], layout->n[TABLE_MAGAZINES], 7);
                                if (i > 0)
                                        continue;
                                add(l, "depot n", offsetof(struct arena, depot_n) + 4 * c, 4, 0, 32,
                                    size_class_depot_places(c), 0, 0);
                                add(l, "depot low", offsetof(struct arena, depot_low) + 4 * c, 4, 0, 32,
                                    size_class_depot_places(c), 0, 0);
                        }
                list_hints(l, a);
        }
}

static void
list_magazines(struct list *l)
{
        const struct layout *layout = &l->r->layout;
        uint32_t n[MAGAZINE_N_STATES] = {0};

        for (uint32_t i = 0; i < l->r->header->magazines_hwm[0]; i++) {
                const struct magazine *m = &l->r->magazines[i];

                if (n[magazine_state(l->r->magazine_words[i]) % MAGAZINE_N_STATES]++ >= MAGAZINES_MAX)
                        continue;
                element(l, layout->off[TABLE_MAGAZINE_WORDS] + 8 * i, "magazine word %u", i);
                BITS_OF(l, "word", 0, 64, 0);
                BITS_OF(l, "state", 0, 2, MAGAZINE_N_STATES);
                BITS_OF(l, "owner", 2, 16, l->r->header->threads_hwm, layout->n[TABLE_THREADS]);
                BITS_OF(l, "arena", 18, 10, layout->n_arenas);
                BITS_OF(l, "tag", 28, 16, layout->n_tags, SIZE_CLASS_N, SIZE_CLASS_N_CACHED);
                BITS_OF(l, "bare", 45, 1, 1);
                BITS_OF(l, "depot place", 46, 11, SIZE_CLASS_DEPOT_PLACES);
                element(l, layout->off[TABLE_MAGAZINES] + i * sizeof *m, "magazine %u", i);
                WORD(l, struct magazine, n, MAGAZINE_CAP_MAX, m->cap);
                WORD(l, struct magazine, cap, MAGAZINE_CAP_MAX, m->n);
                WORD(l, struct magazine, slot[0], l->r->canonical, l->r->canonical + (7 << GEO_GRANULE_SHIFT),
                     l->r->canonical + (l->r->header->chunks_hwm << GEO_CHUNK_SHIFT));
                if (m->n > 1)
                        add(l, "top", offsetof(struct magazine, slot) + 8 * (m->n - 1), 8, 0, 64, m->slot[0],
                            l->r->canonical + (7 << GEO_GRANULE_SHIFT),
                            l->r->canonical + (l->r->header->chunks_hwm << GEO_CHUNK_SHIFT));
        }
}

static void
list_chunks(struct list *l)
{
        const struct layout *layout = &l->r->layout;

        for (uint64_t i = 0; i < l->r->header->chunks_hwm; i++) {
                element(l, layout->off[TABLE_CHUNK_WORDS] + 8 * i, "chunk word %u", (unsigned)i);
                BITS_OF(l, "word", 0, 64, 0);
                BITS_OF(l, "state", 0, 3, CHUNK_N_STATES, CHUNK_ARENA, CHUNK_HUGE);
                BITS_OF(l, "owner", 3, 16, l->r->header->threads_hwm, 9);
                BITS_OF(l, "arena", 19, 10, layout->n_arenas);
                BITS_OF(l, "node", 29, 7, 2);
                BITS_OF(l, "doomed", 36, 1, 0);
                BITS_OF(l, "count", 38, 24, layout->n_chunks, l->r->header->chunks_hwm - i);
                element(l, layout->off[TABLE_HUGE_BYTES] + 8 * i, "huge %u", (unsigned)i);
                add(l, "bytes", 0, 8, 0, 64, GEO_CHUNK_BYTES, 2 * GEO_CHUNK_BYTES, layout->n_chunks * GEO_CHUNK_BYTES);
                element(l, layout->off[TABLE_REST_MAPS] + 8 * i, "rest map %u", (unsigned)i);
                add(l, "word", 0, 8, 0, 64, UINT64_MAX, 0, 0);
                element(l, layout->off[TABLE_CHUNK_MAPS] + sizeof(struct chunk_map) * i, "map %u", (unsigned)i);
                WORD(l, struct chunk_map, free, 0);
                WORD(l, struct chunk_map, warm, 0);
        }
}

static void
list_granule(struct list *l, uint64_t g, uint64_t word)
{
        const struct layout *layout = &l->r->layout;
        uint32_t n_words;

        element(l, layout->off[TABLE_GRANULES] + 8 * g, "granule %u", (unsigned)g);
        BITS_OF(l, "word", 0, 64, 0);
        BITS_OF(l, "state", 0, 4, GRANULE_N_STATES, GRANULE_LARGE, GRANULE_CONT);
        BITS_OF(l, "owner", 4, 16, l->r->header->threads_hwm, 3);
        BITS_OF(l, "arena", 20, 10, layout->n_arenas);
        BITS_OF(l, "may have", 30, 1, 0);
        BITS_OF(l, "doomed", 31, 1, 0);
        BITS_OF(l, "class", 32, 6, SIZE_CLASS_N_SMALL, SIZE_CLASS_N);
        BITS_OF(l, "count", 38, 13, g % GEO_GRANULES_PER_CHUNK, GEO_GRANULES_PER_CHUNK, 4096);
        BITS_OF(l, "backed", 51, 5, GRANULE_BACKED_ALL);
        BITS_OF(l, "stamp", 56, 8, 64);
        element(l, layout->off[TABLE_TAGS] + 2 * g, "tag %u", (unsigned)g);
        add(l, "word", 0, 2, 0, 16, layout->n_tags, SIZE_CLASS_N, 7);
        if (granule_state(word) != GRANULE_SLAB)
                return;
        element(l, layout->off[TABLE_SLABS] + g * sizeof(struct slab_bitmap), "slab %u", (unsigned)g);
        add(l, "first bits", 0, 8, 0, 64, 0, 0, 0);
        n_words = (size_class_slab_blocks(granule_class(word)) + 63) / 64;
        add(l, "last bits of the line", 8 * ((n_words < SLAB_WORDS ? n_words : SLAB_WORDS) - 1), 8, 0, 64, 0, 0, 0);
        if (n_words <= SLAB_WORDS)
                return;
        element(l, layout->off[TABLE_SLAB_RESTS] + g * sizeof(struct slab_bitmap_rest), "slab %u", (unsigned)g);
        add(l, "next bits", 0, 8, 0, 64, 0, 0, 0);
        add(l, "last bits", 8 * (n_words - SLAB_WORDS - 1), 8, 0, 64, 0, 0, 0);
        add(l, "bits behind", sizeof(struct slab_bitmap_rest) - 8, 8, 0, 64, 0, 0, 0);
}

/* One of each kind, and what the dead have. */
static void
list_granules(struct list *l)
{
        bool has_seen[GRANULE_N_STATES][TAG_CLASSES] = {{false}};
        uint32_t n = 0;

        for (uint64_t g = 0; g < l->r->header->chunks_hwm * GEO_GRANULES_PER_CHUNK && n < RUNS_MAX; g++) {
                uint64_t word = l->r->granules[g];
                uint32_t state = granule_state(word) % GRANULE_N_STATES;

                if (has_seen[state][granule_class(word)] && granule_owner(word) == THREAD_NONE)
                        continue;
                has_seen[state][granule_class(word)] = true;
                list_granule(l, g, word);
                n++;
        }
}

void
fields_list(const struct image *image, struct fields *ret_fields)
{
        struct list l = {.fields = ret_fields, .image = image, .r = (struct region *)(uintptr_t)&image->region};

        *ret_fields = (struct fields){NULL, 0, 0};
        list_header(&l);
        list_small_tables(&l);
        list_clients(&l);
        list_threads(&l);
        list_roots(&l);
        list_arenas(&l);
        list_magazines(&l);
        list_chunks(&l);
        list_granules(&l);
}

void
fields_drop(struct fields *fields)
{
        free(fields->all);
}

/* ------------------------------------------------------------------ values */

static uint64_t
word_of(const struct image *image, const struct field *field)
{
        uint64_t word = 0;

        memcpy(&word, image->bytes + field->off, field->bytes);
        return word;
}

static uint64_t
mask_of(const struct field *field)
{
        return field->bits == 64 ? UINT64_MAX : (UINT64_C(1) << field->bits) - 1;
}

size_t
field_values(const struct image *image, const struct field *field, uint64_t ret_values[FIELD_VALUES_MAX])
{
        uint64_t mask = mask_of(field), old = word_of(image, field) >> field->shift & mask;
        uint64_t sign = UINT64_C(1) << (field->bits - 1);
        uint64_t wanted[FIELD_VALUES_MAX] = {0, 1, mask, mask - 1, sign, sign - 1, old + 1, old - 1, old ^ sign};
        size_t n_wanted = 9, n = 0;

        for (unsigned i = 0; i < FIELD_BOUNDS; i++)
                for (unsigned k = 0; field->bounds[i] != 0 && k < 3; k++)
                        wanted[n_wanted++] = field->bounds[i] + k - 1;
        for (size_t i = 0; i < n_wanted; i++) {
                bool is_new = (wanted[i] & mask) != old;

                for (size_t k = 0; k < n; k++)
                        is_new &= (wanted[i] & mask) != ret_values[k];
                if (is_new)
                        ret_values[n++] = wanted[i] & mask;
        }
        return n;
}

void
field_store(const struct field *field, int fd, uint64_t value)
{
        uint64_t mask = mask_of(field) << field->shift, word = 0;

        if (pread(fd, &word, field->bytes, (off_t)field->off) != field->bytes)
                abort();
        word = (word & ~mask) | (value << field->shift & mask);
        if (pwrite(fd, &word, field->bytes, (off_t)field->off) != field->bytes)
                abort();
}
