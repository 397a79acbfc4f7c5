package main

// #cgo LDFLAGS: -lshmalloc
// #include <shmalloc/shmalloc.h>
// struct visits { uint64_t n; shref note; };
import "C"
import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"
)

func need(isGood bool) {
	if !isGood {
		panic(C.GoString(C.shheap_errormsg()))
	}
}

func main() {
	var heap *C.shheap
	var obj unsafe.Pointer
	need(C.shheap_open(&heap, C.CString(os.Args[1]), C.SHHEAP_CREATE, nil) == 0)
	need(C.shheap_root(heap, C.CString("visits"), C.sizeof_struct_visits, 0, nil, nil, &obj) == 0)
	visits, found := (*C.struct_visits)(obj), "nothing"
	if before := C.shheap_ptr(heap, visits.note); before != nil {
		found = C.GoString((*C.char)(before))
	}
	fmt.Printf("Go is number %d, finds %s\n", atomic.AddUint64((*uint64)(&visits.n), 1), found)
	need(C.shheap_free_from(heap, &visits.note) == 0)
	mine := C.shheap_malloc_to(heap, 32, C.SHA_ZERO, &visits.note)
	need(mine != nil)
	copy(unsafe.Slice((*byte)(mine), 32), "a note from Go")
}
