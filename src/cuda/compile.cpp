#include "cuda/compile.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>

#include "cuda/cache.h"
#include "cuda/driver.h"
#include "cuda/nvrtc.h"
#include "phaseconv/convolution.h"

namespace phaseconv::cuda {
namespace {

constexpr const char* kSourceName = "phaseconv.cu";

/// Everything that a cubin depends on.
std::string cache_key(const std::string& source, const std::string& arch, const Nvrtc& nvrtc) {
  std::string key = "phaseconv " + std::string(version()) + "\nNVRTC " + nvrtc.version() + "\n";
  for (const std::string& option : Nvrtc::options(arch)) key += option + "\n";
  return key + "\n" + source;
}

/// The cubins of this process. When it is full it starts anew: a program uses a few dozen.
class MemoryCache {
 public:
  Cubin load(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = cubins_.find(key);
    return found == cubins_.end() ? nullptr : found->second;
  }
  Cubin store(const std::string& key, std::string cubin) {
    const std::lock_guard lock(mutex_);
    const std::size_t more = key.size() + cubin.size();
    if (bytes_ + more > kCapacity) {
      cubins_.clear();
      bytes_ = 0;
    }
    bytes_ += more;
    return cubins_[key] = std::make_shared<const std::string>(std::move(cubin));
  }

