// From a plan to the text that NVRTC compiles: the kernel's own .cuh files, and a few generated
// lines that name the problem and the plan as constants and instantiate it.
#pragma once

#include <string>
#include <string_view>
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
  std::string text;                     ///< complete: the files, then what is generated
  std::vector<std::string_view> files;  ///< names of the kernel files that it is made of, in order
  std::string generated;                ///< constants and kernels of this problem and plan alone
  LaunchShape run;
  LaunchShape pack;
  std::size_t packed_bytes = 0;
};

/// Generated names end in `suffix`: the generated parts of several problems, each with its own, can
/// follow the same files in one text.
KernelSource generate_source(const Problem& problem, const Plan& plan,
                             std::string_view suffix = {});

/// A kernel file as part of a text: without its includes, which come before it there.
std::string kernel_text(std::string_view name);

/// The families of kernels, for the planner.
const std::vector<Family>& kernel_families();

}  // namespace phaseconv::cuda
