# That each question gives figures, that a trace is what a program did, and that the judges judge.  No time is a test's
# business here.

add_executable(bench-known tests/known.c)
shmalloc_bench_settings(bench-known)
target_link_libraries(bench-known PRIVATE Threads::Threads)
target_compile_options(bench-known PRIVATE -fno-builtin) # each call is made
set_target_properties(bench-known PROPERTIES OUTPUT_NAME known)

# A malloc like any other that is not installed, and others that make mistakes.
foreach(kind IN ITEMS good overlaps dirty loses crooked)
  string(TOUPPER ${kind} define)
  add_library(bench-peer-${kind} MODULE tests/peer.c)
  shmalloc_bench_settings(bench-peer-${kind})
  set_target_properties(bench-peer-${kind} PROPERTIES OUTPUT_NAME peer-${kind} C_VISIBILITY_PRESET default)
  target_compile_definitions(bench-peer-${kind} PRIVATE PEER_${define}=1)
  target_compile_options(bench-peer-${kind} PRIVATE -fno-builtin)
endforeach()

add_executable(bench-floor tests/floor.c)
shmalloc_bench_settings(bench-floor)
set_target_properties(bench-floor PROPERTIES ENABLE_EXPORTS ON)
target_link_libraries(bench-floor PRIVATE bench_common Threads::Threads)
add_test(NAME bench/floor COMMAND bench-floor)
set_tests_properties(bench/floor PROPERTIES LABELS bench TIMEOUT 600)

foreach(name IN ITEMS judges record replay questions)
  add_test(NAME bench/${name}
    COMMAND sh "${CMAKE_CURRENT_SOURCE_DIR}/tests/${name}.sh" "${CMAKE_CURRENT_SOURCE_DIR}" "${SHMALLOC_BENCH_DIR}")
  set_tests_properties(bench/${name} PROPERTIES LABELS bench TIMEOUT 600)
endforeach()
