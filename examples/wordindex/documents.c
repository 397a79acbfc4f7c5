/*
 * documents.c - which files are indexed, and the words in them.
 *
 * A word is a run of letters, without regard to case; every byte of a multi-byte character counts as a letter.  What is
 * longer than WORD_MAX is cut there.
 */
#include "documents.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        WORD_MIN = 2,
        WORD_MAX = 40,
        FILE_BYTES_MAX = 1 << 30, /* positions are 32 bits wide */
        /* Of what is found on the machine: enough to keep some processes busy for a second or so. */
        DEFAULT_BYTES_MAX = 8 << 20,
        DEFAULT_FILE_BYTES_MAX = 256 << 10,
};

static char *const default_roots[] = {"/usr/share/doc", "/usr/share/common-licenses", "/usr/share/man", NULL};

/* ------------------------------------------------------------------ files */

static void *
need(void *p)
{
        if (!p)
                err(1, "memory");
        return p;
}

static void
add(struct documents *d, const char *path, uint64_t bytes)
{
        if ((d->n & (d->n - 1)) == 0)
                d->path = need(reallocarray(d->path, d->n ? 2 * d->n : 1, sizeof *d->path));
        d->path[d->n++] = need(strdup(path));
        d->bytes += bytes;
}

static int
by_name(const FTSENT **a, const FTSENT **b)
{
        return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* By its name and its first bytes. */
static bool
looks_like_text(const char *path)
{
        static const char *const others[] = {".js", ".css", ".svg", ".xml", ".html", ".htm", ".json", ".map", ".pdf"};
        const char *suffix = strrchr(path, '.');
        unsigned char start[1024];
        ssize_t n;
        int fd;

        for (size_t i = 0; suffix && i < sizeof others / sizeof *others; i++)
                if (strcmp(suffix, others[i]) == 0)
                        return false;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return false;
        n = read(fd, start, sizeof start);
        close(fd);
        for (ssize_t i = 0; i < n; i++)
                if (start[i] < ' ' && !strchr("\t\n\v\f\r\b\033", start[i]))
                        return false;
        return n > 0 && !memchr(start, 0, (size_t)n);
}

static void
find_default(struct documents *d)
{
        FTS *fts = need(fts_open(default_roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name));
        FTSENT *e;

        while ((e = fts_read(fts)) != NULL) {
                uint64_t bytes = e->fts_info == FTS_F ? (uint64_t)e->fts_statp->st_size : 0;
                if (bytes > 0 && bytes <= DEFAULT_FILE_BYTES_MAX && d->bytes + bytes <= DEFAULT_BYTES_MAX &&
                    looks_like_text(e->fts_path))
                        add(d, e->fts_path, bytes);
        }
        fts_close(fts);
        if (d->n == 0)
                errx(2, "there is no documentation on this machine to index; name some files");
}

/* Links are followed where they are named as an argument, not below a folder. */
static void
find_given(struct documents *d, char *const *args)
{
        FTS *fts = need(fts_open(args, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name));
        FTSENT *e;

        while ((e = fts_read(fts)) != NULL) {
                bool is_argument = e->fts_level == FTS_ROOTLEVEL;
                switch (e->fts_info) {
                case FTS_F:
                        if (e->fts_statp->st_size > FILE_BYTES_MAX)
                                errx(2, "%s: larger than 1 GiB", e->fts_path);
                        if (access(e->fts_path, R_OK) < 0)
                                err(2, "%s", e->fts_path);
                        add(d, e->fts_path, (uint64_t)e->fts_statp->st_size);
                        break;
                case FTS_DNR:
                case FTS_ERR:
                case FTS_NS:
                case FTS_SLNONE:
                        errx(2, "%s: %s", e->fts_path, strerror(e->fts_errno ? e->fts_errno : ENOENT));
                case FTS_DEFAULT:
                        if (is_argument)
                                errx(2, "%s: neither a file nor a folder", e->fts_path);
                        break;
                default:
                        break;
                }
        }
        fts_close(fts);
        if (d->n == 0)
                errx(2, "there are no files in the folders given");
}

void
documents_find(struct documents *documents, char *const *args, size_t n_args)
{
        *documents = (struct documents){0};
        if (n_args > 0)
                find_given(documents, args);
        else
                find_default(documents);
}

void
documents_free(struct documents *documents)
{
        for (size_t i = 0; i < documents->n; i++)
                free(documents->path[i]);
        free(documents->path);
}

/* ------------------------------------------------------------------ words */

/* All of the file, in *ret_text.  The length or -errno. */
static ssize_t
read_file(const char *path, char **ret_text)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t n = 0, room = 0;
        char *text = NULL;
        struct stat st;
        ssize_t got;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) == 0)
                room = (size_t)st.st_size + 1;
        text = need(malloc(room + 1));
        while ((got = read(fd, text + n, room - n)) > 0) {
                n += (size_t)got;
                if (n < room || n > FILE_BYTES_MAX)
                        continue;
                room *= 2;
                text = need(realloc(text, room + 1));
        }
        if (got < 0)
                got = -errno;
        close(fd);
        if (got < 0 || n > FILE_BYTES_MAX) {
                free(text);
                return got < 0 ? got : -EFBIG;
        }
        *ret_text = text;
        return (ssize_t)n;
}

