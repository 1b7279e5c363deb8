// Plan → source → cubin for one problem and one architecture, with no GPU: what `phaseconv compile`
// and the register budget of the tests use.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/source.h"
#include "phaseconv/convolution.h"
#include "plan/plan.h"

namespace phaseconv::cuda {

struct Compiled {
  Decision decision;
  KernelSource source;
  std::string cubin;
  std::string log;      ///< the compiler's, with its resource report
  int registers = 0;    ///< of the run kernel, a thread
  int spill_bytes = 0;  ///< stores and loads, of both kernels
  double seconds = 0;   ///< compilation alone
};

/// `arch` as NVRTC names it: "sm_80", "sm_90a". Throws `Unsupported` where NVRTC is missing, too
/// old for the architecture, or fails.
Compiled compile(const Problem& problem, const std::string& arch, const Options& options);

using Cubin = std::shared_ptr<const std::string>;

/// The cubin of a source: from memory, else from the disk cache, else compiled (and kept in both).
/// Throws as `compile` does.
Cubin cubin(const std::string& source, const std::string& arch, const Options& options);

/// Those of both kernels, compiled at the same time.
struct Cubins {
  Cubin run, pack;
};
Cubins cubins(const KernelSource& source, const std::string& arch, const Options& options);

/// A description of the architecture without a device: typical units and rates, for planning.
Machine typical_machine(const std::string& arch);

class Context;
/// A description of a device from its attributes. Throws `Unsupported` for a GPU that is too old.
Machine describe(const Context& context);

/// What `phaseconv doctor` prints: one line a thing looked for, NVRTC tried on a small kernel.
struct Finding {
  std::string what;  ///< "NVIDIA driver", "NVRTC", "device 0", "kernel cache"
  bool usable = false;
  std::string detail;  ///< version and path, or the reason and the remedy
};
std::vector<Finding> diagnose(const Options& options);

}  // namespace phaseconv::cuda
