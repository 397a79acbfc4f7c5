/*
 * index.c - the hash table in the heap.
 *
 * A bucket's words, their postings and counts change only under the mutex of its stripe, and only by redo records, so
 * that who holds the mutex sees them complete.  It may well be held while its owner is killed; then the next one is
 * told so.  (While its owner is stopped, others wait: the mutex belongs to this program.  The heap has no such lock.)
 */
#include "index.h"

#include <err.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT_NAME "wordindex"

/* ------------------------------------------------------------------ making and finding it */

static int
init(void *object, size_t size, void *arg)
{
        struct index *index = object;
        pthread_mutexattr_t attr;
        int error;

        (void)size;
        (void)arg;
        pthread_mutexattr_init(&attr);
        error = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        if (error == 0)
                error = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        for (size_t i = 0; error == 0 && i < N_STRIPES; i++)
                error = pthread_mutex_init(&index->stripe[i].mutex, &attr);
        pthread_mutexattr_destroy(&attr);
        return -error;
}

struct index *
index_create(shheap *heap, const struct documents *documents)
{
        struct index *index;
        void *root;

        if (shheap_root(heap, ROOT_NAME, sizeof *index, 0, init, NULL, &root) < 0)
                errx(1, "cannot create the index: %s", shheap_errormsg());
        index = root;
        index->buckets = need_block(shheap_calloc(heap, N_BUCKETS, sizeof *index->buckets));
        index->files = need_block(shheap_calloc(heap, documents->n, sizeof *index->files));
        index->n_files = documents->n;
        for (size_t i = 0; i < documents->n; i++)
                index->files[i].path = need_block(shheap_strdup(heap, documents->path[i]));
        return index;
}

struct index *
index_find(shheap *heap)
{
        void *root;

        if (shheap_root(heap, ROOT_NAME, 0, 0, NULL, NULL, &root) < 0)
                errx(1, "cannot find the index: %s", shheap_errormsg());
        return root;
}

void *
need_block(const void *p)
{
        if (!p)
                err(1, "no block from the heap (%s)", shheap_errormsg());
        return (void *)(uintptr_t)p;
}

void
free_owned(shheap *heap, shref *ref)
{
        int error;

        /* Others have been using the same part of the heap for long: stopped by a debugger, or killed just now. */
        while ((error = shheap_free_from(heap, ref)) == -EBUSY) {
                shheap_reap(heap);
                sched_yield();
        }
        if (error < 0)
                errx(1, "cannot free a block: %s", shheap_errormsg());
}

void
await_settled(shheap *heap, const shref *ref)
{
        int error;

        /* Another process is at settling the dead: stopped by a debugger, or slow. */
        while ((error = shheap_settled(heap, ref)) == -EBUSY)
                sched_yield();
        if (error < 0)
                errx(1, "cannot take over a reference: %s", shheap_errormsg());
}

/* ------------------------------------------------------------------ changing it */

void
stripe_lock(struct index *index, struct stripe *stripe)
{
        int error = pthread_mutex_lock(&stripe->mutex);

        if (error == EOWNERDEAD) {
                redo_finish(&stripe->redo);
                atomic_fetch_add(&index->n_stripes_repaired, 1);
                error = pthread_mutex_consistent(&stripe->mutex);
        }
        if (error != 0)
                errx(1, "cannot lock a stripe: %s", strerror(error));
}

void
stripe_unlock(struct stripe *stripe)
{
        pthread_mutex_unlock(&stripe->mutex);
}

static struct word *
find_word(struct word *first, uint64_t hash, const char *text)
{
        struct word *word = first;

        while (word && (word->hash != hash || strcmp(word->key, text) != 0))
                word = word->next;
        return word;
}

/* A word that is still the draft's own.  What a predecessor left there may be unfinished: it is thrown away. */
static struct word *
new_word(shheap *heap, struct draft *draft)
{
        size_t size = strlen(draft->text) + 1;
        struct word *word;
        char *key;

        free_owned(heap, &draft->word);
        free_owned(heap, &draft->key);
        word = need_block(shheap_malloc_to(heap, sizeof *word, 0, &draft->word));
        key = need_block(shheap_malloc_to(heap, size, 0, &draft->key));
        memcpy(key, draft->text, size);
        *word = (struct word){.key = key, .hash = draft->hash};
        return word;
}

void
index_merge(shheap *heap, struct index *index, struct draft *draft)
{
        struct stripe *stripe = stripe_of(index, draft->hash);
        struct word **bucket = bucket_of(index, draft->hash);
        struct redo *redo = &stripe->redo;
        struct posting *posting;
        struct word *word;

        stripe_lock(index, stripe);
        posting = shheap_ptr(heap, draft->posting);
        if (posting) {
                redo_begin(redo);
                word = find_word(*bucket, draft->hash, draft->text);
                if (!word) {
                        word = new_word(heap, draft);
                        word->next = *bucket;
                        redo_note_pointer(redo, bucket, word);
                        redo_note(redo, &stripe->n_words, stripe->n_words + 1);
                        redo_note(redo, &draft->word, SHREF_NULL);
                        redo_note(redo, &draft->key, SHREF_NULL);
                }
                posting->next = word->postings; /* still private, like the new word: no need to note it */
                redo_note_pointer(redo, &word->postings, posting);
                redo_note(redo, &word->n_files, word->n_files + 1);
                redo_note(redo, &word->n_total, word->n_total + posting->n);
                redo_note(redo, &draft->posting, SHREF_NULL);
                redo_commit(redo); /* the table owns what the draft did, in one step */
        }
        stripe_unlock(stripe);
}

