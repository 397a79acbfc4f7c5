# How a test becomes a program and a ctest test.

include(ShmallocSanitizers)

# Seconds after which a test hangs, and those of a test function of libcheck.  No test takes a tenth of that on a
# machine of its own, but a machine may be busy, slow, or emulated: these end what would never end, and say nothing of
# speed.
set(SHMALLOC_TEST_LIMIT 1200)
set(SHMALLOC_TEST_FUNCTION_LIMIT 600)
pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)

file(GLOB SHMALLOC_SUPPORT_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/support/*.c")

# tests/support/ as a library on top of an internal library; with the same sanitizers and geometry.
#
#   shmalloc_support_library(<name> LIBRARY <internal library> [SANITIZE <list>])
function(shmalloc_support_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LIBRARY;SANITIZE" "")
  set(scope INTERFACE)
  if(SHMALLOC_SUPPORT_SOURCES)
    set(scope PUBLIC)
    add_library(${name} STATIC ${SHMALLOC_SUPPORT_SOURCES})
    shmalloc_flags(${name} SANITIZE "${arg_SANITIZE}")
  else()
    add_library(${name} INTERFACE)
  endif()
  target_include_directories(${name} ${scope} "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${name} ${scope} ${arg_LIBRARY} PkgConfig::CHECK Threads::Threads)
endfunction()

# One program and one ctest test of the same name.
#
#   shmalloc_add_test(<folder>/<test> SOURCES <file>...
#                     [LIBRARY <support library>]  default shmalloc_support
#                     [SANITIZE <list>] [RUN <command>...] [ENVIRONMENT <var=value>...]
#                     [LABELS <label>...] [TIMEOUT <seconds>])   default SHMALLOC_TEST_LIMIT
function(shmalloc_add_test test)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LIBRARY;SANITIZE;TIMEOUT" "SOURCES;RUN;ENVIRONMENT;LABELS")
  if(NOT arg_LIBRARY)
    set(arg_LIBRARY shmalloc_support)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT ${SHMALLOC_TEST_LIMIT})
  endif()
  get_filename_component(folder "${test}" DIRECTORY)
  get_filename_component(name "${test}" NAME)
  string(REPLACE "/" "-" target "test-${test}")

  add_executable(${target} ${arg_SOURCES})
  shmalloc_flags(${target} SANITIZE "${arg_SANITIZE}")
  target_link_libraries(${target} PRIVATE ${arg_LIBRARY})
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME "${name}"
    RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests/${folder}")
  add_test(NAME ${test} COMMAND ${arg_RUN} "$<TARGET_FILE:${target}>")
  set_tests_properties(${test} PROPERTIES
    LABELS "${arg_LABELS}"
    TIMEOUT ${arg_TIMEOUT}
    ENVIRONMENT "CK_DEFAULT_TIMEOUT=${SHMALLOC_TEST_FUNCTION_LIMIT};${arg_ENVIRONMENT}")
endfunction()

# These run what is shipped: a filter refuses what assertions ask the system, or each instruction is stepped, or it is
# all a matter of how much work others do meanwhile.
set(SHMALLOC_UNASSERTED_TESTS multi/refused multi/slot_steps multi/free_in_need multi/made_real
  multi/takeover)

# Every tests/<kind>/<pattern> as a test labelled <kind>, with a library that asserts.  A name that ends in _tiny gets
# the one with the tiny geometry, and one in _slow the label slow, which the default run leaves out.  What includes
# support/effort.h is run once more with the label slow, as <name>_more.
# tests/<kind>/properties.cmake, if there is one, is read afterwards and may set properties of single tests.
function(shmalloc_add_test_folder kind pattern)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${kind}/${pattern}")
  foreach(source IN LISTS sources)
    get_filename_component(stem "${source}" NAME_WE)
    string(REGEX REPLACE "^test_" "" name "${stem}")
    set(labels ${kind})
    set(library shmalloc_support_debug)
    if(name MATCHES "_slow$")
      list(APPEND labels slow)
    endif()
    if(name MATCHES "_tiny$")
      set(library shmalloc_support_tiny)
    elseif("${kind}/${name}" IN_LIST SHMALLOC_UNASSERTED_TESTS)
      set(library shmalloc_support)
    endif()
    shmalloc_add_test(${kind}/${name} SOURCES "${source}" LIBRARY ${library} LABELS ${labels})
    file(STRINGS "${source}" has_effort LIMIT_COUNT 1 REGEX "support/effort\\.h")
    if(has_effort)
      add_test(NAME ${kind}/${name}_more COMMAND test-${kind}-${name})
      set_tests_properties(${kind}/${name}_more PROPERTIES LABELS "${kind};slow" TIMEOUT 3000
        ENVIRONMENT "CK_DEFAULT_TIMEOUT=3000;SHMALLOC_EFFORT=10")
    endif()
  endforeach()
  include("${CMAKE_CURRENT_SOURCE_DIR}/${kind}/properties.cmake" OPTIONAL)
endfunction()

# The given test sources once more, under a sanitizer, with internal assertions on.  Under one that looks for races only
# those that start threads, or have actors of support/slot_fixture.h that are some.
#
#   shmalloc_add_sanitized_tests(<label> <NAME of the sanitizer> <-fsanitize= list> <environment> <source>...)
function(shmalloc_add_sanitized_tests label name flags environment)
  shmalloc_find_sanitizer(${name} ${flags})
  if(NOT SHMALLOC_HAVE_${name} OR NOT ARGN)
    return()
  endif()
  shmalloc_internal_library(shmalloc_objects_${label} SANITIZE ${flags} DEFINITIONS ${SHMALLOC_DEFINITIONS} SHM_DEBUG=1)
  shmalloc_support_library(shmalloc_support_${label} LIBRARY shmalloc_objects_${label} SANITIZE ${flags})
  foreach(source IN LISTS ARGN)
    get_filename_component(stem "${source}" NAME_WE)
    string(REGEX REPLACE "^test_" "" test "${stem}")
    if(test MATCHES "_(tiny|slow)$")
      continue()
    endif()
    file(STRINGS "${source}" threads LIMIT_COUNT 1 REGEX "pthread_create|support/slot_fixture\\.h")
    if(flags STREQUAL "thread" AND NOT threads)
      continue()
    endif()
    get_filename_component(folder "${source}" DIRECTORY)
    get_filename_component(folder "${folder}" NAME)
    string(REPLACE "/" "-" target "test-${label}/${folder}/${test}")
    set(labels ${label})
    # Half a minute and more, for what one thread does, or two.
    if((flags STREQUAL "thread" AND test MATCHES "^(flags|inject_debug|numa_debug)$") OR
        (flags MATCHES "address" AND test MATCHES "^(inject_debug|sweep)$"))
      list(APPEND labels slow)
    endif()
    set(variables ${environment})
    # Leaks are looked for at the end of each function's process: most of the time that the long ones take.
    set(leaks_are_slow FALSE)
    if(flags MATCHES "address" AND test MATCHES
        "^(alloc|alloc_held|check_damage|inject_debug|numa_debug|realloc|reap|sift|slab|slab_dead|tcache|tcache_home)$")
      set(leaks_are_slow TRUE)
      list(TRANSFORM variables REPLACE "^ASAN_OPTIONS=" "ASAN_OPTIONS=detect_leaks=0:")
    endif()
    shmalloc_add_test(${label}/${folder}/${test} SOURCES "${source}"
      LIBRARY shmalloc_support_${label} SANITIZE ${flags} RUN ${SHMALLOC_RUN_${name}}
      LABELS ${labels} ENVIRONMENT ${variables})
    if(leaks_are_slow)
      add_test(NAME ${label}/${folder}/${test}_leaks COMMAND ${SHMALLOC_RUN_${name}} "$<TARGET_FILE:${target}>")
      set_tests_properties(${label}/${folder}/${test}_leaks PROPERTIES LABELS "${label};slow" TIMEOUT 3000
        ENVIRONMENT "CK_DEFAULT_TIMEOUT=3000;${environment}")
    endif()
    target_compile_options(${target} PRIVATE -O1) # half the time to compile; the library is as fast as it was
  endforeach()
endfunction()
