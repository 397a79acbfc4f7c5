import sys
from ctypes import CDLL, Structure, byref, c_char_p, c_size_t, c_uint64, c_void_p, memmove, sizeof, string_at

shm = CDLL("libshmalloc.so.0")
shm.shheap_ptr.restype = shm.shheap_malloc_to.restype = c_void_p
shm.shheap_errormsg.restype = c_char_p

class Visits(Structure):
    _fields_ = [("n", c_uint64), ("note", c_uint64)]

def need(is_good):
    if not is_good:
        sys.exit(shm.shheap_errormsg().decode())

heap, obj = c_void_p(), c_void_p()
need(shm.shheap_open(byref(heap), sys.argv[1].encode(), 1, None) == 0)  # SHHEAP_CREATE
need(shm.shheap_root(heap, b"visits", c_size_t(sizeof(Visits)), 0, None, None, byref(obj)) == 0)
visits = Visits.from_address(obj.value)
before = shm.shheap_ptr(heap, c_uint64(visits.note))
visits.n += 1  # not atomic: ctypes has nothing that is
print(f"Python is number {visits.n}, finds {string_at(before).decode() if before else 'nothing'}")
dest = byref(visits, Visits.note.offset)
need(shm.shheap_free_from(heap, dest) == 0)
mine = shm.shheap_malloc_to(heap, c_size_t(32), 0x40, dest)  # SHA_ZERO
need(mine)
memmove(mine, b"a note from Python", 18)
