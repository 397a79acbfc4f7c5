/*
 * robust.c - process-shared robust mutexes that live in zeroed, type-stable memory.
 *
 * The C library keeps the mutexes that a thread holds in a list, which the kernel walks when the thread dies: it
 * replaces the thread id in each futex word by a mark, and the next trylock gives EOWNERDEAD.  The walk does not
 * happen when the address space went first (the OOM reaper, process_mrelease) and stops early when the list leads
 * through memory that is no longer mapped.  Then the word names a thread id that nobody has any more, and whoever finds
 * that does the kernel's work with one compare-and-swap of exactly that word.
 *
 * Why the memory must stay a mutex for ever: a thread that dies between unlocking and clearing its note about it lets
 * the kernel look at the word later (glibc bug 14485).  The kernel changes it only if it holds the dead thread's id,
 * so in a word that is never anything else than a futex word no live holder can be hit.
 *
 * What this gave up: a word whose thread id has been given to another thread says "held" until that one goes too.
 */
#include "os/robust.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>

#include "base/verify.h"
#include "os/process.h"
#include "os/shield.h"

_Static_assert(ROBUST_TID_MASK == FUTEX_TID_MASK, "as the kernel has it");
_Static_assert(ROBUST_OWNER_DIED == FUTEX_OWNER_DIED, "as the kernel has it");
_Static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0, "the futex word comes first");
_Static_assert(sizeof(pthread_mutex_t) % sizeof(uint32_t) == 0, "an image is whole words");

enum { ROBUST_WORDS = sizeof(pthread_mutex_t) / sizeof(uint32_t) };

static uint32_t image[ROBUST_WORDS]; /* of an initialised mutex; the futex word in it is 0 */
static struct once image_once = ONCE_INIT;

/* None of these calls can fail on the C libraries that have them: they only fill in memory. */
static void
image_make(void)
{
        pthread_mutexattr_t attr;
        pthread_mutex_t m;

        CHECK(pthread_mutexattr_init(&attr) == 0);
        CHECK(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0);
        CHECK(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
        CHECK(pthread_mutex_init(&m, &attr) == 0);
        memcpy(image, &m, sizeof m);
        pthread_mutex_destroy(&m);
        pthread_mutexattr_destroy(&attr);
}

void
robust_init(pthread_mutex_t *m)
{
        uint32_t *words = (uint32_t *)(void *)m;

        once_do(&image_once, image_make);
        /* Relaxed: every initialiser stores the same, and each stores before its own trylock. */
        for (unsigned w = 1; w < ROBUST_WORDS; w++)
                if (image[w] != 0 && load_relaxed(&words[w]) != image[w])
                        store_relaxed(&words[w], image[w]);
}

int
robust_trylock(pthread_mutex_t *m)
{
        int err = pthread_mutex_trylock(m);

        return err == EOWNERDEAD ? 1 : -err;
}

void
robust_recover(pthread_mutex_t *m)
{
        pthread_mutex_consistent(m); /* EINVAL: it was consistent */
}

void
robust_unlock(pthread_mutex_t *m)
{
        uint32_t *kind = (uint32_t *)(void *)&m->__data.__kind;
        uint32_t sound = image[offsetof(pthread_mutex_t, __data.__kind) / sizeof(uint32_t)];

        if (sound != 0 && load_relaxed(kind) != sound) /* damaged while we held it: the C library would abort */
                store_relaxed(kind, sound);
        pthread_mutex_unlock(m); /* EPERM: the word does not name this thread, so it is not ours to change */
}

bool
robust_mark(pthread_mutex_t *m, uint32_t word)
{
        /* Relaxed: it hands nothing over, the trylock that follows does. */
        return cas_relaxed((uint32_t *)(void *)m, &word, word | ROBUST_OWNER_DIED);
}

bool
robust_mark_dead(pthread_mutex_t *m, uint32_t word)
{
        return process_thread_is_gone(word & ROBUST_TID_MASK) && robust_mark(m, word);
}
