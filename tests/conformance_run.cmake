# Runs one suite through the program: cmake -DPROGRAM= -DSUITE= -DDEVICE= -DINSTRUCTION_SET= -DPLAN=
# -DMODE=random|exact|special -P conformance_run.cmake. Prints "skipped: ..." where this machine has
# no such device or instruction set.
set(where --device ${DEVICE})
if(INSTRUCTION_SET)
  list(APPEND where --instruction-set ${INSTRUCTION_SET})
endif()

execute_process(COMMAND ${PROGRAM} verify ic1,oc1,i1,k1 ${where} --json
  RESULT_VARIABLE status OUTPUT_VARIABLE document ERROR_VARIABLE complaint)
if(status EQUAL 3)
  execute_process(COMMAND ${CMAKE_COMMAND} -E echo "skipped: ${complaint}${document}")
  return()
endif()
if(NOT status EQUAL 0)
  message(FATAL_ERROR "exit code ${status}: ${complaint}${document}")
endif()
string(JSON backend GET "${document}" results 0 backend)
message(STATUS "backend: ${backend}")
if(INSTRUCTION_SET AND NOT backend STREQUAL "cpu ${INSTRUCTION_SET}")
  message(FATAL_ERROR "asked for ${INSTRUCTION_SET}, was given '${backend}'")
endif()

if(PLAN)
  list(APPEND where --plan ${PLAN})
endif()
if(NOT MODE STREQUAL "random")
  list(APPEND where --${MODE})
endif()
execute_process(COMMAND ${PROGRAM} verify --suite ${SUITE} ${where} RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  list(JOIN where " " where)
  message(FATAL_ERROR "exit code ${status} from: ${PROGRAM} verify --suite ${SUITE} ${where}")
endif()
