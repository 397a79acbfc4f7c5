/*
 * args.c - the arguments that verbs share, and how they fail.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "common/protocol.h"
#include "ctl/ctl.h"
#include "region/options.h"

enum { KEY_JSON = 'j', KEY_SOCKET = 's' };

/* Those that a verb does not have are known, so that it can say so, but not shown. */
static struct argp_option options[] = {
        {"json", KEY_JSON, NULL, 0, "Print one JSON document", 0},
        {"socket", KEY_SOCKET, "PATH", 0, "Of the daemon; default: SHMALLOC_SOCKET, or " PROTOCOL_SOCKET, 0},
        {0}};

static void
show_only(unsigned wants)
{
        for (struct argp_option *o = options; o->name; o++)
                o->flags = wants & (o->key == KEY_JSON ? CTL_WANTS_JSON : CTL_WANTS_SOCKET) ? 0 : OPTION_HIDDEN;
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
                                  .children = children};

        verb_option = fn;
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

        if (!document || json_dumpf(document, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0 || putchar('\n') == EOF ||
            fflush(stdout) != 0) {
                fprintf(stderr, "shmallocctl: cannot write JSON to standard output\n");
                status = CTL_FAULTS;
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
        if (fflush(stdout) != 0 && status == CTL_GOOD) {
                perror("shmallocctl: standard output");
                status = CTL_FAULTS;
        }
        return status;
}

bool
ctl_use_colour(void)
{
        const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");

        return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && (!no_colour || !*no_colour);
}
