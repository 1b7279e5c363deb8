#include "backend.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cuda/compile.h"
#include "cuda/driver.h"
#include "cuda/launch.h"
#include "cuda/nvrtc.h"
#include "cuda/source.h"

namespace phaseconv {
namespace {

using namespace cuda;

/// A planned, compiled and loaded problem.
class CudaExecutable final : public Executable {
 public:
  CudaExecutable(Problem p, Device d, Decision chosen, const Context& context, std::string target,
                 const KernelSource& source, const Cubins& compiled)
      : Executable(std::move(p), d, std::move(chosen)),
        context_(context),
        target_(std::move(target)),
        packed_bytes_(source.packed_bytes),
        run_module_(context, *compiled.run),
        pack_module_(context, *compiled.pack),
        run_(run_module_, source.run),
        pack_(pack_module_, source.pack) {}

  void pack(const void* weight, void* packed, Stream stream) const override {
    pack_.launch(stream, {weight, packed});
  }
  void run(const void* input, const PackedWeights& weights, const void* bias, void* output,
           Stream stream) const override {
    if (problem.batch == 0) return;
    run_.launch(stream, {input, weights.data(), bias, output});
  }
  std::size_t packed_bytes() const override { return packed_bytes_; }
  std::string backend() const override { return "cuda " + target_; }

 private:
  const Context& context_;
  const std::string target_;
  const std::size_t packed_bytes_;
  const Module run_module_, pack_module_;
  const Kernel run_;
  const Kernel pack_;
};

class Event {
 public:
  explicit Event(const Driver& driver) : driver_(driver) {
    driver_.check(driver_.cuEventCreate(&event_, 0), "making an event");
  }
  ~Event() {
    if (event_ != nullptr) driver_.cuEventDestroy(event_);
  }
  Event(Event&& other) noexcept
      : driver_(other.driver_), event_(std::exchange(other.event_, nullptr)) {}

  void record() const {
    driver_.check(driver_.cuEventRecord(event_, nullptr), "recording an event");
  }
  double milliseconds_since(const Event& start) const {
    float elapsed = 0;
    driver_.check(driver_.cuEventElapsedTime(&elapsed, start.event_, event_), "reading the time");
    return elapsed;
  }

 private:
  const Driver& driver_;
  CUevent event_ = nullptr;
};

class CudaBackend final : public Backend {
 public:
  Device::Kind kind() const override { return Device::Kind::cuda; }

  int device_count(const Options& options, std::string& reason) const override {
    try {
      const int count = Driver::get().device_count();
      const Nvrtc nvrtc(options);  // or nothing could be compiled for them
      return count;
    } catch (const Unsupported& error) {
      reason = error.what();
      return 0;
    }
  }
  bool usable(int ordinal, const Options& options, std::string& reason) const override {
    try {
      Nvrtc(options).require(Context::of(ordinal).target());
      return true;
    } catch (const Unsupported& error) {
      reason = error.what();
      return false;
    }
  }

  Machine machine(const Device& device, const Options&) const override {
    return describe(Context::of(device.ordinal));
  }

  const std::vector<Family>& families() const override { return kernel_families(); }

  std::shared_ptr<const Executable> prepare(const Problem& problem, const Device& device,
                                            const Options& options) const override {
    const Context& context = Context::of(device.ordinal);
    const Machine where = machine(device, options);
    Decision decision = decide(problem, where, options);
    const KernelSource source = generate_source(problem, decision.plan());
    return std::make_shared<const CudaExecutable>(problem, device, std::move(decision), context,
                                                  where.target, source,
                                                  cubins(source, where.target, options));
  }

  std::shared_ptr<void> allocate(const Device& device, std::size_t bytes) const override {
    return Context::of(device.ordinal).allocate(bytes, "data");
  }
  void copy_to_device(const Device& device, void* to, const void* from,
                      std::size_t bytes) const override {
    move(device, "copying to the GPU", bytes, [&](const Driver& driver) {
      return driver.cuMemcpyHtoD(device_pointer(to), from, bytes);
    });
  }
  void copy_to_host(const Device& device, void* to, const void* from,
                    std::size_t bytes) const override {
    move(device, "copying from the GPU", bytes, [&](const Driver& driver) {
      return driver.cuMemcpyDtoH(to, device_pointer(from), bytes);
    });
  }
  void fill(const Device& device, void* to, unsigned char value, std::size_t bytes) const override {
    move(device, "filling memory of the GPU", bytes,
         [&](const Driver& driver) { return driver.cuMemsetD8(device_pointer(to), value, bytes); });
  }

  std::vector<double> time(const Device& device, const std::function<void()>& work,
                           int repeats) const override {
    const Context& context = Context::of(device.ordinal);
    const Driver& driver = context.driver();
    const CurrentContext current(context);
    std::vector<Event> starts;
    std::vector<Event> stops;
    for (int i = 0; i < repeats; ++i) {
      starts.emplace_back(driver);
      stops.emplace_back(driver);
    }
    // Long enough that the clocks have risen, and once at the very least.
    constexpr std::chrono::milliseconds kWarmUp(100);
    const auto begin = std::chrono::steady_clock::now();
    do {
      work();
      context.synchronize();
    } while (std::chrono::steady_clock::now() - begin < kWarmUp);

    for (std::size_t i = 0; i < starts.size(); ++i) {
      starts[i].record();
      work();
      stops[i].record();
    }
    context.synchronize();
    std::vector<double> milliseconds;
    for (std::size_t i = 0; i < starts.size(); ++i) {
      milliseconds.push_back(stops[i].milliseconds_since(starts[i]));
    }
    return milliseconds;
  }

  Ceilings ceilings(const Device& device, DataType, const Options& options) const override {
    constexpr std::size_t kBytes = std::size_t{1} << 30;  // far beyond any cache
    constexpr int kCopies = 20;
    const Context& context = Context::of(device.ordinal);
    const std::size_t bytes = std::min(kBytes, context.free_bytes() / 4);
    const auto from = context.allocate(bytes, "measuring copies");
    const auto to = context.allocate(bytes, "measuring copies");
    fill(device, from.get(), 1, bytes);
    const Driver& driver = context.driver();
    const auto copy = [&] {
      driver.check(driver.cuMemcpyDtoDAsync(device_pointer(to.get()), device_pointer(from.get()),
                                            bytes, nullptr),
                   "copying on the GPU");
    };
    std::vector<double> milliseconds = time(device, copy, kCopies);
    std::ranges::nth_element(milliseconds, milliseconds.begin() + kCopies / 2);
    Ceilings found;
    found.copy_bytes_per_second =
        2.0 * static_cast<double>(bytes) / (milliseconds[kCopies / 2] * 1e-3);
    found.flops_per_second = machine(device, options).fma_flops_per_second;
    found.method = "bytes: median of " + std::to_string(kCopies) + " copies of " +
                   std::to_string(bytes >> 20) +
                   " MiB on the device, read plus written; flops: float32 multiply-adds, by the "
                   "device's attributes, tensor cores not counted";
    return found;
  }

 private:
  /// Moves bytes when the device is idle and returns when it is again: streams that do not wait for
  /// the default one see whole data too.
  template <class Move>
  static void move(const Device& device, const char* attempt, std::size_t bytes, Move&& operation) {
    if (bytes == 0) return;
    const Context& context = Context::of(device.ordinal);
    const CurrentContext current(context);
    context.synchronize();
    context.driver().check(operation(context.driver()), attempt);
    context.synchronize();
  }
};

}  // namespace

const Backend& cuda_backend() {
  static const CudaBackend backend;
  return backend;
}

}  // namespace phaseconv
