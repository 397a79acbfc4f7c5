/*
 * shmalloc.hpp - C++17 for heaps that unrelated processes share; all of it is in this header
 *
 * What a heap, a block, a root and a reference are, and what they promise, says shmalloc.h: this header adds types, not
 * promises.  Below, "named object" is a root: an object that others find by its name.
 *
 *   Death.      A process may be killed anywhere, in a constructor, a destructor or an allocation: nobody waits for it,
 *               the heap stays consistent, and its own block of a construction by name returns.  What remains as it was
 *               at that moment are the bytes of the caller's objects: a container that was just being changed, say.  A
 *               robust_mutex tells the next one.  Lost, like a leak, are blocks whose address the dead process had not
 *               yet stored where somebody finds it: what a constructor had hung on an object that was not published,
 *               and what a destroy() had taken from its name.  Neither is lost when an object is constructed empty, by
 *               name, and filled and emptied afterwards.
 *   Errors.     What the C interface gives as a negative errno is thrown as shm::error, a std::system_error with the
 *               text of shheap_errormsg().  No memory for a block is std::bad_alloc.  Functions marked noexcept, and
 *               those that are given std::nothrow, throw nothing.  What a constructor throws comes through, and the
 *               object is not there then.
 *   Threads.    Everything may be called from any number of threads and processes at once, but a heap may not be
 *               closed, moved or assigned while others use it, nor a container be changed by two without a lock.
 *   Refused.    What can only work in one process does not compile where it is seen: types with virtual functions,
 *               std::shared_ptr, std::function and any, std::mutex and its like, pointers to functions, handles, and
 *               containers with std::allocator or of std::pmr.  They are seen as T, and among the arguments of T's
 *               templates, if all of those are types (virtual functions: in arrays, pairs, tuples, optionals, variants,
 *               and elements of containers); not as members of a class, nor is a
 *               virtual base without virtual functions: of those the author of the class has to think.  is_private
 *               may be specialized for such a class.
 *   Addresses.  Heaps lie at one address in all processes, so plain pointers may be stored in them.  Where a process
 *               opens one by SHHEAP_RELOCATABLE, that holds offset_ptr, relocatable_allocator and ref only.
 *   Standards.  Layouts are the same for C++17 and later, with g++ and clang++, with and without optimization.  The
 *               containers in a heap have to be of one library, compiled with one setting of its debug modes.
 *               Exceptions have to be on (-fexceptions); RTTI may be off, in all of a program.
 *
 * Sizes are in bytes unless a name says otherwise.
 */
#ifndef SHMALLOC_SHMALLOC_HPP
#define SHMALLOC_SHMALLOC_HPP

#include <shmalloc/shmalloc.h>

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "shmalloc.hpp wants C++17 or later"
#endif

#include <any>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <forward_list>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <pthread.h>
#include <shared_mutex>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#if __has_include(<memory_resource>)
#include <memory_resource>
#endif

/* What boost::interprocess::allocator keeps blocks in that it is given many at a time; Boost itself is not needed. */
namespace boost::container::dtl
{
template <class VoidPointer> class basic_multiallocation_chain;
}

