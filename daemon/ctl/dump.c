/*
 * dump.c - `shmallocctl dump`: everything that is in the tables of a heap, in words, for whoever wants to know what
 * happened to it; and saving a heap to a file, holes and all.
 *
 * It is meant for a heap that nobody uses any more, or for a file saved by --save.  On a heap in use it prints states
 * that last for microseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "clients/slot_pages.h"
#include "common/text.h"
#include "ctl/ctl.h"
#include "layout/words.h"
#include "os/robust.h"
#include "os/shm.h"
#include "region/file.h"

/* ------------------------------------------------------------------ saving */

enum { COPY_BYTES = 1 << 20 };

static int
copy_stretch(int from, int to, char *buf, uint64_t start, uint64_t end)
{
        while (start < end) {
                ssize_t n = pread(from, buf, end - start < COPY_BYTES ? end - start : COPY_BYTES, (off_t)start);

                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -ENODATA;
                for (ssize_t done = 0; done < n;) {
                        ssize_t m = pwrite(to, buf + done, (size_t)(n - done), (off_t)start + done);

                        if (m < 0)
                                return -errno;
                        done += m;
                }
                start += (uint64_t)n;
        }
        return 0;
}

/* Only what has pages is read and written. */
static int
copy_file(int from, int to, uint64_t bytes)
{
        char *buf = malloc(COPY_BYTES);
        int err = buf && ftruncate(to, (off_t)bytes) == 0 ? 0 : -errno;

        for (off_t at = 0, hole; err == 0 && (at = lseek(from, at, SEEK_DATA)) >= 0 && (uint64_t)at < bytes;
             at = hole) {
                hole = lseek(from, at, SEEK_HOLE);
                if (hole < 0)
                        hole = (off_t)bytes;
                err = copy_stretch(from, to, buf, (uint64_t)at, (uint64_t)hole);
        }
        free(buf);
        return err;
}

static int
save(const struct view *v, const char *path)
{
        int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        int err = to >= 0 ? copy_file(v->region.fd, to, v->header.layout.region_bytes) : -errno;

        if (to >= 0 && close(to) < 0 && err == 0)
                err = -errno;
        if (err == 0)
                return CTL_GOOD;
        if (to >= 0)
                unlink(path);
        return ctl_fail(error_set(err, "cannot save heap \"%s\" to \"%s\": %s", v->name, path, error_name(err)));
}

/* ------------------------------------------------------------------ header and marks */

static void
dump_header(const struct view *v)
{
        const struct region_header *h = &v->header.copy;
        const struct region *r = &v->region;
        time_t created = (time_t)(h->created_realtime_ns / 1000000000u);
        char text[32] = "?", bytes[TEXT_BYTES_MAX];
        struct tm tm;

        if (gmtime_r(&created, &tm))
                strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm);
        printf("heap %s\n", v->name);
        printf("  id %016" PRIx64 ", created %s by uid %u, layout %u/%08x\n", h->id, text, h->creator_uid, h->version,
               h->hash);
        printf("  base %#" PRIx64 ", %" PRIu64 " bytes of file, %s of them with pages, blocks from %#" PRIx64 "\n",
               h->base_addr, h->region_bytes, text_bytes(bytes, v->file_bytes), v->header.layout.chunks_off);
        printf("  capacity %" PRIu64 " of %" PRIu64
               " chunks, clients %u, threads %u, roots %u, nodes %u, arenas %u of each\n",
               region_capacity_chunks(r), v->header.layout.n_chunks, h->params.max_clients, h->params.max_threads,
               h->params.max_roots, h->params.n_nodes, h->params.arenas_per_node);
        printf("  decay %" PRId64 " ms, placement %u of nodes %#" PRIx64 "\n", h->decay_ms, h->numa_policy,
               h->numa_nodes);
        printf("  used so far: chunks %" PRIu64 ", clients %u, threads %u, roots %u", region_chunks_hwm(r),
               region_clients_hwm(r), region_threads_hwm(r), region_roots_hwm(r));
        for (uint32_t node = 0; node < r->n_nodes; node++)
                printf(", magazines of node %u %u", node, region_magazines_hwm(r, node));
        printf("\n");
}

