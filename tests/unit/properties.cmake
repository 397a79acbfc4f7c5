# At every instruction, and at every access, not at some.
foreach(kind IN ITEMS steps explore)
  add_test(NAME unit/root_${kind}_every COMMAND test-unit-root_${kind}_tiny)
  set_tests_properties(unit/root_${kind}_every PROPERTIES LABELS "unit;slow" TIMEOUT 3000
    ENVIRONMENT "CK_DEFAULT_TIMEOUT=3000;ROOT_STRIDE=1")
endforeach()