namespace shm
{

/* ------------------------------------------------------------------ errors */

class error : public std::system_error
{
      public:
        /* `negative`: as the C interface returns it. */
        explicit error(int negative, const char *text = shheap_errormsg())
            : std::system_error(-negative, std::generic_category(), text)
        {
        }
};

/* ------------------------------------------------------------------ what may lie in a heap */

class heap;
template <class T> class allocator;
template <class T> class default_allocator;

enum class reason { none, counted, allocator, pmr, function, lock, deleter, handle };

/* Why a T works in one process only.  A class template of which an argument does is taken to do so, too: specialize
 * it, as std::integral_constant<shm::reason, shm::reason::none>, where that is wrong. */
template <class T> struct is_private : std::integral_constant<reason, reason::none> {
};

namespace detail
{
template <reason R> using because = std::integral_constant<reason, R>;

constexpr reason
first_reason(std::initializer_list<reason> all)
{
        for (reason r : all) {
                if (r != reason::none)
                        return r;
        }
        return reason::none;
}
} // namespace detail

template <class T> struct is_private<const T> : is_private<T> {
};
template <class T> struct is_private<volatile T> : is_private<T> {
};
template <class T> struct is_private<const volatile T> : is_private<T> {
};
template <class T, std::size_t N> struct is_private<T[N]> : is_private<T> {
};
template <class T, std::size_t N> struct is_private<const T[N]> : is_private<T> {
};
template <class T, std::size_t N> struct is_private<volatile T[N]> : is_private<T> {
};
template <class T, std::size_t N> struct is_private<const volatile T[N]> : is_private<T> {
};
template <class T, std::size_t N> struct is_private<std::array<T, N>> : is_private<T> {
};
template <class T> struct is_private<T *> : detail::because<std::is_function_v<T> ? reason::function : reason::none> {
};
template <> struct is_private<shheap *> : detail::because<reason::handle> {
};
template <> struct is_private<const shheap *> : detail::because<reason::handle> {
};
template <> struct is_private<heap *> : detail::because<reason::handle> {
};
template <> struct is_private<const heap *> : detail::because<reason::handle> {
};
template <> struct is_private<heap> : detail::because<reason::handle> {
};
template <class M, class C>
struct is_private<M C::*> : detail::because<std::is_function_v<M> ? reason::function : reason::none> {
};
template <template <class...> class C, class... A>
struct is_private<C<A...>> : detail::because<detail::first_reason({is_private<A>::value...})> {
};
template <class T> struct is_private<std::shared_ptr<T>> : detail::because<reason::counted> {
};
template <class T> struct is_private<std::weak_ptr<T>> : detail::because<reason::counted> {
};
template <class T> struct is_private<std::allocator<T>> : detail::because<reason::allocator> {
};
template <class T> struct is_private<std::default_delete<T>> : detail::because<reason::deleter> {
};
template <class T> struct is_private<std::function<T>> : detail::because<reason::function> {
};
template <> struct is_private<std::any> : detail::because<reason::function> {
};
template <> struct is_private<std::mutex> : detail::because<reason::lock> {
};
template <> struct is_private<std::recursive_mutex> : detail::because<reason::lock> {
};
template <> struct is_private<std::timed_mutex> : detail::because<reason::lock> {
};
template <> struct is_private<std::recursive_timed_mutex> : detail::because<reason::lock> {
};
template <> struct is_private<std::shared_mutex> : detail::because<reason::lock> {
};
template <> struct is_private<std::shared_timed_mutex> : detail::because<reason::lock> {
};
template <> struct is_private<std::condition_variable> : detail::because<reason::lock> {
};
template <> struct is_private<std::condition_variable_any> : detail::because<reason::lock> {
};
#if defined(__cpp_lib_memory_resource)
template <class T> struct is_private<std::pmr::polymorphic_allocator<T>> : detail::because<reason::pmr> {
};
#endif

namespace detail
{
/* Allocators whose pointers are plain. */
template <class A> struct is_plain_allocator : std::false_type {
};
template <class T> struct is_plain_allocator<allocator<T>> : std::true_type {
};
template <class T> struct is_plain_allocator<default_allocator<T>> : std::true_type {
};

/* A plain pointer, what has one in itself, and a node that is linked by such, whatever the allocator's are. */
template <class T> struct is_linked_plainly : std::is_pointer<T> {
};
template <class T> using has_plain = is_linked_plainly<std::remove_cv_t<std::remove_all_extents_t<T>>>;
template <template <class...> class C, class... A>
struct is_linked_plainly<C<A...>> : std::disjunction<is_plain_allocator<A>...> {
};
template <class T> struct is_linked_plainly<allocator<T>> : std::true_type {
};
template <class T, class D>
struct is_linked_plainly<std::unique_ptr<T, D>> : std::is_pointer<typename std::unique_ptr<T, D>::pointer> {
};
template <class T, std::size_t N> struct is_linked_plainly<std::array<T, N>> : has_plain<T> {
};
template <class T> struct is_linked_plainly<std::optional<T>> : has_plain<T> {
};
template <class A, class B> struct is_linked_plainly<std::pair<A, B>> : std::disjunction<has_plain<A>, has_plain<B>> {
};
template <class... A> struct is_linked_plainly<std::tuple<A...>> : std::disjunction<has_plain<A>...> {
};
template <class... A> struct is_linked_plainly<std::variant<A...>> : std::disjunction<has_plain<A>...> {
};
#if defined(__GLIBCXX__)
template <class T> struct is_linked_plainly<std::_Fwd_list_node<T>> : std::true_type {
};
#endif

/* What can be told of a type that may still be incomplete. */
template <class T> struct storable {
        static constexpr reason why = is_private<T>::value;
        static_assert(std::is_object_v<T> || std::is_void_v<T>,
                      "shm: a reference or a function is no object that could lie in a heap");
        static_assert(why != reason::counted, "shm: std::shared_ptr and weak_ptr keep a private virtual table with "
                                              "their count, which crashes the second process; use shm::unique_ptr");
        static_assert(why != reason::allocator,
                      "shm: std::allocator takes private memory, which other processes do not "
                      "have; give the container a shm::allocator");
        static_assert(why != reason::pmr,
                      "shm: containers of std::pmr keep a pointer to a private memory_resource with "
                      "virtual functions; give the container a shm::allocator");
        static_assert(why != reason::function, "shm: functions lie at other addresses in other processes");
        static_assert(why != reason::lock, "shm: std::mutex is for one process, as are its like, and does not tell of "
                                           "its owner's death; use shm::robust_mutex");
        static_assert(why != reason::deleter, "shm: std::default_delete gives blocks to the private heap; use "
                                              "shm::unique_ptr");
        static_assert(why != reason::handle, "shm: a heap's handle is of one process; use its segment manager");
        static constexpr bool value = true;
};

/* What has its parts in itself has their virtual tables, too.  T is no array, and not const. */
template <class T> struct has_virtual_inside : std::is_polymorphic<T> {
};
template <class T> using has_virtual = has_virtual_inside<std::remove_cv_t<std::remove_all_extents_t<T>>>;
template <class T, std::size_t N> struct has_virtual_inside<std::array<T, N>> : has_virtual<T> {
};
template <class T> struct has_virtual_inside<std::optional<T>> : has_virtual<T> {
};
template <class A, class B>
struct has_virtual_inside<std::pair<A, B>> : std::disjunction<has_virtual<A>, has_virtual<B>> {
};
template <class... A> struct has_virtual_inside<std::tuple<A...>> : std::disjunction<has_virtual<A>...> {
};
template <class... A> struct has_virtual_inside<std::variant<A...>> : std::disjunction<has_virtual<A>...> {
};

/* What is left to be told of a complete one. */
template <class T> struct storable_complete : storable<T> {
        static_assert(!std::is_array_v<T>, "shm: arrays are made by construct<T>(name)[n]");
        static_assert(!has_virtual<T>::value, "shm: a type with virtual functions keeps a pointer to a private "
                                              "table, which crashes the second process");
};

/* No heap is open there any more: what the pointer is of cannot be used. */
inline shheap *
heap_of(const void *p)
{
        shheap *h = shheap_of(p);

        if (!h)
                throw error(-EBADF, "shm: no heap that this process has open lies there");
        return h;
}

/* shmalloc(), shaligned_alloc() and shfree(), of which a source file may have hidden the names. */
extern "C" {
SHA_API void *shheap_shmalloc(std::size_t size);
SHA_API void *shheap_shaligned_alloc(std::size_t align, std::size_t size);
SHA_API void shheap_shfree(void *p);
}

inline void
free_anywhere(void *p) noexcept
{
        shheap_shfree(p);
}

/*
 * Where blocks come from: a heap by its handle, the one in which a segment manager lies, the default one.  Each gives
 * NULL and errno, as in C, by the call whose hits are shortest.
 */
struct by_handle {
        shheap *heap;

