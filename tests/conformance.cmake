# Tests that run the whole program: the suites of shapes/ against the float64 reference, the installed
# package, the demo, the page of results. Label "gpu" needs a GPU and skips without one. Under
# sanitizers suites_test runs the suites, in one process; "release-only" says nothing more there.

# add_conformance_test(name suite device [INSTRUCTION_SET set] [PLAN text] [LABELS label...])
function(add_conformance_test name suite device)
  cmake_parse_arguments(PARSE_ARGV 3 ARG "" "INSTRUCTION_SET;PLAN" "LABELS")
  foreach(mode IN ITEMS random exact special)
    set(test conformance.${name}.${suite}.${mode})
    add_test(NAME ${test} COMMAND ${CMAKE_COMMAND}
      -DPROGRAM=$<TARGET_FILE:phaseconv_program> -DSUITE=${PROJECT_SOURCE_DIR}/shapes/${suite}.txt
      -DDEVICE=${device} -DINSTRUCTION_SET=${ARG_INSTRUCTION_SET} -DPLAN=${ARG_PLAN} -DMODE=${mode}
      -P ${CMAKE_CURRENT_SOURCE_DIR}/conformance_run.cmake)
    set_tests_properties(${test} PROPERTIES TIMEOUT 900 LABELS "conformance;${ARG_LABELS}"
                         SKIP_REGULAR_EXPRESSION "^skipped: ")
  endforeach()
endfunction()

foreach(suite IN ITEMS smoke edge)
  add_conformance_test(cpu ${suite} cpu)
  add_conformance_test(cuda ${suite} cuda LABELS gpu)
endforeach()
# Every family and every instruction set on its own, lowest first, as Highway names them: whatever
# this machine has.
foreach(family IN ITEMS cells channels)
  add_conformance_test(cpu_${family} edge cpu PLAN ${family}:)
endforeach()
foreach(set IN ITEMS SCALAR SSE4 AVX2 AVX3 NEON)
  add_conformance_test(cpu_${set} edge cpu INSTRUCTION_SET ${set})
endforeach()

add_test(NAME installed_package COMMAND ${CMAKE_COMMAND}
  -DBUILD=${PROJECT_BINARY_DIR} -DSOURCE=${CMAKE_CURRENT_SOURCE_DIR}/consumer
  -DWORK=${CMAKE_CURRENT_BINARY_DIR}/consumer -DCOMPILER=${CMAKE_CXX_COMPILER}
  -DGENERATOR=${CMAKE_GENERATOR} -P ${CMAKE_CURRENT_SOURCE_DIR}/consumer/test.cmake)
set_tests_properties(installed_package PROPERTIES TIMEOUT 300 LABELS release-only)

# These need the Python environment that ./run makes.
set(python ${PROJECT_SOURCE_DIR}/.venv/bin/python)
if(EXISTS ${python})
  add_test(NAME demo COMMAND ${python} ${PROJECT_SOURCE_DIR}/demo/demo.py
    --program $<TARGET_FILE:phaseconv_program> --output ${CMAKE_CURRENT_BINARY_DIR}/demo-output)
  # Alone, because it prints times.
  set_tests_properties(demo PROPERTIES TIMEOUT 300 LABELS release-only RUN_SERIAL ON)

  add_test(NAME results_page COMMAND ${python} -B ${PROJECT_SOURCE_DIR}/bench/render.py --check)
  set_tests_properties(results_page PROPERTIES LABELS release-only)
endif()

# The PyTorch package: as it was built here, and as a user installs it, into a folder of its own. The
# first is two tests, that run side by side, the one with most of the compilers apart; they take longer
# than any other test, so that they start before them.
if(PHASECONV_BUILD_PYTHON)
  find_package(Python REQUIRED COMPONENTS Interpreter)
  set(emitted tests/python/test_emit_families.py tests/python/test_emit_runs.py)
  list(TRANSFORM emitted PREPEND --ignore= OUTPUT_VARIABLE without_emitted)
  add_test(NAME pytorch COMMAND ${Python_EXECUTABLE} -B -m pytest ${without_emitted}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  add_test(NAME pytorch_emitted COMMAND ${Python_EXECUTABLE} -B -m pytest ${emitted}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(pytorch pytorch_emitted PROPERTIES TIMEOUT 900 COST 300 LABELS release-only
                       ENVIRONMENT PYTHONPATH=${PROJECT_BINARY_DIR}/python)
  add_test(NAME pip_install COMMAND ${CMAKE_COMMAND}
    -DPYTHON=${Python_EXECUTABLE} -DSOURCE=${PROJECT_SOURCE_DIR}
    -DWORK=${CMAKE_CURRENT_BINARY_DIR}/pip-install -DCOMPILER=${CMAKE_CXX_COMPILER}
    -P ${CMAKE_CURRENT_SOURCE_DIR}/python/pip_install.cmake)
  set_tests_properties(pip_install PROPERTIES TIMEOUT 900 LABELS release-only)
endif()