/* ------------------------------------------------------------------ clients and threads */

static void
dump_clients(const struct region *r)
{
        struct client_views clients;
        char state[CLIENT_TEXT_MAX];

        clients_read(r, &clients);
        printf("\nclients\n");
        for (uint32_t i = 0; i < clients.n; i++) {
                const struct client_view *c = &clients.all[i];

                printf("  %u.%u: process %u \"%s\" of uid %u, %s, %u thread%s (%u dead), caches %" PRIu64 " bytes\n",
                       c->idx, c->incarnation, c->pid, c->name, c->uid, client_state_text(state, c), c->n_threads,
                       text_s(c->n_threads), c->n_dead_threads, c->cached_bytes);
        }
        clients_free(&clients);
}

static void
dump_entries(const struct intent_entries *in)
{
        printf("head %" PRIu64 ", magazine %" PRIu64 ", n %" PRIu64, load_relaxed(&in->head),
               load_relaxed(&in->magazine), load_relaxed(&in->n));
}

static void
dump_swap(const struct intent_swap *in)
{
        printf("magazine %" PRIu64 ", i %" PRIu64 ", j %" PRIu64 ", a %#" PRIx64 ", b %#" PRIx64,
               load_relaxed(&in->magazine), load_relaxed(&in->i), load_relaxed(&in->j), load_relaxed(&in->a),
               load_relaxed(&in->b));
}

static void
dump_block(const struct intent_block *in)
{
        printf("head %" PRIu64 ", block %#" PRIx64 ", dest %#" PRIx64 ", was %#" PRIx64, load_relaxed(&in->head),
               load_relaxed(&in->block), load_relaxed(&in->dest), load_relaxed(&in->was));
}

static void
dump_handover(const struct intent_handover *in)
{
        printf("magazine %" PRIu64 ", n %" PRIu64 ", block %#" PRIx64 ", dest %#" PRIx64 ", was %#" PRIx64,
               load_relaxed(&in->magazine), load_relaxed(&in->n), load_relaxed(&in->block), load_relaxed(&in->dest),
               load_relaxed(&in->was));
}

#define DUMP(kind, member, name, operands, settle)                                                                     \
        case INTENT_##kind:                                                                                            \
                printf("    intent " name ": ");                                                                       \
                dump_##operands(&intent->member);                                                                      \
                break;

static void
dump_intent(const struct intent *intent)
{
        uint64_t kind = load_relaxed(&intent->kind);

        switch (kind) {
                INTENTS(DUMP)
        case INTENT_NONE:
                return;
        default:
                printf("    intent of no known kind (%" PRIu64 ")", kind);
                break;
        }
        printf("\n");
}

static void
dump_candidate(uint64_t candidate)
{
        static const char *const names[] = {"none", "run", "chunk", "huge block", "root", "magazines"};
        _Static_assert(sizeof names / sizeof names[0] == CANDIDATE_N_KINDS, "each kind has a name");
        enum candidate_kind kind = candidate_kind(candidate);

        if (kind != CANDIDATE_NONE)
                printf("    about to own %s %" PRIu64 ", length %" PRIu64 "\n",
                       kind < CANDIDATE_N_KINDS ? names[kind] : "something of no known kind", candidate_head(candidate),
                       candidate_length(candidate));
}

static uint32_t
count_magazines(const struct region *r, const struct thread_slot *slot)
{
        uint32_t n = 0;

        for (uint32_t place = 0; place < 2 * r->layout.n_tags; place++)
                n += load_relaxed(&slot->magazines[place]) != 0;
        return n;
}

