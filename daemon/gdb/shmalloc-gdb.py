# What is in the tables of shmalloc's heaps, for gdb: of a live process, or of a core that has the heap (option
# dump:used).
#
#   (gdb) source shmalloc-gdb.py         gdb does so by itself where it is installed for libshmalloc.so
#   (gdb) shmalloc heaps                 the heaps that the process has open, with their numbers
#   (gdb) shmalloc slots [HEAP]          thread slots, with what each was about to do
#   (gdb) shmalloc intents [HEAP]        those slots only that are in the midst of something
#   (gdb) shmalloc at ADDRESS            the chunk word, the granule word, the head's, and the tag of an address
#   (gdb) shmalloc magazine N [HEAP]     the word of a magazine, and what is in it
#   (gdb) shmalloc word KIND VALUE       a word taken apart: granule, chunk, magazine, candidate
#
# It reads the library's debug information and the memory below the heap's marks, nothing else, and writes nothing:
# looking at a live process gives no page to holes of its file.  HEAP is a number of `heaps`; 0 if there is none.
# Structures are printed as the debug information has them; only the packed words, which are integers there, are taken
# apart here, as lib/layout/words.h has them.
import gdb

# Field, lowest bit, bits; a field with an enum's name is printed by that.
WORDS = {
    "granule": [("state", 0, 4, "granule_state"), ("owner", 4, 16), ("arena", 20, 10), ("may_have", 30, 1),
                ("doomed", 31, 1), ("class", 32, 6), ("count", 38, 13), ("backed", 51, 5), ("stamp", 56, 8)],
    "chunk": [("state", 0, 3, "chunk_state"), ("owner", 3, 16), ("arena", 19, 10), ("node1", 29, 7), ("doomed", 36, 1),
              ("count", 38, 24)],
    "magazine": [("state", 0, 2, "magazine_state"), ("owner", 2, 16), ("arena", 18, 10), ("tag", 28, 16),
                 ("foreign", 44, 1)],
    "candidate": [("kind", 0, 4, "candidate_kind"), ("head", 4, 30), ("length", 34, 28)],
}
TAG_CLASSES = 128


def enum_name(enum, value):
    for field in gdb.lookup_type("enum " + enum).fields():
        if field.enumval == value:
            return field.name
    return "%d (unknown)" % value


def unpack(kind, word):
    """A word in words: its state always, other fields if they are not zero."""
    parts = []
    for name, shift, bits, *enum in WORDS[kind]:
        value = word >> shift & ((1 << bits) - 1)
        if enum:
            parts.append("%s %s" % (name, enum_name(enum[0], value)))
        elif value:
            parts.append("%s %d" % (name, value))
    return "%#x: %s" % (word, ", ".join(parts))


def field_of(kind, word, wanted):
    for name, shift, bits, *_ in WORDS[kind]:
        if name == wanted:
            return word >> shift & ((1 << bits) - 1)
    raise KeyError(wanted)


def find_region(value, depth=3):
    """The struct region in a handle, however deep it lies."""
    for field in value.type.strip_typedefs().fields():
        plain = field.type.strip_typedefs()
        if plain.code != gdb.TYPE_CODE_STRUCT:
            continue
        if plain.tag == "region":
            return value[field]
        if depth > 0:
            found = find_region(value[field], depth - 1)
            if found is not None:
                return found
    return None


def heaps():
    try:
        places = gdb.parse_and_eval("'registry.c'::places")
        n = int(gdb.parse_and_eval("'registry.c'::n_places"))
    except gdb.error as e:
        raise gdb.GdbError("no debug information of libshmalloc here: %s" % e)
    handles = [places[i] for i in range(n) if int(places[i]) != 0]
    return [find_region(h.dereference()) for h in handles]


def number_of(text):
    try:
        return int(text, 0)
    except ValueError:
        raise gdb.GdbError("%s is no number" % text)


def heap_of(argument):
    all_heaps = heaps()
    number = number_of(argument or "0")
    if not 0 <= number < len(all_heaps):
        raise gdb.GdbError("there is no heap %d; see shmalloc heaps" % number)
    return all_heaps[number]


def mark_of(r, mark, table):
    """A high-water mark, but never beyond the table: the header may be damaged."""
    n = int(gdb.parse_and_eval("(int)TABLE_" + table))
    return min(int(r["header"][mark]), int(r["layout"]["n"][n]))


def stride_of(r, table):
    return int(r["layout"]["stride"][int(gdb.parse_and_eval("(int)TABLE_" + table))])


def slot_at(r, idx):
    address = int(r["threads"]) + idx * stride_of(r, "THREADS")
    return gdb.Value(address).cast(gdb.lookup_type("struct thread_slot").pointer()).dereference()


def gate_at(r, idx):
    return (r["gates"] + idx).dereference()


