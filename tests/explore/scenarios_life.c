/*
 * scenarios_life.c - slots: attached to, left by the dead, settled by several, used again; roots.
 */
#include <errno.h>
#include <string.h>

#include "clients/slot.h"
#include "clients/slot_pages.h"
#include "explore/scenarios.h"
#include "heap/reap.h"
#include "heap/root.h"

enum { CLASS_64 = 3 };

static struct script *
play(int k)
{
        world_play(k);
        return &world_scripts[k];
}

/* ------------------------------------------------------------------ attach */

static int
attach(struct script *me)
{
        int err = slot_attach(&me->t, &world_region, &world_client, reap_settle, NULL);

        if (err == 0) {
                me->t.arena = 0;
                me->t.node = 0;
                me->t.seed = 0;
        }
        return err;
}

static void
act_attach(struct script *me)
{
        me->result[0] = 1 + attach(me);
        me->result[1] = (int32_t)me->t.no;
}

/* Who finds a slot keeps it; the other is told that there is none, unless the first has died. */
static const char *
claim_one_slot(void)
{
        const struct script *a = world_script(0), *b = world_script(1);

        if (a->result[0] == 1 && b->result[0] == 1 && a->result[1] == b->result[1] &&
            engine_actor_state(0) != ACTOR_DEAD && engine_actor_state(1) != ACTOR_DEAD)
                return "two living threads have one slot";
        if (a->result[0] != 0 && a->result[0] != 1 && b->result[0] != 0 && b->result[0] != 1)
                return "neither of two threads got the slot";
        return NULL;
}

const struct scenario scenario_attach_attach = {
        .name = "attach-attach",
        .what = "two threads want the last slot",
        .actors = {act_attach, act_attach},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .max_threads = 2,
        .is_unattached = true,
        .claim = claim_one_slot,
};

/* ------------------------------------------------------------------ lend, evict */

/* Its mutex is private memory of one process, and only the borrower among the actors takes it. */
static struct reserve reserve;

static void
setup_reserve(void)
{
        struct script *me = play(0);

        slot_reserve_init(&reserve);
        if (slot_reserve(&reserve, &world_region, &world_client, NULL, NULL) < 0)
                script_complain(me, "no slot to reserve");
}

static void
act_lend(struct script *me)
{
        me->result[0] = 1 + slot_lend(&me->t, &world_region, reap_settle, NULL);
        me->result[1] = (int32_t)me->t.no;
}

static void
act_borrow(struct script *me)
{
        me->result[0] = 1 + slot_borrow(&reserve, &me->t, &world_region, &world_client, reap_settle, NULL);
        me->result[1] = (int32_t)me->t.no;
}

const struct scenario scenario_lend_borrow = {
        .name = "lend-borrow",
        .what = "a client wants its reserve slot, and it is lent to another",
        .setup = setup_reserve,
        .actors = {act_lend, act_borrow},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .max_threads = 2,
        .is_unattached = true,
        .claim = claim_one_slot,
};

/* Not the world's, of which the judge has a slot. */
static struct client_id evictee;

static void
setup_evictee(void)
{
        struct script *me = play(0);

        if (client_register(&world_region, &evictee) < 0)
                script_complain(me, "no place for a client");
}

static void
act_evict(struct script *me)
{
        me->result[0] = client_evict_any(&world_region);
}

static void
act_attach_as_evictee(struct script *me)
{
        me->result[0] = 1 + slot_attach(&me->t, &world_region, &evictee, reap_settle, NULL);
}

/* Who has a slot has a client, and who is told that it has none has been evicted. */
static const char *
claim_slot_of_client(void)
{
        const struct script *evictor = world_script(0), *thread = world_script(1);

        if (thread->result[0] == 1 && engine_actor_state(1) != ACTOR_DEAD &&
            !client_is_registered(&world_region, &evictee))
                return "the client of a living thread was evicted";
        if (thread->result[0] == 1 - ESTALE && evictor->result[0] == 0 && engine_actor_state(0) != ACTOR_DEAD)
                return "a client is gone that nobody has evicted";
        return NULL;
}

const struct scenario scenario_evict_attach = {
        .name = "evict-attach",
        .what = "a client that holds nothing is evicted, and its thread attaches",
        .setup = setup_evictee,
        .actors = {act_evict, act_attach_as_evictee},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .max_threads = 2,
        .is_unattached = true,
        .claim = claim_slot_of_client,
};

/* ------------------------------------------------------------------ slot reuse */

static void
attach_fill_leave(struct script *me)
{
        if (attach(me) < 0)
                return;
        if (script_fill(me, CLASS_64)) {
                script_pop(me, CLASS_64, 1);
                script_put(me, CLASS_64);
        }
        slot_release(&me->t);
}

