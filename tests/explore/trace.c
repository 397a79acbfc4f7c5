/*
 * trace.c - see trace.h.  Lines are looked up by addr2line, if there is one; else addresses have to do.
 */
#include "explore/trace.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "explore/world.h"

enum { NOTES_MAX = 1 << 15, PLACE_MAX = 160 };

static struct note {
        uint64_t n, off;
        uintptr_t pc;
        size_t bytes;
        char actor;
        bool is_write, is_death;
} notes[NOTES_MAX];
static size_t n_notes;

void
trace_begin(void)
{
        n_notes = 0;
}

static struct note *
note_add(void)
{
        return &notes[n_notes < NOTES_MAX - 1 ? n_notes++ : n_notes];
}

void
trace_note(char actor, uint64_t n, uint64_t off, size_t bytes, bool is_write, const void *pc)
{
        *note_add() = (struct note){
                .n = n, .off = off, .pc = (uintptr_t)pc - 1, .bytes = bytes, .actor = actor, .is_write = is_write};
}

void
trace_death(char actor)
{
        *note_add() = (struct note){.actor = actor, .is_death = true};
}

/* "function file:line" for each note, by one call of the tool for all of them. */
static FILE *
places_open(void)
{
        char exe[512], *command;
        ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
        size_t used, room = sizeof exe + 64 + n_notes * 20;
        FILE *places;

        if (length < 0 || !(command = malloc(room)))
                return NULL;
        exe[length] = '\0';
        used = (size_t)snprintf(command, room, "addr2line -f -s -e '%s'", exe);
        for (size_t i = 0; i < n_notes; i++)
                used += (size_t)snprintf(command + used, room - used, " %lx", (unsigned long)notes[i].pc);
        places = popen(command, "r");
        free(command);
        return places;
}

static void
place_read(FILE *places, uintptr_t pc, char *text)
{
        char function[PLACE_MAX] = "", line[PLACE_MAX] = "";

        if (!places || !fgets(function, sizeof function, places) || !fgets(line, sizeof line, places)) {
                snprintf(text, PLACE_MAX, "%#lx", (unsigned long)pc);
                return;
        }
        function[strcspn(function, "\n")] = line[strcspn(line, "\n")] = '\0';
        line[strcspn(line, " ")] = '\0'; /* a discriminator may follow */
        snprintf(text, PLACE_MAX, "%.60s %.90s", line, function);
}

void
trace_print(FILE *out)
{
        FILE *places = places_open();

        for (size_t i = 0; i < n_notes; i++) {
                const struct note *note = &notes[i];
                char place[PLACE_MAX], what[PLACE_MAX];

                place_read(places, note->pc, place);
                if (note->is_death) {
                        fprintf(out, "%c dies\n", note->actor);
                        continue;
                }
                world_describe(note->off, what, sizeof what);
                fprintf(out, "%c %4llu  %-44s %s %zu at %s\n", note->actor, (unsigned long long)note->n, place,
                        note->is_write ? "write" : "read ", note->bytes, what);
        }
        if (places)
                pclose(places);
}