def print_slot(r, idx):
    slot, gate = slot_at(r, idx), gate_at(r, idx)
    binding, kind, candidate = int(r["bindings"][idx]), int(slot["intent"]["kind"]), int(slot["candidate"])
    print("thread %d: state %d, client %d.%d, process %d, tid %d, binding %#x, life %#x, reap %#x, hand %d" % (
        idx + 1, int(gate["state"]), int(gate["client_idx"]), int(gate["client_incarnation"]), int(gate["os_pid"]),
        int(gate["os_tid"]), binding, int(gate["life"]["word"]), int(gate["reap"]["word"]), int(slot["hand"])))
    if candidate:
        print("  candidate %s" % unpack("candidate", candidate))
    if kind:
        name = enum_name("intent_kind", kind)
        member = name[len("INTENT_"):].lower() if name.startswith("INTENT_") else "word"
        print("  intent %s %s" % (name, slot["intent"][member].format_string(symbols=False)))
    for i in range(gate["pending"].type.range()[1] + 1):
        if int(gate["pending"][i]):
            print("  pending %d: %#x, record %d" % (i, int(gate["pending"][i]), int(slot["pending_record"][i])))


def print_slots(r, only_busy):
    n = 0
    for idx in range(mark_of(r, "threads_hwm", "THREADS")):
        slot, gate = slot_at(r, idx), gate_at(r, idx)
        is_busy = int(slot["intent"]["kind"]) or int(slot["candidate"]) or int(slot["hand"])
        if is_busy or (not only_busy and (int(gate["state"]) or int(r["bindings"][idx]))):
            print_slot(r, idx)
            n += 1
    print("%d slots%s" % (n, " in the midst of something" if only_busy else ""))



def geometry():
    """From what the tables say: how large a chunk is, and how many granules it has."""
    region = heaps()[0]
    chunks = int(region["layout"]["n_chunks"])
    granules = int(region["layout"]["n"][int(gdb.parse_and_eval("(int)TABLE_GRANULES"))]) // chunks
    bytes_of_chunk = (int(region["layout"]["region_bytes"]) - int(region["layout"]["chunks_off"])) // chunks
    return bytes_of_chunk // granules, granules


def print_at(address):
    granule_bytes, per_chunk = geometry()
    for r in heaps():
        off = address - int(r["chunks"])
        if 0 <= off < mark_of(r, "chunks_hwm", "CHUNK_WORDS") * granule_bytes * per_chunk:
            break
    else:
        raise gdb.GdbError("%#x is in no chunk of a heap that is open here" % address)
    granule = off // granule_bytes
    word = int(r["granules"][granule])
    print("offset %#x, chunk %d, granule %d" % (off, granule // per_chunk, granule))
    print("  chunk %s" % unpack("chunk", int(r["chunk_words"][granule // per_chunk])))
    print("  granule %s" % unpack("granule", word))
    distance = field_of("granule", word, "count")
    if enum_name("granule_state", word & 15) == "GRANULE_CONT" and distance <= granule:
        granule -= distance
        print("  head %d %s" % (granule, unpack("granule", int(r["granules"][granule]))))
    tag = int(r["tags"][granule])
    print("  tag %d%s" % (tag, ": node %d, class %d" % divmod(tag - 1, TAG_CLASSES) if tag else ""))


def print_magazine(idx, r):
    per_node = int(r["layout"]["magazines_per_node"])
    node = idx // per_node
    if idx < 0 or node >= int(r["n_nodes"]) or idx % per_node >= min(int(r["header"]["magazines_hwm"][node]), per_node):
        raise gdb.GdbError("there is no magazine %d" % idx)
    magazine = r["magazines"][idx]
    n = min(int(magazine["n"]), magazine["slot"].type.range()[1] + 1)
    print("magazine %d %s" % (idx, unpack("magazine", int(r["magazine_words"][idx]))))
    print("  %d of %d" % (int(magazine["n"]), int(magazine["cap"])))
    for i in range(n):
        print("  %d: %#x" % (i, int(magazine["slot"][i])))


def print_heaps():
    for i, r in enumerate(heaps()):
        print("%d: \"%s\" at %#x, id %016x, %d chunks, %d thread slots used so far" % (
            i, r["header"]["name"].string(errors="replace"), int(r["base"]), int(r["header"]["id"]),
            mark_of(r, "chunks_hwm", "CHUNK_WORDS"), mark_of(r, "threads_hwm", "THREADS")))


class Shmalloc(gdb.Command):
    """What is in the tables of shmalloc's heaps.
shmalloc heaps | slots [HEAP] | intents [HEAP] | at ADDRESS | magazine N [HEAP] | word KIND VALUE"""

    def __init__(self):
        super().__init__("shmalloc", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        verb, rest = (words[0], words[1:]) if words else ("", [])
        if verb == "heaps" and not rest:
            print_heaps()
        elif verb in ("slots", "intents") and len(rest) <= 1:
            print_slots(heap_of(rest[0] if rest else None), verb == "intents")
        elif verb == "at" and len(rest) == 1:
            print_at(int(gdb.parse_and_eval(rest[0])))
        elif verb == "magazine" and 1 <= len(rest) <= 2:
            print_magazine(number_of(rest[0]), heap_of(rest[1] if len(rest) == 2 else None))
        elif verb == "word" and len(rest) == 2 and rest[0] in WORDS:
            print(unpack(rest[0], int(gdb.parse_and_eval(rest[1]))))
        else:
            raise gdb.GdbError(self.__doc__)


Shmalloc()