static bool
is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

/* The slot of the word, or the empty one where it belongs. */
static uint32_t *
find_slot(const struct words *w, const char *text, uint32_t length, uint64_t hash)
{
        uint32_t i = (uint32_t)hash & (w->n_slots - 1);

        while (w->slot[i] != 0) {
                const struct found_word *f = &w->word[w->slot[i] - 1];
                if (f->hash == hash && f->length == length && memcmp(f->text, text, length) == 0)
                        break;
                i = (i + 1) & (w->n_slots - 1);
        }
        return &w->slot[i];
}

static void
grow(struct words *w)
{
        free(w->slot);
        w->n_slots = w->n_slots ? 2 * w->n_slots : 1024;
        w->slot = need(calloc(w->n_slots, sizeof *w->slot));
        w->word = need(reallocarray(w->word, w->n_slots, sizeof *w->word));
        for (uint32_t i = 0; i < w->n_distinct; i++)
                *find_slot(w, w->word[i].text, w->word[i].length, w->word[i].hash) = i + 1;
}

static void
add_word(struct words *w, const char *text, uint32_t length, uint64_t hash)
{
        uint32_t *slot, position = w->n_total++;
        struct found_word *f;

        if (2 * w->n_distinct >= w->n_slots)
                grow(w);
        slot = find_slot(w, text, length, hash);
        if (*slot == 0) {
                w->word[w->n_distinct] = (struct found_word){.text = text, .length = length, .hash = hash};
                *slot = ++w->n_distinct;
        }
        f = &w->word[*slot - 1];
        w->previous[position] = f->last;
        f->last = position;
        f->n++;
}

int
words_read(struct words *words, const char *path)
{
        struct words w = {0};
        ssize_t n = read_file(path, &w.text);

        if (n < 0)
                return (int)n;
        w.previous = need(calloc((size_t)n / (WORD_MIN + 1) + 1, sizeof *w.previous));
        for (ssize_t i = 0; i < n;) {
                uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
                ssize_t start = i;

                for (; i < n && is_letter(w.text[i]); i++) {
                        if (i - start >= WORD_MAX)
                                continue;
                        if (w.text[i] >= 'A' && w.text[i] <= 'Z')
                                w.text[i] = (char)(w.text[i] - 'A' + 'a');
                        hash = (hash ^ (unsigned char)w.text[i]) * 0x100000001b3;
                }
                if (i - start >= WORD_MIN)
                        add_word(&w, w.text + start, (uint32_t)(i - start < WORD_MAX ? i - start : WORD_MAX), hash);
                else if (i == start)
                        i++;
        }
        *words = w;
        return 0;
}

void
words_free(struct words *words)
{
        free(words->word);
        free(words->previous);
        free(words->slot);
        free(words->text);
}
