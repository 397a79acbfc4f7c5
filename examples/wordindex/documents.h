/*
 * documents.h - which files are indexed, and the words in them.  Private memory only.
 */
#ifndef WORDINDEX_DOCUMENTS_H
#define WORDINDEX_DOCUMENTS_H

#include <stddef.h>
#include <stdint.h>

struct documents {
        char **path;
        size_t n;
        uint64_t bytes;
};

/*
 * The files given, and those below the folders given, in a fixed order.  Without any: the documentation found on this
 * machine, a few MiB of it.  Ends the process with a message if one of the arguments cannot be read, or there is none.
 */
void documents_find(struct documents *documents, char *const *args, size_t n_args);
void documents_free(struct documents *documents);

/* A distinct word of a file. */
struct found_word {
        const char *text; /* in lower case; no NUL behind it */
        uint32_t length;
        uint32_t n;    /* occurrences */
        uint32_t last; /* position of the last one; those before it by words_previous() */
        uint64_t hash;
};

struct words {
        struct found_word *word;
        uint32_t n_distinct, n_total;
        uint32_t *previous; /* by position: where the same word stood before */
        uint32_t *slot;     /* hash table: number of a word, plus 1 */
        uint32_t n_slots;
        char *text;
};

/* Reads a file and counts its words.  0 or -errno. */
int words_read(struct words *words, const char *path);
void words_free(struct words *words);

#endif