        void *
        take(std::size_t bytes) const noexcept
        {
                return shheap_malloc(heap, bytes);
        }
        void *
        take(std::size_t bytes, std::size_t align) const noexcept
        {
                return shheap_aligned_alloc(heap, align, bytes);
        }
};
struct by_manager {
        const void *manager;

        void *
        take(std::size_t bytes) const noexcept
        {
                return shheap_malloc_near(manager, bytes);
        }
        void *
        take(std::size_t bytes, std::size_t align) const noexcept
        {
                return shheap_aligned_alloc(shheap_of(manager), align, bytes);
        }
};
struct by_default {
        void *
        take(std::size_t bytes) const noexcept
        {
                return shheap_shmalloc(bytes);
        }
        void *
        take(std::size_t bytes, std::size_t align) const noexcept
        {
                return shheap_shaligned_alloc(align, bytes);
        }
};

/* A block for objects of this type. */
template <class T, class Source>
void *
take(Source source, std::size_t bytes) noexcept
{
        static_assert(storable_complete<T>::value);
        if constexpr (alignof(T) > 16)
                return source.take(bytes, alignof(T));
        else
                return source.take(bytes);
}

/* After NULL. */
[[noreturn]] inline void
throw_no_block()
{
        if (errno == ENOMEM)
                throw std::bad_alloc();
        throw error(-errno);
}

template <class T, class Source>
T *
allocate(Source source, std::size_t n)
{
        if (n > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(T))
                throw std::bad_array_new_length();
        void *p = take<T>(source, n * sizeof(T));

        if (!p)
                throw_no_block();
        return static_cast<T *>(p);
}

/* Objects side by side; where a constructor throws, the earlier ones are destroyed, from the last to the first. */
template <class T> struct builder {
        T *first;
        std::size_t n = 0;

        explicit builder(void *p) : first(static_cast<T *>(p))
        {
        }
        builder(const builder &) = delete;
        builder &operator=(const builder &) = delete;
        ~builder()
        {
                while (n > 0)
                        first[--n].~T();
        }
        template <class... A>
        void
        add(A &&...args)
        {
                ::new (const_cast<void *>(static_cast<const volatile void *>(first + n))) T(std::forward<A>(args)...);
                n++;
        }
        void
        keep() noexcept
        {
                n = 0;
        }
};

template <class T>
void
destroy_all(T *first, std::size_t n) noexcept
{
        while (n > 0)
                first[--n].~T();
}
} // namespace detail

/* ------------------------------------------------------------------ references */

/* A typed shref: the same in every process, wherever it has the heap mapped.  Trivially copyable; all zeroes is null. */
template <class T> class ref
{
      public:
        ref() = default;
        ref(std::nullptr_t) noexcept
        {
        }
        /* Null for what lies outside of the heap's blocks. */
        ref(const shheap *h, const T *p) noexcept : value_(shheap_ref(h, p))
        {
        }
        explicit ref(shref value) noexcept : value_(value)
        {
        }
        /* To const, not from it.  A base may lie elsewhere in the object, which only who has the heap can tell. */
        template <class U, class = std::enable_if_t<std::is_same_v<std::remove_cv_t<T>, U> && !std::is_same_v<T, U>>>
        ref(ref<U> other) noexcept : value_(other.value())
        {
        }
        /* nullptr for null, and for what lies outside of the heap. */
        T *
        get(const shheap *h) const noexcept
        {
                return static_cast<T *>(shheap_ptr(h, value_));
        }
        shref
        value() const noexcept
        {
                return value_;
        }
        explicit operator bool() const noexcept
        {
                return value_ != 0;
        }
        friend bool
        operator==(ref a, ref b) noexcept
        {
                return a.value_ == b.value_;
        }
        friend bool
        operator!=(ref a, ref b) noexcept
        {
                return a.value_ != b.value_;
        }

      private:
        shref value_ = 0;
};

/*
 * A pointer for heaps that processes map at different addresses: the distance from itself to what it points to.  It
 * may lie in the heap, or on the stack of who uses it.  A copy points to the same object, but bytes that are copied
 * (memcpy) do not.  Of the containers of libstdc++ 12 only vector and deque keep such pointers.  string, list, set and
 * map do not compile with them; forward_list and the unordered ones would, and link their nodes by plain pointers all
 * the same, so they are refused.  Boost.Container has all of them.
 */
template <class T> class offset_ptr
{
      public:
        using element_type = T;
        using value_type = std::remove_cv_t<T>;
        using difference_type = std::ptrdiff_t;
        using pointer = T *;
        using reference =
                std::add_lvalue_reference_t<std::conditional_t<std::is_void_v<T>, char, T>>; /* void has none */
        using iterator_category = std::random_access_iterator_tag;
        template <class U> using rebind = offset_ptr<U>;

        offset_ptr() noexcept = default;
        offset_ptr(T *p) noexcept
        {
                set(p);
        }
        offset_ptr(const offset_ptr &other) noexcept
        {
                set(other.get());
        }
        template <class U, class = std::enable_if_t<std::is_convertible_v<U *, T *>>>
        offset_ptr(const offset_ptr<U> &other) noexcept
        {
                set(other.get());
        }
        /* As static_cast of plain pointers does it: from void, from a base. */
        template <class U, class = std::enable_if_t<!std::is_convertible_v<U *, T *>>,
                  class = decltype(static_cast<T *>(std::declval<U *>()))>
        explicit offset_ptr(const offset_ptr<U> &other) noexcept
        {
                set(static_cast<T *>(other.get()));
        }
        offset_ptr &
        operator=(const offset_ptr &other) noexcept
        {
                set(other.get());
                return *this;
        }
        offset_ptr &
        operator=(T *p) noexcept
        {
                set(p);
                return *this;
        }

        T *
        get() const noexcept
        {
                return off_ == null ? nullptr : reinterpret_cast<T *>(reinterpret_cast<std::uintptr_t>(this) + off_);
        }
        T *
        operator->() const noexcept
        {
                return get();
        }
        template <class U = T>
        std::add_lvalue_reference_t<U>
        operator*() const noexcept
        {
                return *get();
        }
        template <class U = T>
        std::add_lvalue_reference_t<U>
        operator[](difference_type i) const noexcept
        {
                return get()[i];
        }
        explicit operator bool() const noexcept
        {
                return off_ != null;
        }
        template <class U = T>
        static offset_ptr
        pointer_to(U &object) noexcept
        {
                return offset_ptr(std::addressof(object));
        }

        offset_ptr &
        operator+=(difference_type n) noexcept
        {
                set(get() + n);
                return *this;
        }
        offset_ptr &
        operator-=(difference_type n) noexcept
        {
                set(get() - n);
                return *this;
        }
        offset_ptr &
        operator++() noexcept
        {
                return *this += 1;
        }
        offset_ptr &
        operator--() noexcept
        {
                return *this -= 1;
        }
        offset_ptr
        operator++(int) noexcept
        {
                offset_ptr old(*this);
                *this += 1;
                return old;
        }
        offset_ptr
        operator--(int) noexcept
        {
                offset_ptr old(*this);
                *this -= 1;
                return old;
        }
        friend offset_ptr
        operator+(const offset_ptr &p, difference_type n) noexcept
        {
                return offset_ptr(p.get() + n);
        }
        friend offset_ptr
        operator+(difference_type n, const offset_ptr &p) noexcept
        {
                return offset_ptr(p.get() + n);
        }
        friend offset_ptr
        operator-(const offset_ptr &p, difference_type n) noexcept
        {
                return offset_ptr(p.get() - n);
        }
        friend difference_type
        operator-(const offset_ptr &a, const offset_ptr &b) noexcept
        {
                return a.get() - b.get();
        }
        friend bool
        operator==(const offset_ptr &a, const offset_ptr &b) noexcept
        {
                return a.get() == b.get();
        }
        friend bool
        operator!=(const offset_ptr &a, const offset_ptr &b) noexcept
        {
                return a.get() != b.get();
        }
        friend bool
        operator==(const offset_ptr &a, std::nullptr_t) noexcept
        {
                return !a;
        }
        friend bool
        operator!=(const offset_ptr &a, std::nullptr_t) noexcept
        {
                return static_cast<bool>(a);
        }
        friend bool
        operator==(std::nullptr_t, const offset_ptr &a) noexcept
        {
                return !a;
        }
        friend bool
        operator!=(std::nullptr_t, const offset_ptr &a) noexcept
        {
                return static_cast<bool>(a);
        }
        friend bool
        operator<(const offset_ptr &a, const offset_ptr &b) noexcept
        {
                return a.get() < b.get();
        }
        friend bool
        operator>(const offset_ptr &a, const offset_ptr &b) noexcept
        {
                return a.get() > b.get();
        }
        friend bool
        operator<=(const offset_ptr &a, const offset_ptr &b) noexcept
        {
                return a.get() <= b.get();
        }
        friend bool
        operator>=(const offset_ptr &a, const offset_ptr &b) noexcept
        {
                return a.get() >= b.get();
        }

      private:
        /* Nothing that is pointed to begins at the pointer's second byte; 0 is a pointer to itself. */
        static constexpr std::uintptr_t null = 1;

        void
        set(T *p) noexcept
        {
                off_ = p ? reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(this) : null;
        }

        std::uintptr_t off_ = null;
};

/* ------------------------------------------------------------------ objects with names, and without */

struct anonymous_instance_t {
};
inline constexpr anonymous_instance_t anonymous_instance{};

namespace detail
{
enum class wanted { fresh, any };

/* One construction by name: shheap_root_undo() with a C++ constructor and destructor. */
template <class T, class Make> struct construction {
        const Make &make;
        std::size_t n;
        bool is_made = false; /* and not undone: if the call succeeds, what it gives is what was made here */

        static int
        init(void *obj, std::size_t, void *arg)
        {
                auto *self = static_cast<construction *>(arg);
                builder<T> b(obj);

                while (b.n < self->n)
                        self->make(b);
                b.keep();
                self->is_made = true;
                return 0;
        }
        static void
        undo(void *obj, std::size_t, void *arg)
        {
                auto *self = static_cast<construction *>(arg);

                self->is_made = false;
                destroy_all(static_cast<T *>(obj), self->n);
        }
};

/* Where there is nothing to give: throws, or is nullptr, with errno, for who asked for std::nothrow. */
inline std::nullptr_t
fail(bool is_nothrow, int err, const char *text = shheap_errormsg())
{
        if (is_nothrow) {
                errno = -err;
                return nullptr;
        }
        if (err == -ENOMEM)
                throw std::bad_alloc();
        throw error(err, text);
}

/* What construct<T>(name) gives: to be called with the constructor's arguments; [n] before that makes it n objects. */
template <class T> class named_proxy
{
        static_assert(storable<T>::value);

      public:
        named_proxy(shheap *h, const char *name, wanted what, bool is_nothrow) noexcept
            : heap_(h), name_(name), what_(what), is_nothrow_(is_nothrow)
        {
        }
        named_proxy
        operator[](std::size_t n) const noexcept
        {
                named_proxy proxy(*this);

                proxy.n_ = n;
                return proxy;
        }
        template <class... A>
        std::add_pointer_t<T>
        operator()(A &&...args) const
        {
                static_assert(storable_complete<T>::value);
                static_assert(alignof(T) <= 16, "shm: a named object is aligned to 16 bytes; let it hold a pointer to "
                                                "an anonymous one");
                constexpr bool is_copied = std::is_constructible_v<T, std::add_lvalue_reference_t<A>...>;
                auto make = [&](builder<T> &b) {
                        if (n_ == 1)
                                b.add(std::forward<A>(args)...);
                        else if constexpr (is_copied)
                                b.add(args...);
                };
                construction<T, decltype(make)> c{make, n_};
                void *obj = nullptr;

                if (n_ == 0 || (n_ != 1 && !is_copied))
                        return fail(is_nothrow_, -EINVAL, "shm: no objects, or several to be moved from one argument");
                if (n_ > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(T))
                        return fail(is_nothrow_, -ENOMEM);
                int err = shheap_root_undo(heap_, name_, n_ * sizeof(T), 0, c.init, c.undo, &c, &obj);

                if (err < 0)
                        return fail(is_nothrow_, err);
                if (!c.is_made && what_ == wanted::fresh)
                        return fail(is_nothrow_, -EEXIST, "shm: an object of this name is there already");
                return static_cast<std::add_pointer_t<T>>(obj);
        }

      private:
        shheap *heap_;
        const char *name_;
        wanted what_;
        bool is_nothrow_;
        std::size_t n_ = 1;
};

template <class T> class anonymous_proxy
{
      public:
        explicit anonymous_proxy(shheap *h, bool is_nothrow) noexcept : heap_(h), is_nothrow_(is_nothrow)
        {
        }
        template <class... A>
        std::add_pointer_t<T>
        operator()(A &&...args) const
        {
                std::unique_ptr<void, void (*)(void *) noexcept> block(take<T>(by_handle{heap_}, sizeof(T)),
                                                                       free_anywhere);

                if (!block)
                        return fail(is_nothrow_, -errno);
                builder<T> b(block.get());

                b.add(std::forward<A>(args)...);
                b.keep();
                return static_cast<T *>(block.release());
        }

      private:
        shheap *heap_;
        bool is_nothrow_;
};

/* What a heap and its segment manager have in common.  Self has native(), native_or_null() and source(). */
template <class Self> class objects
{
      public:
        /*
         * construct<T>(name)(args...) makes a T by that name, and gives it; construct<T>(name)[n](args...) n of them
         * side by side, each of the same arguments.  shm::error with EEXIST: there is one, of any size.  With
         * std::nothrow, whatever fails but the constructor gives nullptr and errno.
         * Objects are made in private and then published, so several processes may construct at once: one of them wins,
         * and what the others had made is destroyed.  Nobody waits for anybody.  Dies the process in the constructor,
         * the object is freed, and the name is as it was.
         */
        template <class T>
        named_proxy<T>
        construct(const char *name) const
        {
                return {native(), name, wanted::fresh, false};
        }
        template <class T>
        named_proxy<T>
        construct(const char *name, const std::nothrow_t &) const noexcept
        {
                return {native_or_null(), name, wanted::fresh, true};
        }
        /* Without a name: to be stored where somebody finds it, or lost.  It goes by destroy_ptr(). */
        template <class T>
        anonymous_proxy<T>
        construct(anonymous_instance_t) const
        {
                return anonymous_proxy<T>(native(), false);
        }
        template <class T>
        anonymous_proxy<T>
        construct(anonymous_instance_t, const std::nothrow_t &) const noexcept
        {
                return anonymous_proxy<T>(native_or_null(), true);
        }
        /* The one that is there, or a new one.  EEXIST: there is one of another size. */
        template <class T>
        named_proxy<T>
        find_or_construct(const char *name) const
        {
                return {native(), name, wanted::any, false};
        }
        template <class T>
        named_proxy<T>
        find_or_construct(const char *name, const std::nothrow_t &) const noexcept
        {
                return {native_or_null(), name, wanted::any, true};
        }
        /* The object of that name, and how many Ts it is; {nullptr, 0}: there is none.  EEXIST: its size is no multiple
         * of a T's. */
        template <class T>
        std::pair<T *, std::size_t>
        find(const char *name) const
        {
                void *obj = nullptr;
                std::size_t size = 0;
                int err = shheap_root_find(native(), name, &obj, &size);

                if (err < 0 && err != -ENOENT)
                        throw error(err);
                if (size % sizeof(T) != 0)
                        throw error(-EEXIST, "shm: the object of this name has the size of another type");
                return {static_cast<T *>(obj), size / sizeof(T)};
        }
        /*
         * Takes the name from its object, runs the destructor, and frees the object.  Of several who do so at once one
         * gets true, the others false, as if there had been none.  Others may still hold pointers to it: that is the
         * caller's to know.  Dies the process in here, the object is still there, or is freed, or is lost with what
         * hangs on it.  EEXIST as for find().
         */
        template <class T>
        bool
        destroy(const char *name) const
        {
                void *obj = nullptr;
                std::size_t size = 0;

                if (!find<T>(name).first)
                        return false;
                int err = shheap_root_take(native(), name, &obj, &size);

                if (err == -ENOENT)
                        return false;
                if (err < 0)
                        throw error(err);
                if (size % sizeof(T) == 0) /* else somebody has just put another type there */
                        destroy_all(static_cast<T *>(obj), size / sizeof(T));
                shheap_free(native(), obj);
                return true;
        }
        /* Destroys and frees an object that has no name. */
        template <class T>
        void
        destroy_ptr(T *p) const noexcept
        {
                if (p) {
                        p->~T();
                        free_anywhere(const_cast<std::remove_cv_t<T> *>(p));
                }
        }
        /* Blocks of bytes, aligned to 16. */
        void *
        allocate(std::size_t bytes) const
        {
                void *p = allocate(bytes, std::nothrow);

                if (!p)
                        throw_no_block();
                return p;
        }
        void *
        allocate(std::size_t bytes, const std::nothrow_t &) const noexcept
        {
                return static_cast<const Self *>(this)->source().take(bytes);
        }
        void
        deallocate(void *p) const noexcept
        {
                free_anywhere(p);
        }
        /* What blocks may take together. */
        std::size_t
        get_size() const
        {
                std::uint64_t bytes = 0;
                std::size_t length = sizeof(bytes);
                int err = shheap_ctl(native(), "heap.capacity", &bytes, &length, nullptr, 0);

                if (err < 0)
                        throw error(err);
                return bytes;
        }

      private:
        shheap *
        native() const
        {
                return static_cast<const Self *>(this)->native();
        }
        shheap *
        native_or_null() const noexcept
        {
                return static_cast<const Self *>(this)->native_or_null();
        }
};
} // namespace detail

/*
 * The heap, for those whose objects lie in it: a named object of the heap, at one address for everybody, which holds
 * nothing.  In each process it stands for that process's handle (shheap_of(this)), so allocators in the heap may point
 * to it, as those of Boost.Interprocess do: boost::interprocess::allocator<T, shm::segment_manager>.
 */
class segment_manager : public detail::objects<segment_manager>
{
      public:
        using size_type = std::size_t;
        using difference_type = std::ptrdiff_t;
        using void_pointer = void *;
        using multiallocation_chain = boost::container::dtl::basic_multiallocation_chain<void *>;