static void
dump_threads(const struct region *r)
{
        struct thread_slot *slot = aligned_alloc(64, r->layout.stride[TABLE_THREADS]);

        printf("\nthreads\n");
        for (uint32_t i = 0; slot && i < region_threads_hwm(r); i++) {
                const struct slot_gate *gate = region_gate(r, i);
                uint32_t binding = load_relaxed(&r->bindings[i]), hand, n_magazines;

                if (!gate || (binding == 0 && load_relaxed(&gate->state) == 0) || load_acquire(&gate->is_bare) != 0)
                        continue;
                file_look(r, r->fd, slot_at(r, i), slot, r->layout.stride[TABLE_THREADS]);
                hand = load_relaxed(&slot->hand);
                n_magazines = count_magazines(r, slot);
                printf("  %u: %s, client %u.%u, tid %u, life %#" PRIx64 ", %u magazine%s, attached %" PRIu64 " time%s",
                       i + 1,
                       binding & BINDING_RESERVE         ? "kept for its client"
                       : load_relaxed(&gate->state) == 1 ? "in use"
                                                         : "being attached or emptied",
                       load_relaxed(&gate->client_idx), load_relaxed(&gate->client_incarnation),
                       load_relaxed(&gate->os_tid), robust_word(&gate->life), n_magazines, text_s(n_magazines),
                       load_relaxed(&slot->n_attached), text_s(load_relaxed(&slot->n_attached)));
                if ((binding & BINDING_USED) && (binding & ~BINDING_USED) != 0)
                        printf(", arena %u", (binding & ~BINDING_USED) - 1);
                printf("%s\n", slot_thread_is_dead_hint(r, i) ? ", dead" : "");
                if (hand != 0)
                        printf("    magazine %u in its hand\n", hand - 1);
                dump_intent(&slot->intent);
                dump_candidate(load_relaxed(&slot->candidate));
        }
        free(slot);
}

/* ------------------------------------------------------------------ memory */

static const char *const chunk_states[8] = {"free", "new", "arena", "huge", "tail", "freeing", "?", "?"};
static const char *const granule_states[16] = {"none", "free", "new", "slab", "large", "cont", "freeing", "purging",
                                               "?",    "?",    "?",   "?",    "?",     "?",    "?",       "?"};

static void
dump_run(const struct region *r, uint64_t granule, uint64_t word)
{
        enum granule_state state = granule_state(word);
        uint32_t class_idx = granule_class(word);

        printf("    granule %" PRIu64 ": %s", granule, granule_states[state]);
        if ((state == GRANULE_SLAB || state == GRANULE_LARGE) && class_idx < SIZE_CLASS_N)
                printf(" of %" PRIu64 " bytes", size_class_bytes(class_idx));
        if (state == GRANULE_SLAB)
                printf(", %u free", granule_count(word));
        if (granule_owner(word) != THREAD_NONE)
                printf(", owned by thread %u", granule_owner(word));
        printf("%s\n", word & GRANULE_DOOMED ? ", doomed" : "");
        (void)r;
}

static void
dump_chunk(const struct region *r, uint64_t chunk, bool is_full)
{
        uint64_t word = load_acquire(&r->chunk_words[chunk]), n_states[16] = {0};
        const char *comma = ": ";

        printf("  chunk %" PRIu64 ": %s", chunk, chunk_states[chunk_state(word)]);
        if (chunk_owner(word) != THREAD_NONE)
                printf(", owned by thread %u", chunk_owner(word));
        if (chunk_state(word) == CHUNK_HUGE)
                printf(" block of %" PRIu64 " bytes in %u chunk%s", load_relaxed(&r->huge_bytes[chunk]),
                       chunk_count(word), text_s(chunk_count(word)));
        if (chunk_state(word) == CHUNK_ARENA)
                printf(" %u", chunk_arena(word));
        if (chunk_node1(word) != 0)
                printf(", memory of node %u", chunk_node1(word) - 1);
        if (chunk_state(word) != CHUNK_ARENA) {
                printf("\n");
                return;
        }
        for (uint64_t g = chunk * GEO_GRANULES_PER_CHUNK; g < (chunk + 1) * GEO_GRANULES_PER_CHUNK; g++)
                n_states[granule_state(load_relaxed(&r->granules[g]))]++;
        for (int i = 0; i < 16; i++)
                if (n_states[i] != 0) {
                        printf("%s%" PRIu64 " %s", comma, n_states[i], granule_states[i]);
                        comma = ", ";
                }
        printf("\n");
        for (uint64_t g = chunk * GEO_GRANULES_PER_CHUNK; g < (chunk + 1) * GEO_GRANULES_PER_CHUNK; g++) {
                uint64_t granule = load_relaxed(&r->granules[g]);
                enum granule_state state = granule_state(granule);

                if (granule_owner(granule) != THREAD_NONE ||
                    (is_full && (state == GRANULE_SLAB || state == GRANULE_LARGE)))
                        dump_run(r, g, granule);
        }
}

