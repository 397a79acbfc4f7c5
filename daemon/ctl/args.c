/*
 * args.c - the arguments that verbs share, and how they fail.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "common/protocol.h"
#include "common/text.h"
#include "ctl/ctl.h"
#include "region/options.h"

enum { KEY_JSON = 'j', KEY_SOCKET = 's', KEY_BYTES = 'b' };

/* Those that a verb does not have are known, so that it can say so, but not shown. */
static struct argp_option options[] = {
        {"json", KEY_JSON, NULL, 0, "Print one JSON document", 0},
        {"bytes", KEY_BYTES, NULL, 0, "Sizes to the byte, not as 1.5 GiB", 0},
        {"socket", KEY_SOCKET, "PATH", 0, "Of the daemon; default: SHMALLOC_SOCKET, or " PROTOCOL_SOCKET, 0},
        {0}};

static void
show_only(unsigned wants)
{
        for (struct argp_option *o = options; o->name; o++)
                o->flags = wants & (o->key == KEY_JSON    ? CTL_WANTS_JSON
                                    : o->key == KEY_BYTES ? CTL_WANTS_BYTES
                                                          : CTL_WANTS_SOCKET)
                                   ? 0
                                   : OPTION_HIDDEN;
}

static void
take_argument(struct ctl_args *args, char *arg, struct argp_state *state)
{
        if (!args->name && (args->wants & (CTL_WANTS_NAME | CTL_WANTS_OPTIONAL)))
                args->name = arg;
        else if (args->name && !args->address && (args->wants & CTL_WANTS_ADDRESS))
                args->address = arg;
        else
                argp_error(state, "too many arguments: \"%s\"", arg);
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
        struct ctl_args *args = state->input;

        switch (key) {
        case KEY_JSON:
                if (!(args->wants & CTL_WANTS_JSON))
                        argp_error(state, "this verb has no --json");
                args->is_json = true;
                return 0;
        case KEY_BYTES:
                if (!(args->wants & CTL_WANTS_BYTES))
                        argp_error(state, "this verb has no --bytes");
                args->is_exact = true;
                return 0;
        case KEY_SOCKET:
                if (!(args->wants & CTL_WANTS_SOCKET))
                        argp_error(state, "this verb does not ask the daemon: it has no --socket");
                args->socket = arg;
                return 0;
        case ARGP_KEY_INIT:
                show_only(args->wants);
                args->socket = options_env(OPTIONS_ENV_SOCKET);
                if (!args->socket)
                        args->socket = PROTOCOL_SOCKET;
                return 0;
        case ARGP_KEY_ARG:
                take_argument(args, arg, state);
                return 0;
        case ARGP_KEY_END:
                if (!args->name && (args->wants & CTL_WANTS_NAME))
                        argp_error(state, "name a heap (shmallocctl ls shows what there is)");
                if (!args->address && (args->wants & CTL_WANTS_ADDRESS))
                        argp_error(state, "say which address in it");
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static ctl_option_fn *verb_option; /* of the verb that runs */

static error_t
parse_own(int key, char *arg, struct argp_state *state)
{
        if (key == ARGP_KEY_INIT) {
                state->child_inputs[0] = state->input; /* which begins with it */
                return 0;
        }
        return verb_option ? verb_option(key, arg, state) : ARGP_ERR_UNKNOWN;
}

/* How it may end, for --help. */
static char *
exit_text(unsigned wants)
{
        char *text = NULL;

        if (asprintf(&text, "Exit status: 0 good, 1 %s, 2 usage, 3 no such %s, 4 no permission.",
                     wants & CTL_WANTS_FAULTS ? "faults found, or something failed" : "something failed",
                     wants & (CTL_WANTS_NAME | CTL_WANTS_OPTIONAL) ? "heap" : "directory") < 0)
                return NULL;
        return text;
}

static char *
filter_help(int key, const char *text, void *input)
{
        const struct ctl_args *args = input;

        if (key == ARGP_KEY_HELP_EXTRA && args)
                return exit_text(args->wants);
        return (char *)(uintptr_t)text;
}

static const char *
usage_of(unsigned wants)
{
        if (wants & CTL_WANTS_ADDRESS)
                return "NAME ADDRESS";
        return wants & CTL_WANTS_NAME ? "NAME" : wants & CTL_WANTS_OPTIONAL ? "[NAME]" : "";
}

void
ctl_parse(int argc, char **argv, struct ctl_args *args, const struct argp_option *own, ctl_option_fn *fn,
          const char *doc)
{
        static const struct argp common = {.options = options, .parser = parse};
        static const struct argp_child children[] = {{&common, 0, NULL, 0}, {0}};
        const struct argp argp = {.options = own,
                                  .parser = parse_own,
                                  .args_doc = args->usage ? args->usage : usage_of(args->wants),
                                  .doc = doc,
                                  .children = children,
                                  .help_filter = filter_help};

        verb_option = fn;
        setenv("ARGP_HELP_FMT", "no-dup-args-note", 0); /* nothing but what this verb takes */
        argp_parse(&argp, argc, argv, 0, NULL, args);
}

int
ctl_status(int err)
{
        switch (-err) {
        case 0:
                return CTL_GOOD;
        case ENOENT:
                return CTL_NONE_SUCH;
        case EACCES:
        case EPERM:
                return CTL_NO_PERMISSION;
        case EINVAL:
                return CTL_USAGE;
        default:
                return CTL_FAULTS;
        }
}

int
ctl_fail(int err)
{
        fprintf(stderr, "shmallocctl: %s\n", error_message());
        return ctl_status(err);
}

int
ctl_print_json(json_t *document)
{
        int status = CTL_GOOD;

        if (!document) {
                fprintf(stderr, "shmallocctl: no memory for JSON\n");
                status = CTL_FAULTS;
        } else if (json_dumpf(document, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0 || putchar('\n') == EOF) {
                status = CTL_FAULTS; /* main.c says why */
        }
        json_decref(document);
        return status;
}

int
ctl_view(struct view *v, const char *name)
{
        int err = view_open(v, name);

        return err < 0 ? ctl_fail(err) : CTL_GOOD;
}

int
ctl_view_done(struct view *v, int status)
{
        if (view_was_truncated()) {
                fprintf(stderr, "shmallocctl: heap \"%s\" was truncated while it was looked at\n", v->name);
                status = CTL_FAULTS;
        }
        view_close(v);
        return status;
}

const char *
ctl_bytes(char buf[CTL_SIZE_MAX], const struct ctl_args *args, uint64_t bytes)
{
        if (!args->is_exact)
                return text_bytes(buf, bytes);
        snprintf(buf, CTL_SIZE_MAX, "%" PRIu64, bytes);
        return buf;
}

bool
ctl_use_colour(void)
{
        const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");

        return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && (!no_colour || !*no_colour);
}