        segment_manager() = default;
        segment_manager(const segment_manager &) = delete;
        segment_manager &operator=(const segment_manager &) = delete;

        /* EBADF: this process has closed the heap. */
        shheap *
        native() const
        {
                return detail::heap_of(this);
        }
        shheap *
        native_or_null() const noexcept
        {
                return shheap_of(this);
        }
        std::size_t
        size(const void *p) const
        {
                return shheap_usable_size(native(), p);
        }

        /* For boost::interprocess::allocator: many blocks at once, and blocks that grow where they are. */
        template <class Chain>
        void
        allocate_many(size_type elem_bytes, size_type n_elements, Chain &chain)
        {
                while (n_elements-- > 0)
                        append<multiallocation_chain>(elem_bytes, chain);
        }
        template <class Chain>
        void
        allocate_many(const size_type *elem_sizes, size_type n_elements, size_type sizeof_element, Chain &chain)
        {
                for (size_type i = 0; i < n_elements; i++) {
                        size_type bytes = 0;

                        if (__builtin_mul_overflow(elem_sizes[i], sizeof_element, &bytes))
                                bytes = std::numeric_limits<size_type>::max(); /* which nobody has */
                        append<multiallocation_chain>(bytes, chain);
                }
        }
        template <class Chain>
        void
        deallocate_many(Chain &chain) noexcept
        {
                empty<multiallocation_chain>(chain);
        }
        template <class T>
        T *
        allocation_command(unsigned command, size_type limit, size_type &prefer_in_received_out, T *&reuse)
        {
                enum : unsigned { allocate_new = 1, expand_fwd = 2, shrink_in_place = 8, nothrow_allocation = 16 };
                const size_type n_max = static_cast<size_type>(std::numeric_limits<difference_type>::max()) / sizeof(T);
                const size_type prefer = prefer_in_received_out;
                T *p = nullptr;

                if (limit > n_max || prefer > n_max) {
                        if (!(command & nothrow_allocation))
                                throw std::bad_alloc();
                        return nullptr;
                }
                if (reuse && command & shrink_in_place) {
                        size_type n = shheap_xallocx(native(), reuse, prefer * sizeof(T), 0, 0) / sizeof(T);

                        if (n >= prefer && n <= limit) {
                                prefer_in_received_out = n;
                                p = reuse;
                        }
                } else if (reuse && command & expand_fwd) {
                        size_type more = prefer > limit ? prefer - limit : 0;
                        size_type n = shheap_xallocx(native(), reuse, limit * sizeof(T), more * sizeof(T), 0);

                        if (n / sizeof(T) >= limit) {
                                prefer_in_received_out = n / sizeof(T);
                                p = reuse;
                        }
                }
                if (!p && command & allocate_new) {
                        size_type n = prefer;
                        void *block = detail::take<T>(source(), n * sizeof(T));

                        if (!block && limit < prefer) {
                                n = limit;
                                block = detail::take<T>(source(), n * sizeof(T));
                        }
                        if (block) {
                                prefer_in_received_out = n;
                                reuse = nullptr;
                                p = static_cast<T *>(block);
                        }
                }
                if (!p && !(command & nothrow_allocation))
                        throw std::bad_alloc();
                return p;
        }

