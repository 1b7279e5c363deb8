// From a plan to the text that NVRTC compiles: the kernel's own .cuh files, and a few generated
// lines that name the problem and the plan as constants and instantiate it.
#pragma once

#include <string>
#include <vector>

#include "plan/plan.h"

namespace phaseconv::cuda {

/// One kernel of a module and the grid that runs it.
struct LaunchShape {
  std::string kernel;                ///< extern "C" name
  unsigned blocks = 1;               ///< gridDim.x; the kernels loop where they need more
  unsigned threads = 1;              ///< blockDim.x
  unsigned shared_memory_bytes = 0;  ///< dynamic
};

/// A compilation unit with two kernels:
///   run(const void* input, const void* packed, const void* bias, void* output)
///   pack(const void* weight, void* packed)
struct KernelSource {
  std::string text;
  LaunchShape run;
  LaunchShape pack;
  std::size_t packed_bytes = 0;
};

KernelSource generate_source(const Problem& problem, const Plan& plan);

/// The families of kernels, for the planner.
const std::vector<Family>& kernel_families();

}  // namespace phaseconv::cuda
