#!/bin/sh
# plant.sh - an explorer that finds nothing proves nothing: plants a bug in a copy of one library source, and requires
# that a scenario shows it.
#
#   plant.sh MUTATION SETTINGS DIRECTORY     SETTINGS: written by CMake, how to compile and link
set -eu

mutation=$1
. "$2"
options="-p 2 -c 1"
directory=$3/$mutation

# Mutations: file below lib/, scenario and its options, and what sed does.
case $mutation in
fill-intent-before-entries)
        file=blocks/slab.c scenario=fill-fill
        script='s|k = choose_blocks(r, head, class_idx, &backing, want, m->slot);.*|k = n_free < want ? n_free : want;|
                s|clear_lowest(r, head, class_idx, &backing, k); */\* FILL.5.*|\
choose_blocks(r, head, class_idx, \&backing, k, m->slot);\
clear_lowest(r, head, class_idx, \&backing, k);|'
        ;;
fill-commit-before-bits)
        file=blocks/slab.c scenario=fill-fill
        script='s|clear_lowest(r, head, class_idx, &backing, k); */\* FILL.5.*|store_relaxed(\&m->n, (uint64_t)k);\
clear_lowest(r, head, class_idx, \&backing, k);|'
        ;;
candidate-cleared-before-release)
        file=blocks/slab.c scenario=fill-drain
        script='/^release_stamped(struct thread/,/^}/ {
                        s|^ *granule_release(r, t->no, run_word(r, head),|candidate_clear(t); &|
                }'
        ;;
drain-commit-before-bits)
        file=blocks/slab.c scenario=fill-drain
        script='/^slab_drain(/,/^}/ {
                        s|^ *for (uint32_t i = 0; i < k; i++) {|store_relaxed(\&m->n, n - k); kill_order(); &|
                }'
        ;;
double-free-unseen)
        file=blocks/slab.c scenario=double-free
        script='/^slab_free_one(/,/^}/s|if (bit_is_set(r, head, block_idx)) {|if (t->no == 0) {|'
        ;;
hand-cleared-before-place)
        file=blocks/magazine.c scenario=depot-take-take
        script='/^magazine_place(/,/^}/s|^ *store_relaxed(place, idx + 1);|hand_set(t, 0); &|'
        ;;
place-emptied-before-magazine)
        file=blocks/sift.c scenario=reap-reap
        options='-p 1 -c 2'
        script='s|^ *if (idx1 == 0)$|store_relaxed(\&slot->magazines[place], 0u); kill_order(); &|'
        ;;
free-head-first)
        file=pages/run.c scenario=large-overlap
        script='/^run_free_owned(/,/^}/ {
                        s|^ *for (uint32_t i = 1; i < granules; i++) {|uint64_t first = owner_load(run_word(r, head));\
owner_release(run_word(r, head), run_free_word(first, stamp));\n&|
                }'
        ;;
huge-drain-commit-first)
        file=blocks/huge.c scenario=huge-drain-give
        script='/^huge_drain(/,/^}/ {
                        s|^ *if (!chunk_acquire(t, &r->chunk_words|store_relaxed(\&m->n, n - 1); kill_order(); &|
                }'
        ;;
huge-drain-not-settled)
        file=heap/reap.c scenario=huge-drain-claim
        options='-p 2 -c 1'
        script='/^redo_drain_huge(/,/^}/s|store_relaxed(&m->n, in->n);|return;|'
        ;;
settle-without-head)
        file=pages/run.c scenario=claim-claim
        script='/^run_settle(/,/^}/s| && owns_head;|;|'
        ;;
doomed-unseen)
        file=blocks/large.c scenario=grow-free
        script='/^drop_owner(/,/^}/s|while (!(seen & GRANULE_DOOMED))|for (;;)|'
        ;;
undo-forgotten)
        file=heap/root.c scenario=root-take
        options='-p 1 -c 1'
        script='s/if (err != 0 && is_built && undo)/if (err < 0 \&\& is_built \&\& undo)/'
        ;;
retire-chunk-before-words)
        file=pages/chunk.c scenario=retire-give
        script='/^chunk_retire(/,/^}/{
                s|^ *for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++)|release_free(t, chunk); &|
                /RETIRE.5/d
                }'
        ;;
slot-taken-while-folded)
        file=clients/slot_pages.c scenario=purge-attach
        script='/^slot_back(/,/^}/s|if (folding_slot_no(folding_load(r)) == idx + 1)|if (idx == UINT32_MAX)|'
        ;;
folds-at-once)
        file=clients/slot_pages.c scenario=purge-purge
        script='/^fold(/,/^}/s|if (folding_owner(word) != THREAD_NONE)|if (t->no == THREAD_NONE)|'
        ;;
totals-looked-at-once)
        file=clients/slot_pages.c scenario=purge-total
        script='/^slot_totals(/,/^}/s|if (folding_n(folding) == folding_n(before))|if (tries >= 0)|'
        ;;
totals-with-the-folded)
        file=clients/slot_pages.c scenario=purge-total
        script='/^sum_once(/,/^}/s|folding_is_committed(folding) \&\& |false \&\& |'
        ;;
sweep-of-the-dead-unseen)
        file=pages/chunk.c scenario=sweep-give
        script='/^chunk_settle(/,/^}/s|^ *settle_beyond(r, thread_no, chunk);||'
        ;;
slot-emptied-after-unlock)
        file=clients/slot.c scenario=slot-reuse
        script='/^slot_reap(/,/^}/{
                s|^ *slot_empty(r, gate, idx, slot_is_kept.*|slot_unlock_both(gate);|
                s|^ *slot_unlock_both(gate); .*REAP.6.*|slot_empty(r, gate, idx, 0);|
                }'
        ;;
slot-locked-blindly)
        file=clients/slot.c scenario=attach-attach
        script='/^slot_lock_empty(/,/^}/ {
                        s|if (slot_is_empty(r, idx) && slot_lock_life(gate) >= 0) {|\
if (liveness->lock_try(\&gate->life, 0, true) >= 0) {|
                }'
        ;;
slot-lent-blindly)
        file=clients/slot.c scenario=lend-borrow
        script='/^lend_lock(/,/^}/s|got = slot_lock_life(gate);|got = 0;|'
        ;;
attach-unconfirmed)
        file=clients/client.c scenario=evict-attach
        script='/^client_confirm(/,/^}/s|if (cas_release(&slot->word, &word, word_attached(word)))|if (true)|'
        ;;
root-published-by-store)
        file=heap/root.c scenario=root-root
        options='-p 1 -c 0'
        script='s|if (cell_cas(&record->object, 0, mark)) {|store_release(\&record->object, mark); if (true) {|'
        ;;
*)
        echo "plant.sh: no mutation $mutation" >&2
        exit 2
        ;;
esac

rm -rf "$directory"
mkdir -p "$directory"
sed -e "$script" "$LIB/$file" > "$directory/mutated.c"
if cmp -s "$LIB/$file" "$directory/mutated.c"; then
        echo "plant.sh: $mutation changes nothing in $file: the source has moved on, and so must the mutation" >&2
        exit 1
fi
diff "$LIB/$file" "$directory/mutated.c" || true
eval "$CC $HOOKED_FLAGS -I'$LIB/$(dirname "$file")' -c -o '$directory/mutated.o' '$directory/mutated.c'"
eval "$CC $LINK_FLAGS -o '$directory/explore' '$directory/mutated.o' $LINK_OBJECTS"
exec "$directory/explore" $options --expect-fault "$scenario"