      private:
        friend detail::objects<segment_manager>;

        detail::by_manager
        source() const noexcept
        {
                return {this};
        }
        /* Chain: of void, which is only known where Boost is.  That of a type is derived from it. */
        template <class Chain>
        void
        empty(Chain &chain) noexcept
        {
                while (!chain.empty())
                        deallocate(chain.pop_front());
        }
        template <class Chain>
        void
        append(size_type bytes, Chain &chain)
        {
                void *p = source().take(bytes);

                if (!p) {
                        int err = -errno;

                        empty(chain);
                        errno = -err;
                        detail::throw_no_block();
                }
                chain.push_back(p);
        }
};

/* ------------------------------------------------------------------ allocators */

/* For the containers of the standard library and of Boost: 8 bytes; goes along with copies, moves and swaps.  Blocks
 * are of the heap whose segment manager it was given. */
template <class T> class allocator
{
      public:
        using value_type = T;
        using propagate_on_container_copy_assignment = std::true_type;
        using propagate_on_container_move_assignment = std::true_type;
        using propagate_on_container_swap = std::true_type;
        using is_always_equal = std::false_type;
        static_assert(detail::storable<T>::value);

        allocator(segment_manager *manager) noexcept : manager_(manager)
        {
        }
        template <class U> allocator(const allocator<U> &other) noexcept : manager_(other.get_segment_manager())
        {
                static_assert(detail::storable_complete<U>::value);
        }
        segment_manager *
        get_segment_manager() const noexcept
        {
                return manager_;
        }
        [[nodiscard]] T *
        allocate(std::size_t n)
        {
                return detail::allocate<T>(detail::by_manager{manager_}, n);
        }
        void
        deallocate(T *p, std::size_t) noexcept
        {
                detail::free_anywhere(p);
        }

      private:
        segment_manager *manager_;
};
template <class T, class U>
bool
operator==(const allocator<T> &a, const allocator<U> &b) noexcept
{
        return a.get_segment_manager() == b.get_segment_manager();
}
template <class T, class U>
bool
operator!=(const allocator<T> &a, const allocator<U> &b) noexcept
{
        return !(a == b);
}

/* The same for heaps that processes map at different addresses: its pointers are offset_ptrs.  See there for which
 * containers take it. */
template <class T> class relocatable_allocator
{
      public:
        using value_type = T;
        using pointer = offset_ptr<T>;
        using const_pointer = offset_ptr<const T>;
        using void_pointer = offset_ptr<void>;
        using const_void_pointer = offset_ptr<const void>;
        using size_type = std::size_t;
        using difference_type = std::ptrdiff_t;
        using propagate_on_container_copy_assignment = std::true_type;
        using propagate_on_container_move_assignment = std::true_type;
        using propagate_on_container_swap = std::true_type;
        using is_always_equal = std::false_type;
        static_assert(detail::storable<T>::value);
        static_assert(!detail::has_plain<T>::value,
                      "shm: a plain pointer means nothing where the heap lies elsewhere; use shm::offset_ptr or "
                      "shm::ref, and for lists and maps Boost.Container");

        relocatable_allocator(segment_manager *manager) noexcept : manager_(manager)
        {
        }
        template <class U>
        relocatable_allocator(const relocatable_allocator<U> &other) noexcept : manager_(other.get_segment_manager())
        {
                static_assert(detail::storable_complete<U>::value);
        }
        segment_manager *
        get_segment_manager() const noexcept
        {
                return manager_.get();
        }
        [[nodiscard]] pointer
        allocate(std::size_t n)
        {
                return pointer(detail::allocate<T>(detail::by_manager{manager_.get()}, n));
        }
        void
        deallocate(const pointer &p, std::size_t) noexcept
        {
                detail::free_anywhere(const_cast<std::remove_cv_t<T> *>(p.get()));
        }

      private:
        offset_ptr<segment_manager> manager_;
};
template <class T, class U>
bool
operator==(const relocatable_allocator<T> &a, const relocatable_allocator<U> &b) noexcept
{
        return a.get_segment_manager() == b.get_segment_manager();
}
template <class T, class U>
bool
operator!=(const relocatable_allocator<T> &a, const relocatable_allocator<U> &b) noexcept
{
        return !(a == b);
}

/* Holds nothing: blocks come from the process's default heap (shheap_default()), and go back to the one that they are
 * of.  Every process that changes such a container needs the same default heap. */
template <class T> class default_allocator
{
      public:
        using value_type = T;
        using is_always_equal = std::true_type;
        static_assert(detail::storable<T>::value);

        default_allocator() noexcept = default;
        template <class U> default_allocator(const default_allocator<U> &) noexcept
        {
                static_assert(detail::storable_complete<U>::value);
        }
        [[nodiscard]] T *
        allocate(std::size_t n)
        {
                return detail::allocate<T>(detail::by_default{}, n);
        }
        void
        deallocate(T *p, std::size_t) noexcept
        {
                detail::free_anywhere(p);
        }
};
template <class T, class U>
bool
operator==(const default_allocator<T> &, const default_allocator<U> &) noexcept
{
        return true;
}
template <class T, class U>
bool
operator!=(const default_allocator<T> &, const default_allocator<U> &) noexcept
{
        return false;
}

/* Destroys an object and frees its block, of whatever heap that this process has open.  Of a derived class's object it
 * would run the base's destructor, as there are no virtual ones, and free what need not be where its block begins: the
 * two do not convert. */
template <class T> struct deleter {
        static_assert(!std::is_array_v<T>, "shm: unique_ptr does not know how many there are; use a vector, or "
                                           "std::array");
        deleter() noexcept = default;
        template <class U, class = std::enable_if_t<std::is_same_v<const volatile U, const volatile T> &&
                                                    std::is_convertible_v<U *, T *>>>
        deleter(const deleter<U> &) noexcept
        {
        }
        void
        operator()(T *p) const noexcept
        {
                static_assert(detail::storable_complete<T>::value);
                p->~T();
                detail::free_anywhere(const_cast<std::remove_cv_t<T> *>(p));
        }
};

/* 8 bytes; may lie in the heap, or on the stack of a process that gives the object up when it is done.  A process that
 * is killed while it has one on its stack loses the object like any leak. */
template <class T> using unique_ptr = std::unique_ptr<T, deleter<T>>;

/* ------------------------------------------------------------------ opening */

struct open_or_create_t {
};
struct open_only_t {
};
struct create_only_t {
};
struct open_read_only_t {
};
inline constexpr open_or_create_t open_or_create{};
inline constexpr open_only_t open_only{};
inline constexpr create_only_t create_only{};
inline constexpr open_read_only_t open_read_only{};

/* struct shheap_attr, and flags of enum shheap_open_flags that are added to those of the constructor. */
struct options : shheap_attr {
        unsigned flags = 0;