 private:
  static constexpr std::size_t kCapacity = std::size_t{64} << 20;
  std::mutex mutex_;
  std::map<std::string, Cubin> cubins_;
  std::size_t bytes_ = 0;
};

template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A well-known GPU of each architecture.
struct Typical {
  int architecture;
  const char* name;
  int multiprocessors;
  int float_lanes;               ///< float32 multiply-adds a clock, of one multiprocessor
  double clock;                  ///< boost, hertz
  double copy_bytes_per_second;  ///< by the data sheet, less a tenth
  int shared_kilobytes;          ///< of a block, at most
  int tf32_lanes;                ///< TF32 multiply-adds a clock of `mma`, of one multiprocessor
};
constexpr Typical kTypical[] = {
    {80, "NVIDIA A100 40GB", 108, 64, 1.410e9, 1.40e12, 163, 512},
    {86, "NVIDIA GeForce RTX 3090", 82, 128, 1.695e9, 0.84e12, 99, 128},
    {87, "NVIDIA Jetson AGX Orin", 16, 128, 1.300e9, 0.18e12, 163, 256},
    {89, "NVIDIA L40S", 142, 128, 2.520e9, 0.78e12, 99, 256},
    {90, "NVIDIA H100 80GB HBM3", 132, 128, 1.980e9, 3.00e12, 227, 512},
    {100, "NVIDIA B200", 148, 128, 1.965e9, 7.20e12, 227, 512},
    {110, "NVIDIA Jetson AGX Thor", 20, 128, 1.575e9, 0.25e12, 227, 512},
    {120, "NVIDIA GeForce RTX 5090", 170, 128, 2.407e9, 1.61e12, 99, 128},
    {121, "NVIDIA GB10", 48, 128, 2.418e9, 0.25e12, 99, 128},
};

/// One that is not listed is like the nearest older one.
const Typical& typical(const std::string& arch) {
  const int number = architecture_number(arch);
  if (number < kTypical[0].architecture) {
    throw Unsupported("architecture " + arch + " is too old; sm_80 (Ampere) or newer is needed");
  }
  return *(std::ranges::upper_bound(kTypical, number, {}, &Typical::architecture) - 1);
}

Finding try_nvrtc(const Options& options, const std::string& arch) {
  try {
    const Nvrtc nvrtc(options);
    constexpr const char* kSource = "extern \"C\" __global__ void nothing() {}\n";
    const double seconds = seconds_of([&] { nvrtc.compile(kSource, kSourceName, arch); });
    return {"NVRTC", true,
            nvrtc.version() + ", " + nvrtc.path() + ", compiled a kernel for " + arch + " in " +
                std::to_string(static_cast<int>(seconds * 1e3)) + " ms" +
                (nvrtc.passed_over().empty() ? "" : "; passed over:" + nvrtc.passed_over())};
  } catch (const Unsupported& error) {
    return {"NVRTC", false, error.what()};
  }
}

Finding try_cache(const Options& options) {
  const DiskCache cache(options.cache_folder);
  const std::string where = cache.folder().empty() ? "off" : cache.folder();
  const std::string key = "phaseconv doctor " + std::to_string(getpid());  // others may ask, too
  const bool works = cache.store(key, key) && cache.load(key) == key;
  cache.remove(key);
  if (!works) {
    std::string reason = cache.unused_reason();
    std::error_code error;
    if (!cache.folder().empty() && !std::filesystem::exists(cache.folder(), error)) {
      std::filesystem::create_directories(cache.folder(), error);  // as `store` has just tried
      reason = "it can't be made: " + error.message();
    }
    return {"kernel cache", false, where + ": " + (reason.empty() ? "cannot be written" : reason)};
  }
  std::uint64_t bytes = 0;
  const auto entries = cache.list();
  for (const auto& entry : entries) bytes += entry.bytes;
  return {"kernel cache", true,
          where + ", " + std::to_string(entries.size()) + " kernels, " +
              std::to_string(bytes >> 10) + " KiB of at most " +
              std::to_string(DiskCache::kCapacity >> 20) + " MiB"};
}

}  // namespace

Compiled compile(const Problem& problem, const std::string& arch, const Options& options) {
  Compiled result;
  result.decision = decide(problem, typical_machine(arch), kernel_families(), options.plan);
  result.source = generate_source(problem, result.decision.plan());
  const Nvrtc nvrtc(options);
  Nvrtc::Output output;
  result.seconds =
      seconds_of([&] { output = nvrtc.compile(result.source.text(), kSourceName, arch); });
  result.cubin = std::move(output.cubin);
  result.log = std::move(output.log);
  for (const Resources& kernel : read_resources(result.log)) {
    if (kernel.kernel == result.source.run.kernel) result.registers = kernel.registers;
    result.spill_bytes += kernel.spill_bytes;
  }
  return result;
}

Cubin cubin(const std::string& source, const std::string& arch, const Options& options) {
  static MemoryCache memory;
  const Nvrtc nvrtc(options);
  const std::string key = cache_key(source, arch, nvrtc);
  if (auto found = memory.load(key)) return found;
  const DiskCache disk(options.cache_folder);
  if (auto found = disk.load(key)) return memory.store(key, std::move(*found));
  std::string made = nvrtc.compile(source, kSourceName, arch).cubin;
  disk.store(key, made);
  return memory.store(key, std::move(made));
}

Cubins cubins(const KernelSource& source, const std::string& arch, const Options& options) {
  // Where no thread can be had, one is compiled when it is asked for.
  auto pack = std::async([&] { return cubin(source.text(source.pack), arch, options); });
  Cubin run = cubin(source.text(source.run), arch, options);
  return {.run = std::move(run), .pack = pack.get()};
}

Machine typical_machine(const std::string& arch) {
  const Typical& gpu = typical(arch);
  Machine machine;
  machine.name = gpu.name;
  machine.target = arch;
  machine.units = gpu.multiprocessors;
  machine.vector_lanes = 32;
  machine.registers = 65536;
  machine.copy_bytes_per_second = gpu.copy_bytes_per_second;
  machine.fma_flops_per_second = 2.0 * gpu.multiprocessors * gpu.float_lanes * gpu.clock;
  machine.tf32_flops_per_second = 2.0 * gpu.multiprocessors * gpu.tf32_lanes * gpu.clock;
  machine.shared_bytes = Index{1024} * gpu.shared_kilobytes;
  return machine;
}

Machine describe(const Context& context) {
  Machine machine = typical_machine(context.target());
  const Typical& gpu = typical(machine.target);
  const auto attribute = [&](CUdeviceAttribute which) {
    return static_cast<double>(context.attribute(which));
  };
  machine.name = context.name();
  machine.units = context.attribute(CUdeviceAttribute::multiprocessor_count);
  machine.registers = context.attribute(CUdeviceAttribute::max_registers_per_multiprocessor);
  // Drivers may leave a clock at zero: then the typical one stands in.
  const double clock = 1e3 * attribute(CUdeviceAttribute::clock_rate);
  const double units_per_second = machine.units * (clock > 0 ? clock : gpu.clock);
  machine.fma_flops_per_second = 2.0 * gpu.float_lanes * units_per_second;
  machine.tf32_flops_per_second = 2.0 * gpu.tf32_lanes * units_per_second;
  machine.shared_bytes = context.attribute(CUdeviceAttribute::max_shared_memory_per_block_optin);
  // Two transfers a clock; copies reach nine tenths of the bus.
  const double bytes_per_second = 1e3 * attribute(CUdeviceAttribute::memory_clock_rate) * 2 *
                                  attribute(CUdeviceAttribute::global_memory_bus_width) / 8;
  if (bytes_per_second > 0) machine.copy_bytes_per_second = 0.9 * bytes_per_second;
  return machine;
}

std::vector<Finding> diagnose(const Options& options) {
  std::vector<Finding> findings;
  std::string arch = "sm_80";  // what NVRTC is tried for where there is no GPU
  std::string reason;
  if (const Driver* const driver = Driver::find(reason)) {
    findings.push_back({"NVIDIA driver", true, "supports CUDA " + driver->version()});
    for (int ordinal = 0; ordinal < driver->device_count(); ++ordinal) {
      const std::string what = "device " + std::to_string(ordinal);
      try {
        const Context& context = Context::of(ordinal);
        const std::string found = context.target();
        if (ordinal == 0) arch = found;
        findings.push_back({what, true, context.name() + ", " + found});
      } catch (const Unsupported& error) {
        findings.push_back({what, false, error.what()});
      }
    }
  } else {
    findings.push_back({"NVIDIA driver", false, reason});
  }
  findings.push_back(try_nvrtc(options, arch));
  findings.push_back(try_cache(options));
  return findings;
}

}  // namespace phaseconv::cuda
