set_property(TEST multi/public APPEND PROPERTY ENVIRONMENT "SHMALLOC_MAP=${PROJECT_SOURCE_DIR}/lib/shmalloc.map")
