#include "tools/command.h"

int main(int argc, char** argv) { return phaseconv::tools::run_program(argc, argv); }
