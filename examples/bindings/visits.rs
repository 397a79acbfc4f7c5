use std::{ffi::{c_void, CStr}, os::raw::{c_char, c_int, c_uint}, ptr, sync::atomic::{AtomicU64, Ordering}};
#[link(name = "shmalloc")]
extern "C" {
    fn shheap_open(heap: *mut *mut c_void, name: *const c_char, flags: c_uint, attr: *const c_void) -> c_int;
    fn shheap_root(heap: *mut c_void, name: *const c_char, size: usize, flags: c_uint,
                   init: *const c_void, arg: *mut c_void, obj: *mut *mut c_void) -> c_int;
    fn shheap_ptr(heap: *const c_void, reference: u64) -> *mut c_void;
    fn shheap_malloc_to(heap: *mut c_void, size: usize, flags: c_uint, dest: *mut u64) -> *mut c_void;
    fn shheap_free_from(heap: *mut c_void, dest: *mut u64) -> c_int;
    fn shheap_errormsg() -> *const c_char;
}
#[repr(C)]
struct Visits { n: AtomicU64, note: u64 }
unsafe fn text<'a>(p: *const c_char) -> std::borrow::Cow<'a, str> { CStr::from_ptr(p).to_string_lossy() }
unsafe fn need(is_good: bool) { assert!(is_good, "{}", text(shheap_errormsg())) }

fn main() { unsafe {
    let (mut heap, mut obj) = (ptr::null_mut(), ptr::null_mut());
    let name = std::ffi::CString::new(std::env::args().nth(1).expect("visits HEAP")).unwrap();
    need(shheap_open(&mut heap, name.as_ptr(), 1 /* SHHEAP_CREATE */, ptr::null()) == 0);
    need(shheap_root(heap, b"visits\0".as_ptr().cast(), 16, 0, ptr::null(), ptr::null_mut(), &mut obj) == 0);
    let visits = obj.cast::<Visits>();
    let before = shheap_ptr(heap, (*visits).note);
    let found = if before.is_null() { "nothing".into() } else { text(before.cast()) };
    println!("Rust is number {}, finds {}", (*visits).n.fetch_add(1, Ordering::AcqRel) + 1, found);
    need(shheap_free_from(heap, &mut (*visits).note) == 0);
    let mine = shheap_malloc_to(heap, 32, 0x40 /* SHA_ZERO */, &mut (*visits).note);
    need(!mine.is_null());
    ptr::copy_nonoverlapping(b"a note from Rust".as_ptr(), mine.cast(), 16);
} }
