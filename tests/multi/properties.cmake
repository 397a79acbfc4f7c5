# Much of it is in the kernel, which is slow to fill and to empty a file system when the machine is busy.
set_tests_properties(multi/full PROPERTIES TIMEOUT 300 ENVIRONMENT "CK_DEFAULT_TIMEOUT=200")
set_property(TEST multi/public APPEND PROPERTY ENVIRONMENT "SHMALLOC_MAP=${PROJECT_SOURCE_DIR}/lib/shmalloc.map")