        options() noexcept : shheap_attr(SHHEAP_ATTR_INIT)
        {
        }
        /* `bytes` for blocks: see shheap_attr. */
        options(std::uint64_t bytes) noexcept : options()
        {
                capacity = bytes;
        }
};

/*
 * An open heap, closed when this goes: pointers into it are not to be used any more then.  Its errors are those of
 * shheap_open(), as shm::error.  The second argument may be a capacity, as for Boost's managed_shared_memory.
 */
class heap : public detail::objects<heap>
{
      public:
        heap() noexcept = default;
        heap(open_or_create_t, const char *name, const options &o = {}) : heap(name, SHHEAP_CREATE, o)
        {
        }
        heap(create_only_t, const char *name, const options &o = {}) : heap(name, SHHEAP_CREATE | SHHEAP_EXCL, o)
        {
        }
        heap(open_only_t, const char *name, const options &o = {}) : heap(name, 0, o)
        {
        }
        heap(open_read_only_t, const char *name, const options &o = {}) : heap(name, SHHEAP_RDONLY, o)
        {
        }
        heap(heap &&other) noexcept : native_(std::exchange(other.native_, nullptr))
        {
        }
        heap &
        operator=(heap &&other) noexcept
        {
                heap old(std::move(other));

                std::swap(native_, old.native_);
                return *this;
        }
        heap(const heap &) = delete;
        heap &operator=(const heap &) = delete;
        ~heap()
        {
                if (native_)
                        (void)shheap_close(native_);
        }

