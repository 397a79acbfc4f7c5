# The one place where compile and link flags are chosen.
#
#   shmalloc_flags(<target> [SANITIZE address,undefined|thread|...])
#
# Every target of the project calls it once; nothing sets CMAKE_C_FLAGS.  Without SANITIZE the target follows
# the option SHMALLOC_SANITIZE of the whole build.

set(SHMALLOC_WARNINGS
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla)

function(shmalloc_flags target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SANITIZE" "")
  set(sanitize "${SHMALLOC_SANITIZE}")
  if(arg_SANITIZE)
    set(sanitize "${arg_SANITIZE}")
  endif()

  set_target_properties(${target} PROPERTIES
    C_STANDARD 11
    C_STANDARD_REQUIRED ON
    C_EXTENSIONS ON
    C_VISIBILITY_PRESET hidden
    POSITION_INDEPENDENT_CODE ON)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  # Checks are governed by SHM_DEBUG alone, so the build types' NDEBUG is taken back.
  target_compile_options(${target} PRIVATE ${SHMALLOC_WARNINGS} -UNDEBUG)
  if(SHMALLOC_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(sanitize)
    target_compile_options(${target} PRIVATE
      -fsanitize=${sanitize} -fno-sanitize-recover=all -fno-omit-frame-pointer
      # GCC warns of fences that TSan does not model; compiler barriers are all this code uses.
      $<$<C_COMPILER_ID:GNU>:-Wno-tsan>)
    target_link_options(${target} PRIVATE -fsanitize=${sanitize})
  endif()
  if(SHMALLOC_COVERAGE) # counters in a shared mapping of a file: what a process that is killed has done counts, too
    target_compile_options(${target} PRIVATE
      -fprofile-instr-generate -fcoverage-mapping "SHELL:-mllvm -runtime-counter-relocation")
    target_link_options(${target} PRIVATE -fprofile-instr-generate)
  endif()
  target_link_options(${target} PRIVATE -Wl,-z,relro,-z,now -Wl,--no-undefined)
endfunction()
