set_property(TEST multi/public multi/public_more APPEND PROPERTY
  ENVIRONMENT "SHMALLOC_MAP=${PROJECT_SOURCE_DIR}/lib/shmalloc.map")
