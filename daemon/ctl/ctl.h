/*
 * ctl.h - what the verbs of shmallocctl share.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/text.h"
#include "common/view.h"

enum ctl_exit { CTL_GOOD = 0, CTL_FAULTS = 1, CTL_USAGE = 2, CTL_NONE_SUCH = 3, CTL_NO_PERMISSION = 4 };

/* A verb: argv[0] is "shmallocctl VERB".  Gives the exit status. */
typedef int ctl_verb_fn(int argc, char **argv);

ctl_verb_fn verb_ls, verb_stat, verb_top, verb_clients, verb_map, verb_check, verb_reap, verb_purge, verb_dump,
        verb_explain, verb_roots, verb_rm;

/* ------------------------------------------------------------------ arguments: args.c */

/* What most verbs take.  A verb says which of it by the bits it wants. */
enum ctl_wants {
        CTL_WANTS_NAME = 1,     /* one NAME */
        CTL_WANTS_JSON = 2,     /* --json */
        CTL_WANTS_SOCKET = 4,   /* --socket */
        CTL_WANTS_OPTIONAL = 8, /* NAME may be left out */
        CTL_WANTS_ADDRESS = 16, /* after NAME, an address in it */
        CTL_WANTS_BYTES = 32,   /* --bytes */
        CTL_WANTS_FAULTS = 64,  /* it looks for faults: what its help says of status 1 */
};

/* A verb with options of its own has a struct that begins with this one. */
struct ctl_args {
        unsigned wants;
        const char *usage;   /* NULL: as `wants` has it */
        const char *name;    /* NULL: not given */
        const char *address; /* likewise */
        const char *socket;
        bool is_json;
        bool is_exact; /* sizes to the byte */
};

/* What a verb does with an option of its own; also asked at ARGP_KEY_END, when all have been read.  state->input is the
 * verb's struct.  ARGP_ERR_UNKNOWN for all that is not its own. */
typedef error_t ctl_option_fn(int key, char *arg, struct argp_state *state);

/* Parses the common options and the verb's own (NULL, NULL: it has none), or ends the program with status CTL_USAGE (or
 * 0 after --help).  `doc` is one line, and after \v perhaps more. */
void ctl_parse(int argc, char **argv, struct ctl_args *args, const struct argp_option *own, ctl_option_fn *fn,
               const char *doc);

/* ------------------------------------------------------------------ errors: args.c */

/* Writes "shmallocctl: MESSAGE" with the library's message, and gives the status that belongs to err. */
int ctl_fail(int err);

/* The status alone. */
int ctl_status(int err);

/* Prints a JSON document to stdout and drops it.  The status. */
int ctl_print_json(json_t *document);

/* Opens a heap to look at, or gives the status to end with (> 0) after saying why. */
int ctl_view(struct view *v, const char *name);

/* What to say after looking: a file that was truncated meanwhile is a fault. */
int ctl_view_done(struct view *v, int status);

/* A size as --bytes wants it. */
enum { CTL_SIZE_MAX = 24 };
const char *ctl_bytes(char buf[CTL_SIZE_MAX], const struct ctl_args *args, uint64_t bytes);

/* Whether standard output is a terminal that shows colours, and NO_COLOR does not forbid them. */
bool ctl_use_colour(void);

/* ------------------------------------------------------------------ heaps without a name: nameless.c */

struct nameless {
        const char *name; /* that the file had */
        uint64_t dev, ino;
        uint32_t pid; /* a process that has it mapped */
        int fd;       /* for reading; else -errno */
};

/* Takes over fd.  Non-zero ends the search. */
typedef int nameless_fn(const struct nameless *heap, void *arg);

/* Heaps of this directory that processes have mapped while their file has no name any more, a heap once for each
 * process and stretch: what fn returned, or -errno with the message set. */
int nameless_each(nameless_fn *fn, void *arg);

/* ------------------------------------------------------------------ clients: clients.c */

enum client_view_state {
        CLIENT_VIEW_ALIVE,
        CLIENT_VIEW_STOPPED,
        CLIENT_VIEW_ZOMBIE,   /* dead, and nobody has waited for it */
        CLIENT_VIEW_DEAD,     /* there is no such process, or its locks are all marked */
        CLIENT_VIEW_ELSEWHERE /* of another pid namespace, and not to be found here: only its locks say something */
};

struct client_view {
        uint32_t idx, incarnation;
        uint32_t pid, pid_ns; /* as it has them itself */
        uint32_t pid_here;    /* its number for the caller; 0 = there is none, or it is not to be found */
        uint32_t uid;
        uint64_t start_ticks;                       /* of its process, as it says */
        char name[32];                              /* printable */
        uint32_t n_threads, n_dead_threads, n_held; /* with a slot; with a mark on its lock; with a lock that is held */
        int64_t arena;                              /* of its first thread; -1: none */
        uint32_t n_arenas;
        uint64_t cached_bytes, cached_blocks;
        enum client_view_state state;
};

struct client_views {
        struct client_view *all;
        uint32_t n;
        uint32_t n_dead;
};

enum { CLIENT_TEXT_MAX = 120 };

/* Everybody in the table of clients.  Aborts the program without memory. */
void clients_read(const struct region *r, struct client_views *ret);
void clients_free(struct client_views *clients);
const char *client_state_name(enum client_view_state state);

/* "alive", or "dead, not reaped yet, process 5 of pid namespace 4026532201". */
const char *client_state_text(char text[CLIENT_TEXT_MAX], const struct client_view *client);

bool client_is_dead(const struct client_view *client);

/* It may use the heap: its process lives, or is not to be found and holds a lock. */
bool client_is_living(const struct client_view *client);

/* ------------------------------------------------------------------ named objects: roots.c */

enum { ROOT_TEXT_MAX = LAYOUT_ROOT_NAME_MAX * TEXT_ESCAPED + 1 };

struct root_view {
        char name[LAYOUT_ROOT_NAME_MAX + 1]; /* as it stands in the heap: any bytes */
        uint64_t block_off, bytes;
};

struct root_views {
        struct root_view *all; /* by name */
        uint32_t n;
        bool is_damaged; /* there may be others */
};

/* All names that have an object.  Aborts the program without memory. */
void roots_read(const struct region *r, struct root_views *ret);
void roots_free(struct root_views *roots);

/* ------------------------------------------------------------------ the daemon: ask.c */

/* What the daemon says of itself and its heaps; NULL and *ret_why, a text, when there is none to be asked. */
json_t *ask_daemon(const char *socket_path, const char **ret_why);

/* What it says of one heap; borrowed; NULL: nothing. */
json_t *ask_find(const json_t *daemon, uint64_t dev, uint64_t ino);

#endif