/* Chunks that are free and nobody's are counted. */
static void
dump_chunks(const struct region *r, bool is_full)
{
        uint64_t n_free = 0;

        printf("\nchunks\n");
        for (uint64_t chunk = 0; chunk < region_chunks_hwm(r); chunk++) {
                uint64_t word = load_acquire(&r->chunk_words[chunk]);

                if (chunk_state(word) == CHUNK_FREE && chunk_owner(word) == THREAD_NONE)
                        n_free++;
                else
                        dump_chunk(r, chunk, is_full);
        }
        printf("  %" PRIu64 " free\n", n_free);
}

static void
dump_magazines(const struct region *r)
{
        static const char *const names[4] = {"in the pool", "of threads", "in depots", "being purged"};
        uint64_t n_states[4] = {0};

        printf("\nmagazines\n");
        for (uint32_t node = 0; node < r->n_nodes; node++)
                for (uint32_t i = 0; i < region_magazines_hwm(r, node); i++) {
                        uint64_t idx = (uint64_t)node * r->layout.magazines_per_node + i;

                        n_states[magazine_state(owner_load(&r->magazine_words[idx]))]++;
                }
        for (int i = 0; i < 4; i++)
                if (n_states[i] != 0)
                        printf("  %" PRIu64 " %s\n", n_states[i], names[i]);
}

/* ------------------------------------------------------------------ named objects */

static void
dump_roots(const struct view *v)
{
        struct root_views roots;

        roots_read(&v->region, &roots);
        printf("\nroots\n");
        for (uint32_t i = 0; i < roots.n; i++) {
                const struct root_view *root = &roots.all[i];
                char name[ROOT_TEXT_MAX];

                text_escape(name, sizeof name, root->name, sizeof root->name, TEXT_PLAIN);
                printf("  \"%s\": %" PRIu64 " bytes at %#" PRIx64 ", offset %#" PRIx64 "\n", name, root->bytes,
                       v->region.canonical + root->block_off, root->block_off);
        }
        if (roots.is_damaged)
                printf("  damaged: the list ends early\n");
        roots_free(&roots);
}

/* ------------------------------------------------------------------ the verb */

enum { KEY_SAVE = 'o', KEY_FULL = 'f' };

struct dump_args {
        struct ctl_args common;
        const char *save_path;
        bool is_full;
};

static error_t
dump_option(int key, char *arg, struct argp_state *state)
{
        struct dump_args *args = state->input;

        switch (key) {
        case KEY_SAVE:
                args->save_path = arg;
                return 0;
        case KEY_FULL:
                args->is_full = true;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

int
verb_dump(int argc, char **argv)
{
        static const struct argp_option options[] = {
                {"save", KEY_SAVE, "FILE", 0, "Copy the heap, blocks included, to a new FILE instead", 0},
                {"full", KEY_FULL, NULL, 0, "Also each slab and each large block", 0},
                {0}};
        struct dump_args args = {.common = {.wants = CTL_WANTS_NAME | CTL_WANTS_FAULTS}};
        struct check_totals totals;
        struct view v;
        int n, status;

        ctl_parse(argc, argv, &args.common, options, dump_option,
                  "All that is in the tables of a heap: header, clients, threads with what they "
                  "were about to do, chunks, magazines, named objects; and the faults that a check finds.\v"
                  "NAME with a slash in it is the path of a saved heap.");
        status = ctl_view(&v, args.common.name);
        if (status != CTL_GOOD)
                return status;
        if (args.save_path)
                return ctl_view_done(&v, save(&v, args.save_path));
        dump_header(&v);
        dump_clients(&v.region);
        dump_threads(&v.region);
        dump_chunks(&v.region, args.is_full);
        dump_magazines(&v.region);
        dump_roots(&v);
        printf("\ncheck\n");
        n = view_check(&v, 0, stdout, &totals, NULL);
        if (n < 0)
                status = ctl_fail(n);
        else
                printf("  %d fault%s\n", n, text_s((uint64_t)n));
        return ctl_view_done(&v, n > 0 ? CTL_FAULTS : status);
}
