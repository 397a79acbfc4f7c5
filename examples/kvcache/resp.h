/*
 * resp.h - the Redis protocol, version 2: commands out of a stream of bytes.
 *
 * A command is an array of bulk strings, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", or inline: words in one line, with quotes as
 * redis-cli knows them.  The parser keeps what it has seen of an unfinished command, so that no byte is looked at
 * twice; it allocates memory for as many arguments as have arrived, not for as many as were announced.
 */
#ifndef KVCACHE_RESP_H
#define KVCACHE_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESP_BULK_MAX    ((size_t)64 << 20)  /* bytes of an argument */
#define RESP_COMMAND_MAX ((size_t)256 << 20) /* bytes of a command */
#define RESP_ARGS_MAX    (1 << 20)
#define RESP_LINE_MAX    ((size_t)64 << 10)

/* An argument, as a place behind the start of the command. */
struct span {
        uint32_t off, bytes;
};

struct resp {
        struct span *arg; /* private memory; resp_fini() */
        uint32_t n, room;
        uint32_t left; /* arguments to come; valid while in_array */
        int64_t bulk;  /* bytes of the one being read, or -1 */
        size_t at;     /* how far the command has been looked at */
        bool in_array;
};

enum resp_result {
        RESP_MORE,    /* the command is not complete */
        RESP_COMMAND, /* resp->arg[0 .. n) and *ret_used; n may be 0 */
        RESP_BAD      /* *ret_error is what to tell the client; nothing that follows can be understood */
};

void resp_init(struct resp *resp);
void resp_fini(struct resp *resp);

/* `p`: from the start of the command on; the same bytes and more of them as in the call before, if that gave RESP_MORE.
 * They may lie elsewhere.  Words in quotes are unquoted where they stand. */
enum resp_result resp_next(struct resp *resp, char *p, size_t bytes, size_t *ret_used, const char **ret_error);

/* After RESP_MORE: so many bytes at least will have to be there in all; a hint for the size of buffers. */
size_t resp_expected(const struct resp *resp);

#endif
