// What a backend is: something that turns a problem into an executable, or says why it can't.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "cpu/parallel.h"
#include "phaseconv/convolution.h"
#include "plan/plan.h"

namespace phaseconv {

/// A problem, planned, compiled and loaded for one device.
class Executable {
 public:
  Executable(Problem p, Device d, Decision chosen)
      : problem(std::move(p)), device(d), decision(std::move(chosen)) {}
  virtual ~Executable() = default;

  /// `packed` is the device's memory, `packed_bytes()` long.
  virtual void pack(const void* weight, void* packed, Stream stream) const = 0;
  virtual void run(const void* input, const PackedWeights& weights, const void* bias, void* output,
                   Stream stream) const = 0;
  virtual std::size_t packed_bytes() const = 0;
  virtual std::string backend() const = 0;

  const Plan& plan() const { return decision.plan(); }

  const Problem problem;
  const Device device;
  const Decision decision;
};

/// Rates that the hardware reaches, measured in this process: what a floor is computed from.
struct Ceilings {
  double copy_bytes_per_second = 0;  ///< bytes read plus bytes written
  double flops_per_second = 0;       ///< dense multiply-adds of the element type, two flops each
  std::string method;                ///< how the two were had, for the report
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Device::Kind kind() const = 0;

  /// Devices of this kind; with none, or nothing to use them with, `reason` says why.
  virtual int device_count(const Options& options, std::string& reason) const = 0;
  /// Whether one of them can be used, or the `reason`.
  virtual bool usable(int ordinal, const Options& options, std::string& reason) const = 0;
  /// What the planner needs to know about a device. Throws `Unsupported`.
  virtual Machine machine(const Device& device, const Options& options) const = 0;
  /// The decision alone: needs the machine's description, not its presence.
  Decision decide(const Problem& problem, const Machine& machine, const Options& options) const {
    return phaseconv::decide(problem, machine, families(), options.plan, parallel_for(options));
  }
  virtual const std::vector<Family>& families() const = 0;
  virtual std::shared_ptr<const Executable> prepare(const Problem& problem, const Device& device,
                                                    const Options& options) const = 0;

  /// Memory of the device, for programs that run on either kind. Copies wait until done.
  virtual std::shared_ptr<void> allocate(const Device& device, std::size_t bytes) const = 0;
  virtual void copy_to_device(const Device& device, void* to, const void* from,
                              std::size_t bytes) const = 0;
  virtual void copy_to_host(const Device& device, void* to, const void* from,
                            std::size_t bytes) const = 0;
  virtual void fill(const Device& device, void* to, unsigned char value,
                    std::size_t bytes) const = 0;
  /// Milliseconds of each of `repeats` runs of `work`, by the device's own clock, after a warm-up.
  /// On CUDA `work` must use the default stream.
  virtual std::vector<double> time(const Device& device, const std::function<void()>& work,
                                   int repeats) const = 0;
  virtual Ceilings ceilings(const Device& device, DataType type, const Options& options) const = 0;
};

const Backend& cpu_backend();
const Backend& cuda_backend();
/// Every backend, best first.
const std::vector<const Backend*>& backends();
const Backend& backend(Device::Kind kind);

}  // namespace phaseconv