        /* Removes the name; the memory goes with the last who has it open.  false: there is none. */
        static bool
        remove(const char *name)
        {
                int err = shheap_unlink(name);

                if (err < 0 && err != -ENOENT)
                        throw error(err);
                return err == 0;
        }
        /* For the functions of shmalloc.h; nullptr for a heap that is not open or has been moved from. */
        shheap *
        native() const noexcept
        {
                return native_;
        }
        shheap *
        native_or_null() const noexcept
        {
                return native_;
        }
        explicit operator bool() const noexcept
        {
                return native_ != nullptr;
        }
        /* Made at the first call: a named object, "shm.segment_manager".  Read-only processes find it. */
        segment_manager *
        get_segment_manager() const
        {
                return find_or_construct<segment_manager>("shm.segment_manager")();
        }
        template <class T>
        allocator<T>
        get_allocator() const
        {
                return allocator<T>(get_segment_manager());
        }
        template <class T>
        relocatable_allocator<T>
        get_relocatable_allocator() const
        {
                return relocatable_allocator<T>(get_segment_manager());
        }
        template <class T>
        ref<T>
        get_ref(T *p) const noexcept
        {
                return ref<T>(native_, p);
        }
        template <class T>
        T *
        get_ptr(ref<T> r) const noexcept
        {
                return r.get(native_);
        }
        template <class T, class... A>
        unique_ptr<T>
        make_unique(A &&...args) const
        {
                return unique_ptr<T>(construct<T>(anonymous_instance)(std::forward<A>(args)...));
        }