static void
attach_fill(struct script *me)
{
        if (attach(me) < 0)
                return;
        script_fill(me, CLASS_64);
}

static void
setup_chunk(void)
{
        struct script *me = play(0);

        if (attach(me) < 0)
                return;
        script_alloc(me, 64);
        slot_release(&me->t);
}

const struct scenario scenario_slot_reuse = {
        .name = "slot-reuse",
        .what = "a slot is used, left or died in, and used again",
        .setup = setup_chunk,
        .actors = {attach_fill_leave, attach_fill},
        .n_preemptions = 2,
        .n_deaths = 1,
        .max_threads = 2,
        .is_unattached = true,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ purge */

enum { COUNTED = 5 };

/* Two slots that have been used, and are empty: of threads 2 and 3. */
static void
setup_two_slots(void)
{
        struct script *a = play(0), *b = play(1);

        if (attach(a) < 0 || attach(b) < 0)
                script_complain(a, "no slot");
        b->t.slot->room[0] += COUNTED; /* nobody else counts there */
        slot_release(&a->t);
        slot_release(&b->t);
}

static void
attach_purge(struct script *me)
{
        if (attach(me) == 0)
                slot_purge(&me->t, me->t.no == 2 ? 2 : 1); /* the other one */
}

static void
attach_leave(struct script *me)
{
        if (attach(me) < 0)
                return;
        if (load_relaxed(&me->t.gate->is_bare) != 0)
                script_complain(me, "a slot in use has no pages");
        slot_release(&me->t);
}

/* What has been counted is in the totals or in its slot, and in one of them. */
static const char *
claim_counted_once(void)
{
        uint64_t folding = world_region.header->folding;

        if (folding_owner(folding) != THREAD_NONE && engine_actor_state(0) != ACTOR_DEAD &&
            engine_actor_state(1) != ACTOR_DEAD)
                return "somebody who lives has not finished folding";
        return SLOT_TOTAL(&world_region, room[0]) == COUNTED ? NULL
                                                             : "what a slot has counted is lost, or counts twice";
}

const struct scenario scenario_purge_attach = {
        .name = "purge-attach",
        .what = "the pages of an empty slot are given back while another thread comes and goes",
        .setup = setup_two_slots,
        .actors = {attach_purge, attach_leave},
        .n_preemptions = 3,
        .n_deaths = 1,
        .max_threads = 3,
        .is_unattached = true,
        .claim = claim_counted_once,
};

/* Two more, which nobody attaches to as long as there are those. */
static void
setup_four_slots(void)
{
        static struct thread more[2];
        struct script *a = play(0), *b = play(1);

        memset(more, 0, sizeof more);
        if (attach(a) < 0 || attach(b) < 0)
                script_complain(a, "no slot");
        for (int i = 0; i < 2; i++) {
                if (slot_attach(&more[i], &world_region, &world_client, NULL, NULL) < 0)
                        script_complain(a, "no slot");
                more[i].slot->room[0] += i == 0 ? COUNTED : 0;
        }
        slot_release(&a->t);
        slot_release(&b->t);
        for (int i = 0; i < 2; i++)
                slot_release(&more[i]);
}

static void
attach_purge_third(struct script *me)
{
        if (attach(me) == 0)
                slot_purge(&me->t, 3);
}

static void
attach_purge_fourth(struct script *me)
{
        if (attach(me) == 0)
                slot_purge(&me->t, 4);
}

const struct scenario scenario_purge_purge = {
        .name = "purge-purge",
        .what = "two threads give the pages of two empty slots back",
        .setup = setup_four_slots,
        .actors = {attach_purge_third, attach_purge_fourth},
        .n_preemptions = 2,
        .n_deaths = 1,
        .max_threads = 5,
        .is_unattached = true,
        .claim = claim_counted_once,
};

static void
attach_purge_both(struct script *me)
{
        attach_purge_third(me);
        if (me->t.slot)
                slot_purge(&me->t, 4);
}

/* Each time it is all that has ever been counted. */
static void
look_at_totals(struct script *me)
{
        for (int i = 0; i < 2; i++)
                if (SLOT_TOTAL(&world_region, room[0]) != COUNTED)
                        script_complain(me, "a sum lacks what a slot has counted, or has it twice");
}

const struct scenario scenario_purge_total = {
        .name = "purge-total",
        .what = "what slots have counted is summed up while they are folded",
        .setup = setup_four_slots,
        .actors = {attach_purge_both, look_at_totals},
        .n_preemptions = 3,
        .n_deaths = 1,
        .max_threads = 5,
        .is_unattached = true,
        .claim = claim_counted_once,
};

/* ------------------------------------------------------------------ reap */

static void
fill(struct script *me)
{
        script_fill(me, CLASS_64);
}

static void
reap(struct script *me)
{
        (void)me;
        slot_reap_all(&world_region, reap_settle, NULL);
}

static void
setup_magazine(void)
{
        fill(play(0));
        script_pop(play(0), CLASS_64, 4);
}

const struct scenario scenario_reap_reap = {
        .name = "reap-reap",
        .what = "two reapers settle one thread, and die of it",
        .setup = setup_magazine,
        .actors = {fill, reap},
        .n_preemptions = 2,
        .n_deaths = 2,
        .slow_preemptions = 2,
        .slow_deaths = 3,
        .tests_capacity = true,
};

/* The reapers of the reaper: one after the other, each dies. */
const struct scenario scenario_reap_nested = {
        .name = "reap-nested",
        .what = "a reaper dies, and the one who comes after it",
        .setup = setup_magazine,
        .actors = {fill},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 3,
        .slow_preemptions = ENGINE_UNBOUNDED,
        .slow_deaths = 3,
        .n_reapers = 2,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ roots */

static void
find_or_create(struct script *me)
{
        uint64_t block_off;
        int err;

        me->n_allocating = 1;
        err = root_find_or_create(&me->t, "x", 40, 0, NULL, NULL, NULL, &block_off);
        me->n_allocating = 0;
        if (err < 0)
                script_complain(me, "a root could not be found nor made");
        me->result[0] = (int32_t)block_off + 1;
}

static const char *
claim_one_root(void)
{
        const struct script *a = world_script(0), *b = world_script(1);

        return a->result[0] != 0 && b->result[0] != 0 && a->result[0] != b->result[0] ? "one name, two objects" : NULL;
}

static void
remove_root(struct script *me)
{
        int err;

        me->n_allocating = 1;
        err = root_remove(&me->t, "x");
        me->n_allocating = 0;
        if (err < 0 && err != -ENOENT)
                script_complain(me, "a root could not be removed");
}

static void
setup_slab(void)
{
        script_alloc(play(0), 40);
}

const struct scenario scenario_root_root = {
        .name = "root-root",
        .what = "two make one root",
        .setup = setup_slab,
        .actors = {find_or_create, find_or_create},
        .n_preemptions = 1,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 1,
        .is_reaper_lent = true,
        .claim = claim_one_root,
        .tests_capacity = true,
};

static void
setup_root(void)
{
        find_or_create(play(0));
        world_scripts[0].result[0] = 0;
}

const struct scenario scenario_root_remove = {
        .name = "root-remove",
        .what = "a root is removed while another finds or makes it",
        .setup = setup_root,
        .actors = {remove_root, find_or_create},
        .n_preemptions = 1,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 1,
        .is_reaper_lent = true,
        .tests_capacity = true,
};

static int
init_counted(void *obj, size_t size, void *arg)
{
        struct script *me = arg;

        (void)obj, (void)size;
        me->result[1]++;
        return 0;
}

static void
undo_counted(void *obj, size_t size, void *arg)
{
        struct script *me = arg;

        (void)obj, (void)size;
        me->result[2]++;
}

static void
find_or_create_counted(struct script *me)
{
        uint64_t block_off;

        me->n_allocating = 1;
        if (root_find_or_create(&me->t, "x", 40, 0, init_counted, undo_counted, me, &block_off) < 0)
                script_complain(me, "a root could not be found nor made");
        me->n_allocating = 0;
        me->result[3] = 1;
}

static void
find_or_create_and_take(struct script *me)
{
        uint64_t block_off, size;
        int err;

        find_or_create_counted(me);
        me->result[3] = 0;
        me->n_allocating = 1; /* it is nobody's any more, before it is known to be ours */
        err = root_take(&me->t, "x", &block_off, &size);
        if (err == 0)
                script_hold(me, block_off);
        else
                script_complain(me, "a root could not be taken");
        me->n_allocating = 0;
        me->result[0] = err == 0;
        me->result[3] = 1;
}

/* Of what init() has made nothing is forgotten, unless somebody died. */
static const char *
claim_made_is_there(void)
{
        uint64_t block_off, size;
        int n = 0;

        for (int k = 0; k < 2; k++) {
                const struct script *s = world_script(k);

                if (s->result[3] == 0)
                        return NULL;
                n += s->result[1] - s->result[2] - s->result[0];
        }
        return n == (root_find(&world_region, "x", &block_off, &size) == 0) ? NULL
                                                                            : "an object that was made is forgotten";
}

const struct scenario scenario_root_take = {
        .name = "root-take",
        .what = "two make one root, of which one is undone, and one of them takes it",
        .setup = setup_slab,
        .actors = {find_or_create_and_take, find_or_create_counted},
        .n_preemptions = 1,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 1,
        .is_reaper_lent = true,
        .claim = claim_made_is_there,
        .tests_capacity = true,
};
