// NVIDIA's run-time compiler, opened at run time: CUDA C++ text in, a cubin out. Never PTX: a
// driver refuses PTX that is newer than itself, a cubin of its GPU's architecture always loads.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "phaseconv/error.h"

namespace phaseconv {
struct Options;
}

namespace phaseconv::cuda {

struct NvrtcFunctions {
  using Program = struct NvrtcProgram*;
  int (*nvrtcVersion)(int* major, int* minor);
  const char* (*nvrtcGetErrorString)(int result);
  int (*nvrtcGetNumSupportedArchs)(int*);
  int (*nvrtcGetSupportedArchs)(int*);
  int (*nvrtcCreateProgram)(Program*, const char* source, const char* name, int header_count,
                            const char* const* headers, const char* const* header_names);
  int (*nvrtcDestroyProgram)(Program*);
  int (*nvrtcCompileProgram)(Program, int count, const char* const* options);
  int (*nvrtcGetProgramLogSize)(Program, std::size_t*);
  int (*nvrtcGetProgramLog)(Program, char*);
  int (*nvrtcGetCUBINSize)(Program, std::size_t*);
  int (*nvrtcGetCUBIN)(Program, char*);
};

/// One NVRTC library. It stays loaded until the process ends; copies of this are cheap.
class Nvrtc : private NvrtcFunctions {
 public:
  /// Where a library may be: a path, or a name for the system's own search.
  struct Candidate {
    std::string library;
    bool only_if_loaded = false;  ///< take it if this process has it, do not go and look for it
  };
  /// The one that the options name, one that this process has already (PyTorch's, say), the
  /// options' candidates in their order, then the system's.
  static std::vector<Candidate> candidates(const Options& options);

  /// Takes the first candidate that can be used. Throws `Unsupported` with what was wrong with
  /// each.
  explicit Nvrtc(const std::vector<Candidate>& candidates);
  explicit Nvrtc(const Options& options) : Nvrtc(candidates(options)) {}

  std::string version() const;  ///< "13.5"
  const std::string& path() const { return path_; }
  /// The candidates before it that could not be used, a line each: what was wrong with them.
  const std::string& passed_over() const { return passed_over_; }

  /// Throws `Unsupported`, with the NVRTC that could, unless it compiles for `arch` ("sm_90a").
  void require(const std::string& arch) const;

  struct Output {
    std::string cubin;
    std::string log;  ///< warnings and the resource report of ptxas
  };
  /// The options that it compiles with: part of what a compiled kernel depends on.
  static std::vector<std::string> options(const std::string& arch);
  /// Compiles `source` for `arch`; `name` is the file name in messages. Throws `Unsupported` with
  /// the compiler's log.
  Output compile(const std::string& source, const std::string& name, const std::string& arch) const;

 private:
  /// What is wrong with a candidate; empty where it is now this object's library.
  std::string open(const Candidate& candidate);

  int major_ = 0;
  int minor_ = 0;
  std::string path_, passed_over_;
};

/// The number in an architecture's name: 90 for "sm_90a". Throws `Invalid`.
int architecture_number(const std::string& arch);

/// What one kernel takes, by the report in a compiler's log.
struct Resources {
  std::string kernel;
  int registers = 0;    ///< a thread
  int spill_bytes = 0;  ///< stores and loads, of functions that it calls too
};
std::vector<Resources> read_resources(const std::string& log);

}  // namespace phaseconv::cuda
