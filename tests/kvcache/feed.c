#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "resp.h"

static void
note(struct outcome *o, const char *p, size_t bytes)
{
        if (o->n + bytes < sizeof o->text) {
                memcpy(o->text + o->n, p, bytes);
                o->n += bytes;
        }
}

static void
note_command(struct outcome *o, const struct resp *resp, const char *p)
{
        note(o, "[", 1);
        for (uint32_t i = 0; i < resp->n; i++) {
                if (i > 0)
                        note(o, "|", 1);
                note(o, p + resp->arg[i].off, resp->arg[i].bytes);
        }
        note(o, "]", 1);
}

void
feed(const char *stream, size_t bytes, size_t piece, struct outcome *o)
{
        struct resp resp;
        size_t start = 0, end = 0;

        *o = (struct outcome){.n = 0};
        resp_init(&resp);
        while (end < bytes) {
                enum resp_result result = RESP_COMMAND;
                char *copy;

                end += piece < bytes - end ? piece : bytes - end;
                copy = malloc(end - start);
                memcpy(copy, stream + start, end - start);
                for (size_t at = 0; result == RESP_COMMAND;) {
                        const char *error = NULL;
                        size_t used = 0;

                        result = resp_next(&resp, copy + at, end - start - at, &used, &error);
                        if (result == RESP_COMMAND) {
                                if (used == 0)
                                        abort(); /* it would go on for ever */
                                note_command(o, &resp, copy + at);
                                at += used;
                        } else if (result == RESP_MORE) {
                                start += at;
                        } else {
                                note(o, "!", 1);
                                note(o, error, strlen(error));
                                end = bytes;
                        }
                        if (at == end - start && result == RESP_COMMAND) {
                                start = end;
                                break;
                        }
                }
                free(copy);
        }
        resp_fini(&resp);
        o->text[o->n] = '\0';
}
