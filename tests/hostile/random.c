/*
 * Inputs of fuzzers: which operations, and a list of changes.  Changes are made by field, not by place in the file, so
 * most of what is rolled is near to what the library believes.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostile/hostile.h"

enum change_kind {
        CHANGE_BOUNDARY, /* the value's number in field_values() */
        CHANGE_VALUE,
        CHANGE_COPY,     /* of another field, whose number the value is */
        CHANGE_FLIP,     /* of the bit whose number the value is */
        CHANGE_ANYWHERE, /* 8 bytes at field's place plus a distance */
        CHANGE_N
};

enum { CHANGE_BYTES = 11, CHANGES_MAX = 32 }; /* field 0..1, kind 2, value 3..10 */

static uint64_t
value_now(const struct field *field, int fd)
{
        uint64_t word = 0;

        if (pread(fd, &word, field->bytes, (off_t)field->off) != field->bytes)
                abort();
        word >>= field->shift;
        return field->bits == 64 ? word : word & ((UINT64_C(1) << field->bits) - 1);
}

static void
change(const struct image *image, const struct fields *fields, int fd, const struct field *field, unsigned kind,
       uint64_t value)
{
        uint64_t values[FIELD_VALUES_MAX], at;
        size_t n;

        switch (kind % CHANGE_N) {
        case CHANGE_BOUNDARY:
                n = field_values(image, field, values);
                field_store(field, fd, values[value % n]);
                break;
        case CHANGE_VALUE:
                field_store(field, fd, value);
                break;
        case CHANGE_COPY:
                field_store(field, fd, value_now(&fields->all[value % fields->n], fd));
                break;
        case CHANGE_FLIP:
                field_store(field, fd, value_now(field, fd) ^ UINT64_C(1) << value % field->bits);
                break;
        default: /* never the header, which would be refused mostly */
                at = field->off + (value & 0xfff) * 8;
                if (field->off >= 4096 && at + 8 <= image->region.layout.chunks_off - LAYOUT_GUARD_BYTES)
                        (void)!pwrite(fd, (char *)&value, 8, (off_t)at);
        }
}

unsigned
changes_apply(const struct image *image, const struct fields *fields, int fd, const uint8_t *data, size_t bytes)
{
        unsigned what = bytes > 0 ? data[0] : DO_ALL;

        for (size_t at = 1, n = 0; at + CHANGE_BYTES <= bytes && n < CHANGES_MAX; at += CHANGE_BYTES, n++) {
                uint64_t value;

                memcpy(&value, data + at + 3, sizeof value);
                change(image, fields, fd, &fields->all[(data[at] | data[at + 1] << 8) % fields->n], data[at + 2],
                       value);
        }
        return what & DO_ALL ? what & (DO_ALL | DO_MOVED | DO_MORE) : what | DO_ALL;
}

size_t
changes_roll(const struct fields *fields, struct dice *dice, uint8_t *data, size_t room)
{
        size_t n = 1 + dice_next(dice) % 6, at = 1;

        data[0] = (uint8_t)(DO_ALL | (dice_next(dice) % 16 == 0 ? DO_MOVED : 0) |
                            (dice_next(dice) % 4 == 0 ? DO_MORE : 0));
        for (; n > 0 && at + CHANGE_BYTES <= room; n--, at += CHANGE_BYTES) {
                uint64_t value = dice_next(dice) >> dice_next(dice) % 64;
                uint32_t field = (uint32_t)(dice_next(dice) % fields->n);

                data[at] = (uint8_t)field;
                data[at + 1] = (uint8_t)(field >> 8);
                data[at + 2] = (uint8_t)(dice_next(dice) % CHANGE_N);
                memcpy(data + at + 3, &value, sizeof value);
        }
        return at;
}