      private:
        friend detail::objects<heap>;

        detail::by_handle
        source() const noexcept
        {
                return {native_};
        }
        heap(const char *name, unsigned flags, const options &o)
        {
                int err = shheap_open(&native_, name, flags | o.flags, &o);

                if (err < 0)
                        throw error(err);
        }

        shheap *native_ = nullptr;
};

/* ------------------------------------------------------------------ a lock that tells of death */

enum class lock_state { acquired, owner_died, busy };

/*
 * A mutex for processes, in a heap.  Who locks it waits for a live holder, however slow that is; not for a dead one:
 * then lock() says owner_died, and what the lock protects is as the dead left it.  Who has put that right calls
 * consistent(); where it is unlocked without, it is lost, and every lock() throws std::system_error with
 * ENOTRECOVERABLE: so does std::lock_guard, which looks away.  Its block stays where it is as long as anybody who has
 * used it runs: the kernel may write to it after a death in unlock() (glibc bug 14485).
 */
class robust_mutex
{
      public:
        robust_mutex()
        {
                pthread_mutexattr_t attr;

                check(pthread_mutexattr_init(&attr));
                int err = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);

                if (err == 0)
                        err = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
                if (err == 0)
                        err = pthread_mutex_init(&mutex_, &attr);
                pthread_mutexattr_destroy(&attr);
                check(err);
        }
        robust_mutex(const robust_mutex &) = delete;
        robust_mutex &operator=(const robust_mutex &) = delete;
        ~robust_mutex()
        {
                pthread_mutex_destroy(&mutex_);
        }
        lock_state
        lock()
        {
                return state(pthread_mutex_lock(&mutex_));
        }
        /* busy: somebody has it. */
        [[nodiscard]] lock_state
        try_acquire()
        {
                return state(pthread_mutex_trylock(&mutex_));
        }
        /* By who was told owner_died, before unlock(). */
        void
        consistent()
        {
                check(pthread_mutex_consistent(&mutex_));
        }
        void
        unlock() noexcept
        {
                pthread_mutex_unlock(&mutex_);
        }

      private:
        static void
        check(int err)
        {
                if (err)
                        throw std::system_error(err, std::generic_category(), "shm::robust_mutex");
        }
        static lock_state
        state(int err)
        {
                if (err == EOWNERDEAD)
                        return lock_state::owner_died;
                if (err == EBUSY)
                        return lock_state::busy;
                check(err);
                return lock_state::acquired;
        }

        pthread_mutex_t mutex_;
};

/* Holds it as long as this lives.  Where repair() throws, or is not given and nobody calls consistent(), the mutex is
 * lost after it. */
class robust_lock
{
      public:
        explicit robust_lock(robust_mutex &m) : mutex_(m), state_(m.lock())
        {
        }
        /* repair() runs with the lock held, if the last holder died. */
        template <class Repair> robust_lock(robust_mutex &m, Repair &&repair) : robust_lock(m)
        {
                if (owner_died()) {
                        std::forward<Repair>(repair)();
                        consistent();
                }
        }
        robust_lock(const robust_lock &) = delete;
        robust_lock &operator=(const robust_lock &) = delete;
        ~robust_lock()
        {
                mutex_.unlock();
        }
        [[nodiscard]] bool
        owner_died() const noexcept
        {
                return state_ == lock_state::owner_died;
        }
        void
        consistent()
        {
                mutex_.consistent();
        }

      private:
        robust_mutex &mutex_;
        lock_state state_;
};

/* ------------------------------------------------------------------ private containers */

#if defined(__cpp_lib_memory_resource)
/* For containers of std::pmr that lie in private memory and whose elements lie in a heap, no others: they point to this
 * object, which has virtual functions.  The handle stays open as long as it is used. */
class memory_resource : public std::pmr::memory_resource
{
      public:
        explicit memory_resource(shheap *h) noexcept : heap_(h)
        {
        }
        explicit memory_resource(const heap &h) noexcept : heap_(h.native())
        {
        }

      private:
        void *
        do_allocate(std::size_t bytes, std::size_t align) override
        {
                void *p = shheap_aligned_alloc(heap_, align, bytes);

                if (!p)
                        throw std::bad_alloc();
                return p;
        }
        void
        do_deallocate(void *p, std::size_t, std::size_t) override
        {
                shheap_free(heap_, p);
        }
        bool
        do_is_equal(const std::pmr::memory_resource &other) const noexcept override
        {
#if defined(__cpp_rtti)
                auto *o = dynamic_cast<const memory_resource *>(&other);

                return o && o->heap_ == heap_;
#else
                return this == &other; /* less than could be said, but true */
#endif
        }

        shheap *heap_;
};
#endif

} // namespace shm

template <class T> struct std::hash<shm::ref<T>> {
        std::size_t
        operator()(shm::ref<T> r) const noexcept
        {
                return std::hash<shref>()(r.value());
        }
};

#endif
