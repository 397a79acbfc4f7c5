# The library's targets.

# What every compilation of the library's sources has in common.  The definitions change the layout that headers
# describe, so whoever includes an internal header gets them too.
function(shmalloc_library_settings target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SANITIZE" "DEFINITIONS")
  shmalloc_flags(${target} SANITIZE "${arg_SANITIZE}")
  # What a caller's function throws, or its thread's end in there, passes through these sources.
  target_compile_options(${target} PRIVATE -fexceptions)
  target_compile_definitions(${target} PUBLIC ${arg_DEFINITIONS})
  target_include_directories(${target}
    PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    PRIVATE "${PROJECT_SOURCE_DIR}/lib")
  target_include_directories(${target} SYSTEM PRIVATE "${SHMALLOC_URCU_INCLUDE}")
  target_link_libraries(${target} PRIVATE PkgConfig::NUMA Threads::Threads)
endfunction()

# A static library with everything in it and nothing hidden, for tests and benchmarks that call internals; either
# another compilation of the sources or a view of objects compiled before.
#
#   shmalloc_internal_library(<name> OBJECTS <object library>)
#   shmalloc_internal_library(<name> [SANITIZE <list>] [DEFINITIONS <d>...])
function(shmalloc_internal_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "OBJECTS;SANITIZE" "DEFINITIONS")
  if(arg_OBJECTS)
    add_library(${name} STATIC "$<TARGET_OBJECTS:${arg_OBJECTS}>")
    set_target_properties(${name} PROPERTIES LINKER_LANGUAGE C)
    target_compile_definitions(${name} INTERFACE "$<TARGET_PROPERTY:${arg_OBJECTS},INTERFACE_COMPILE_DEFINITIONS>")
  else()
    add_library(${name} STATIC ${SHMALLOC_SOURCES})
    shmalloc_library_settings(${name} SANITIZE "${arg_SANITIZE}" DEFINITIONS ${arg_DEFINITIONS})
  endif()
  target_include_directories(${name} INTERFACE "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/lib")
  target_include_directories(${name} SYSTEM INTERFACE "${SHMALLOC_URCU_INCLUDE}")
  target_link_libraries(${name} INTERFACE PkgConfig::NUMA Threads::Threads)
endfunction()

function(shmalloc_shared_library)
  set(map "${PROJECT_SOURCE_DIR}/lib/shmalloc.map")
  add_library(shmalloc SHARED "$<TARGET_OBJECTS:shmalloc_compiled>")
  add_library(shmalloc::shmalloc ALIAS shmalloc)
  shmalloc_flags(shmalloc)
  set_target_properties(shmalloc PROPERTIES
    LINKER_LANGUAGE C
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}
    LINK_DEPENDS "${map}")
  target_include_directories(shmalloc INTERFACE
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  # It stays when a plugin that uses it goes: os/pin.h.
  target_link_options(shmalloc PRIVATE "-Wl,--version-script,${map}" -Wl,-z,nodelete)
  target_link_libraries(shmalloc PRIVATE PkgConfig::NUMA Threads::Threads)
endfunction()

# One object in which everything hidden is local: a program that links to it statically may have a slab_acquire()
# of its own, and the fork handlers are never left out.
#
# The compiler joins them, because after -flto there are no symbols to make local in what it has compiled: it finishes
# that here (gcc has to be told; clang, whose joined object is machine code in any case, does not know the option).
function(shmalloc_static_library)
  set(object "${PROJECT_BINARY_DIR}/shmalloc_static.o")
  separate_arguments(join UNIX_COMMAND "${CMAKE_C_FLAGS} ${CMAKE_EXE_LINKER_FLAGS}")
  list(FILTER join EXCLUDE REGEX "^-Wl,|^-pie$|^-static") # for programs
  list(PREPEND join ${CMAKE_C_COMPILER})
  if(CMAKE_C_COMPILER_TARGET)
    list(APPEND join "--target=${CMAKE_C_COMPILER_TARGET}")
  endif()
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND join -flinker-output=nolto-rel)
  endif()
  add_custom_command(OUTPUT "${object}"
    COMMAND ${join} -r -nostdlib -o "${object}" "$<TARGET_OBJECTS:shmalloc_compiled>"
    COMMAND "${CMAKE_OBJCOPY}" --localize-hidden "${object}"
    DEPENDS shmalloc_compiled "$<TARGET_OBJECTS:shmalloc_compiled>"
    COMMAND_EXPAND_LISTS VERBATIM
    COMMENT "Joining the objects of the static library")
  add_library(shmalloc_static STATIC "${object}")
  add_library(shmalloc::shmalloc_static ALIAS shmalloc_static)
  set_target_properties(shmalloc_static PROPERTIES LINKER_LANGUAGE C OUTPUT_NAME shmalloc)
  target_include_directories(shmalloc_static INTERFACE
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  target_link_libraries(shmalloc_static PRIVATE PkgConfig::NUMA Threads::Threads)
endfunction()
