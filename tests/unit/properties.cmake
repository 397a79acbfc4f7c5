# At every instruction, not at some.
add_test(NAME unit/root_steps_every COMMAND test-unit-root_steps_tiny)
set_tests_properties(unit/root_steps_every PROPERTIES LABELS "unit;slow" TIMEOUT 3000
  ENVIRONMENT "CK_DEFAULT_TIMEOUT=3000;ROOT_STRIDE=1")
