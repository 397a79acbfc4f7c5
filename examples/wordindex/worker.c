/*
 * worker.c - the life of a worker process, which may end at any instruction.
 *
 *      claim    file TODO -> TAKEN(w), by compare-and-swap
 *      draft    read the file; a draft for each of its words, in the list of place w
 *      commit   file TAKEN(w) -> DRAFTED(w), by one store
 *      merge    each draft's posting goes to the table (index_merge)
 *      sweep    the drafts, empty by now, are freed
 *      done     file DRAFTED(w) -> DONE, by one store
 *
 *      killed in    what the next worker in place w finds       what it does (settle)
 *      claim        TODO, or TAKEN and no draft                 nothing; or draft
 *      draft        TAKEN, some drafts                          free them; draft
 *      merge        DRAFTED, drafts with and without posting    merge those that have one; sweep; done
 *      sweep        DRAFTED, some drafts                        the same
 *      settle       one of these                                the same
 */
#include "worker.h"

#include <err.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "index.h"

/* This process. */
struct self {
        shheap *heap;
        struct index *index;
        struct worker *place;
        unsigned number;
        uint64_t n_looked_at; /* files before this one are not TODO, and never will be again */
};

/* ------------------------------------------------------------------ the list of drafts */

static struct draft *
push_draft(struct self *self, const struct found_word *found)
{
        struct worker *place = self->place;
        struct draft *draft =
                need_block(shheap_malloc_to(self->heap, sizeof *draft + found->length + 1, SHA_ZERO, &place->pending));

        memcpy(draft->text, found->text, found->length);
        draft->hash = found->hash;
        draft->next = place->drafts;
        keep_order();
        place->drafts = place->pending;
        keep_order();
        place->pending = SHREF_NULL;
        keep_order();
        return draft;
}

/* Frees the list's first draft, with all that it still owns. */
static void
pop_draft(struct self *self)
{
        struct worker *place = self->place;
        struct draft *draft = shheap_ptr(self->heap, place->drafts);

        free_owned(self->heap, &draft->posting);
        free_owned(self->heap, &draft->word);
        free_owned(self->heap, &draft->key);
        place->pending = place->drafts;
        keep_order();
        place->drafts = draft->next;
        keep_order();
        free_owned(self->heap, &place->pending);
}

static void
pop_all_drafts(struct self *self)
{
        while (self->place->drafts != SHREF_NULL)
                pop_draft(self);
}

/* The predecessor was killed while a draft was on its way in or out. */
static void
settle_pending(struct self *self)
{
        struct worker *place = self->place;

        if (place->pending == place->drafts)
                place->pending = SHREF_NULL;
        else
                free_owned(self->heap, &place->pending);
        keep_order();
}

/* ------------------------------------------------------------------ a file */

static void
set_state(struct self *self, struct file *file, enum file_state state)
{
        /* Release: whoever sees the state, the process that prints it all, sees what was done before. */
        keep_order();
        atomic_store_explicit(&file->state, FILE_STATE(state, self->number), memory_order_release);
        keep_order();
}

static void
draft_word(struct self *self, const struct words *words, const struct found_word *found, uint32_t file)
{
        struct draft *draft = push_draft(self, found);
        size_t size = sizeof(struct posting) + found->n * sizeof(uint32_t);
        struct posting *posting = need_block(shheap_malloc_to(self->heap, size, 0, &draft->posting));
        uint32_t position = found->last;

        *posting = (struct posting){.file = file, .n = found->n};
        for (uint32_t i = found->n; i-- > 0; position = words->previous[position])
                posting->position[i] = position;
}

/* TAKEN to DRAFTED; or to FAILED. */
static void
draft_file(struct self *self, struct file *file)
{
        uint32_t number = (uint32_t)(file - self->index->files);
        struct words words;
        int error = words_read(&words, file->path);

        if (error < 0) {
                warnx("%s: %s", file->path, strerror(-error));
                set_state(self, file, FILE_FAILED);
                return;
        }
        for (uint32_t i = 0; i < words.n_distinct; i++)
                draft_word(self, &words, &words.word[i], number);
        file->n_words = words.n_total;
        words_free(&words);
        set_state(self, file, FILE_DRAFTED);
}

/* DRAFTED to DONE. */
static void
merge_file(struct self *self, struct file *file)
{
        shref ref = self->place->drafts;
        struct draft *draft;

        while ((draft = shheap_ptr(self->heap, ref)) != NULL) {
                index_merge(self->heap, self->index, draft);
                ref = draft->next;
        }
        pop_all_drafts(self);
        set_state(self, file, FILE_DONE);
}

static void
index_file(struct self *self, struct file *file)
{
        draft_file(self, file);
        if (FILE_STATE_OF(atomic_load(&file->state)) == FILE_DRAFTED)
                merge_file(self, file);
}

/* The next file that nobody has taken, or NULL. */
static struct file *
claim_file(struct self *self)
{
        while (self->n_looked_at < self->index->n_files) {
                struct file *file = &self->index->files[self->n_looked_at++];
                uint64_t todo = FILE_STATE(FILE_TODO, 0);
                if (atomic_compare_exchange_strong(&file->state, &todo, FILE_STATE(FILE_TAKEN, self->number)))
                        return file;
        }
        return NULL;
}

/* First the heap's own part.  What the predecessor was just allocating or freeing, for any of the references that this
 * place owns, has been done or undone before one of them is believed. */
static void
settle_references(struct self *self)
{
        await_settled(self->heap, &self->place->pending);
        await_settled(self->heap, &self->place->drafts);
        for (struct draft *draft = shheap_ptr(self->heap, self->place->drafts); draft;
             draft = shheap_ptr(self->heap, draft->next)) {
                await_settled(self->heap, &draft->posting);
                await_settled(self->heap, &draft->word);
                await_settled(self->heap, &draft->key);
        }
}

/* Finishes what the last process in this place was killed in. */
static void
settle(struct self *self)
{
        struct index *index = self->index;
        struct file *file = NULL;
        bool is_drafted = false;

        settle_references(self);
        settle_pending(self);
        for (uint64_t i = 0; i < index->n_files && !file; i++) {
                uint64_t state = atomic_load(&index->files[i].state);
                is_drafted = state == FILE_STATE(FILE_DRAFTED, self->number);
                if (is_drafted || state == FILE_STATE(FILE_TAKEN, self->number))
                        file = &index->files[i];
        }
        if (is_drafted) {
                atomic_fetch_add(&index->n_merged_by_successor, 1);
                merge_file(self, file);
        } else if (file) {
                atomic_fetch_add(&index->n_begun_again, 1);
                pop_all_drafts(self);
                index_file(self, file);
        }
}

int
worker_run(const char *heap_name, unsigned number)
{
        struct self self = {.number = number};
        struct file *file;

        if (shheap_open(&self.heap, heap_name, 0, NULL) < 0) {
                warnx("worker %u: %s", number, shheap_errormsg());
                return 1;
        }
        self.index = index_find(self.heap);
        self.place = &self.index->worker[number];
        settle(&self);
        while ((file = claim_file(&self)) != NULL)
                index_file(&self, file);
        shheap_close(self.heap);
        return 0;
}