/* ------------------------------------------------------------------ reading it */

static uint64_t
mix(uint64_t digest, uint64_t value)
{
        digest = (digest ^ value) * 0x9e3779b97f4a7c15;
        return digest ^ digest >> 32;
}

static int
by_frequency(const void *a, const void *b)
{
        const struct word *x = *(struct word *const *)a, *y = *(struct word *const *)b;

        if (x->n_total != y->n_total)
                return x->n_total < y->n_total ? 1 : -1;
        return strcmp(x->key, y->key);
}

static uint64_t
posting_digest(const struct word *word, const struct posting *posting)
{
        uint64_t digest = mix(word->hash, posting->n);

        for (const char *c = word->key; *c; c++)
                digest = mix(digest, (unsigned char)*c);
        for (uint32_t i = 0; i < posting->n; i++)
                digest = mix(digest, posting->position[i]);
        return digest;
}

/* Sums do not depend on the order in which workers came by. */
static bool
summarize_word(const struct word *word, struct summary *s)
{
        uint64_t n_total = 0, n_files = 0;

        for (const struct posting *p = word->postings; p; p = p->next) {
                if (p->file >= s->n_files || n_files == s->n_files)
                        return false;
                s->file_digest[p->file] += posting_digest(word, p);
                n_total += p->n;
                n_files++;
        }
        s->n_postings += n_files;
        return n_total == word->n_total && n_files == word->n_files;
}

static void
summarize_top(struct word **words, size_t n_top, struct summary *s)
{
        if (s->n_distinct > 1)
                qsort(words, s->n_distinct, sizeof *words, by_frequency);
        s->n_top = n_top < s->n_distinct ? n_top : s->n_distinct;
        s->top = calloc(s->n_top + 1, sizeof *s->top);
        for (size_t i = 0; s->top && i < s->n_top; i++) {
                char *key = strdup(words[i]->key);
                if (!key)
                        err(1, "memory");
                s->top[i] = (struct top_word){key, words[i]->n_total, words[i]->n_files};
        }
}

void
index_summarize(struct index *index, size_t n_top, struct summary *ret_summary)
{
        struct summary s = {.n_files = index->n_files};
        struct word **words = NULL;
        bool is_right = true;
        uint64_t room = 0;

        s.file_digest = calloc(index->n_files, sizeof *s.file_digest);
        for (size_t i = 0; i < N_STRIPES; i++) {
                stripe_lock(index, &index->stripe[i]); /* the last one who had it may have been killed */
                room += index->stripe[i].n_words;
                stripe_unlock(&index->stripe[i]);
        }
        words = calloc(room + 1, sizeof *words);
        if (!s.file_digest || !words)
                err(1, "memory");

        for (size_t i = 0; i < N_BUCKETS; i++) {
                for (struct word *w = index->buckets[i]; w && is_right; w = w->next) {
                        is_right = s.n_distinct < room && summarize_word(w, &s);
                        if (is_right)
                                words[s.n_distinct++] = w;
                }
        }
        for (size_t i = 0; i < index->n_files; i++) {
                s.n_words += index->files[i].n_words;
                s.n_failed += FILE_STATE_OF(atomic_load(&index->files[i].state)) == FILE_FAILED;
                s.digest = mix(s.digest + i, s.file_digest[i]);
        }
        if (!is_right || s.n_distinct != room)
                errx(1, "the index is wrong: what is in it differs from the counts kept with it");
        summarize_top(words, n_top, &s);
        free(words);
        *ret_summary = s;
}

void
summary_free(struct summary *summary)
{
        for (size_t i = 0; i < summary->n_top; i++)
                free(summary->top[i].key);
        free(summary->top);
        free(summary->file_digest);
        *summary = (struct summary){0};
}

/* ------------------------------------------------------------------ giving it back */

static uint64_t
destroy_word(shheap *heap, struct word *word)
{
        struct posting *posting, *next;
        uint64_t n = 2;

        for (posting = word->postings; posting; posting = next, n++) {
                next = posting->next;
                shheap_free(heap, posting);
        }
        shheap_free(heap, word->key);
        shheap_free(heap, word);
        return n;
}

uint64_t
index_destroy(shheap *heap, struct index *index)
{
        struct word *word, *next;
        uint64_t n = 3;

        for (size_t i = 0; i < N_BUCKETS; i++) {
                for (word = index->buckets[i]; word; word = next) {
                        next = word->next;
                        n += destroy_word(heap, word);
                }
        }
        for (size_t i = 0; i < index->n_files; i++, n++)
                shheap_free(heap, index->files[i].path);
        shheap_free(heap, index->files);
        shheap_free(heap, index->buckets);
        /* A robust mutex may be freed only when no process that has ever held it is about to die: all have ended. */
        if (shheap_root_remove(heap, ROOT_NAME) < 0)
                errx(1, "cannot remove the index: %s", shheap_errormsg());
        return n;
}
