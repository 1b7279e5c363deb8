// From a plan to the text that NVRTC compiles: the kernel's own .cuh files, and a few generated
// lines that name the problem and the plan as constants and instantiate it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plan/plan.h"

namespace phaseconv::cuda {

/// One kernel of a source and the grid that runs it.
struct LaunchShape {
  std::string kernel = {};           ///< extern "C" name
  std::string definition = {};       ///< what follows the constants
  unsigned blocks = 1;               ///< gridDim.x; the kernels loop where they need more
  unsigned threads = 1;              ///< blockDim.x
  unsigned shared_memory_bytes = 0;  ///< dynamic
  /// Blocks of each multiprocessor: the grid has no more, and they loop. 0: as many as there are.
  unsigned resident = 0;
  /// It may be launched before the stream's earlier kernels end, as it waits for them itself.
  bool early = false;
};

/// What a call takes beside its work: less where kernels are launched early. Measured on an H100.
double launch_seconds(const Machine& machine);

/// The text of two kernels, in parts that compile with both of them or with one:
///   run(const void* input, const void* packed, const void* bias, void* output)
///   pack(const void* weight, void* packed)
struct KernelSource {
  std::vector<std::string_view> files;  ///< names of the kernel files that it is made of, in order
  std::string files_text;
  std::string constants;  ///< of this problem and plan, in a namespace that `closing` ends
  std::string closing;
  LaunchShape run;
  LaunchShape pack;
  std::size_t packed_bytes = 0;

  /// What is of this problem and plan alone.
  std::string generated() const { return constants + run.definition + pack.definition + closing; }
  /// Complete, with both kernels.
  std::string text() const { return files_text + generated(); }
  /// Complete, with one of them.
  std::string text(const LaunchShape& one) const {
    return files_text + constants + one.definition + closing;
  }
};

/// A family as the generator of sources knows it: what the planner asks for, and what goes into a
/// text.
struct KernelFamily {
  Family family;
  std::string_view kernel;              ///< the template, of Problem and Plan
  std::vector<std::string_view> files;  ///< that it is made of, beside the element types'
  /// What the host works out for a plan, and the kernel too: the generated source asserts that both
  /// agree.
  struct Sizes {
    Index blocks = 0, shared_bytes = 0, packed_bytes = 0;
  };
  Sizes (*sizes)(const Problem&, const Plan&);
  /// The plan's fields as the kernel wants them: types, names and values.
  struct Constant {
    std::string_view type;
    std::string name, value;
  };
  std::vector<Constant> (*constants)(const Problem&, const Plan&);
};

/// Generated names end in `suffix`: the generated parts of several problems, each with its own, can
/// follow the same files in one text.
KernelSource generate_source(const Problem& problem, const Plan& plan,
                             std::string_view suffix = {});

/// A kernel file as part of a text: without its includes, which come before it there.
std::string kernel_text(std::string_view name);

/// The families of kernels, for the planner.
const std::vector<Family>& kernel_families();
/// The family of a plan.
const KernelFamily& kernel_family(const Plan& plan);

}  // namespace phaseconv::cuda
