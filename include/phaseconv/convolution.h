// Transposed convolution: prepare once, pack the weights once, run many times.
//
//     Problem problem = parse("n4,ic32,oc32,g4,i32x64x128,k3,s2,p1");
//     TransposedConvolution conv = prepare(problem, Device::cuda(0));
//     PackedWeights weights = conv.pack(w, stream);
//     conv.run(x, weights, bias, y, stream);
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "phaseconv/problem.h"

namespace phaseconv {

struct Options;

/// Where a convolution runs. Text form: "cpu", "cuda", "cuda:1".
struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int ordinal = 0;

  static Device cpu() { return {}; }
  static Device cuda(int ordinal = 0) { return {Kind::cuda, ordinal}; }
  /// The first CUDA device that this library can use, else the CPU.
  static Device best(const Options& options);
  /// Reads "auto", "cpu", "cuda" or "cuda:N". Throws `Invalid`.
  static Device parse(std::string_view text, const Options& options);

  friend bool operator==(const Device&, const Device&) = default;
};
std::string to_string(const Device& device);

/// Calls body(begin, end) on ranges that cover [0, count) once, on whatever threads it likes, and
/// returns when all are done. Results do not depend on how the range is cut.
using ParallelFor =
    std::function<void(Index count, const std::function<void(Index begin, Index end)>& body)>;

/// The one place from which the library takes settings. It reads no environment variable itself;
/// `from_environment` does, for programs that want it.
struct Options {
  /// Keep only plans whose text starts with this, for example "direct"; empty: the planner's
  /// choice.
  std::string plan;

  /// CPU: threads to use; 0 is one per hardware thread. Ignored where `parallel_for` is set.
  int threads = 0;
  /// CPU: the caller's own thread pool; empty: OpenMP.
  ParallelFor parallel_for;
  /// CPU: instruction set to use, as Highway names it ("AVX2", "AVX3", "SSE4"); empty: the best.
  std::string instruction_set;

  /// CUDA: folder of compiled kernels; empty: no disk cache.
  std::string cache_folder;
  /// CUDA: the NVRTC library to take, if it can be used; empty: whichever is found.
  std::string nvrtc_library;
  /// CUDA: candidates for it after one that the process has loaded already, tried in order before
  /// the system's own search.
  std::vector<std::string> nvrtc_libraries;

  /// PHASECONV_PLAN, PHASECONV_THREADS, PHASECONV_INSTRUCTION_SET, PHASECONV_CACHE (default
  /// $XDG_CACHE_HOME/phaseconv or ~/.cache/phaseconv; "off" for none), PHASECONV_NVRTC; NVRTC is
  /// also looked for in $VIRTUAL_ENV and $CUDA_PATH.
  static Options from_environment();
};

/// A CUDA stream (CUstream or cudaStream_t); null is the default stream. Ignored on the CPU.
using Stream = void*;

/// Weights in the order in which one prepared convolution reads them, in the device's memory.
/// Copies share it. Valid for any convolution prepared from the same problem, plan and device.
class PackedWeights {
 public:
  PackedWeights() = default;
  explicit PackedWeights(std::shared_ptr<void> memory, std::size_t bytes)
      : memory_(std::move(memory)), bytes_(bytes) {}
  /// Memory that the caller keeps for as long as it is used.
  static PackedWeights borrowed(void* memory, std::size_t bytes) {
    return PackedWeights(std::shared_ptr<void>(std::shared_ptr<void>(), memory), bytes);
  }
  const void* data() const { return memory_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<void> memory_;
  std::size_t bytes_ = 0;
};

class Executable;  // src/backend.h

/// A prepared transposed convolution. Copies share everything; const methods may be called from
/// several threads at once. CUDA: the last copy, and the weights it packed, must outlive the work
/// that its runs have on the device.
class TransposedConvolution {
 public:
  explicit TransposedConvolution(std::shared_ptr<const Executable> executable);

  const Problem& problem() const;
  const Device& device() const;
  std::string plan() const;          ///< text form of the plan taken
  std::string backend() const;       ///< for example "cpu AVX2" or "cuda sm_90a"
  double predicted_seconds() const;  ///< what the planner expects one run to take

  /// Packs weights [ic, oc/g, *k], contiguous, in the problem's element type, on the device.
  /// Allocates the packed memory; asynchronous on `stream`.
  PackedWeights pack(const void* weight, Stream stream = nullptr) const;

  /// The same into the caller's memory on the device: `packed_bytes()` long, aligned to
  /// `packed_alignment`. Allocates nothing.
  void pack_into(const void* weight, void* packed, Stream stream = nullptr) const;
  std::size_t packed_bytes() const;
  static constexpr std::size_t packed_alignment = 64;

  /// Computes output from input, both contiguous in the problem's layout, on the device, aligned to
  /// their elements. `bias` [oc] must be given exactly where the problem has one. Every output
  /// element is written. CUDA: allocates nothing and waits for nothing, asynchronous on `stream`;
  /// it can be captured in a graph (prepare and pack before). CPU: returns when done; each thread
  /// that takes part keeps a working memory of at most about the size of its second-level cache,
  /// however large the problem.
  void run(const void* input, const PackedWeights& weights, const void* bias, void* output,
           Stream stream = nullptr) const;

 private:
  std::shared_ptr<const Executable> executable_;
};

/// Plans, compiles and loads: everything slow. Throws `Invalid`, or `Unsupported` with every
/// backend's reason.
TransposedConvolution prepare(const Problem& problem, const Device& device,
                              const Options& options = {});

std::string_view version();

}  // namespace phaseconv
