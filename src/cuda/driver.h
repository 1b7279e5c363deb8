// The CUDA driver, opened at run time: the library builds without a toolkit and runs without a GPU.
// Only what is called here is declared, under the names of cuda.h, in our own namespace.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "phaseconv/error.h"

namespace phaseconv::cuda {

using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;

// Scoped and sized as in the C ABI (an int); values that are not named here are passed through.
enum class CUresult : int {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  not_initialized = 3,
  no_device = 100,
  no_binary_for_gpu = 209,
  illegal_address = 700,
  launch_out_of_resources = 701,
  misaligned_address = 716,
  launch_failed = 719,
  system_driver_mismatch = 803,
  stream_capture_unsupported = 900,
};
enum class CUdeviceAttribute : int {
  clock_rate = 13,  ///< kHz
  multiprocessor_count = 16,
  memory_clock_rate = 36,        ///< kHz
  global_memory_bus_width = 37,  ///< bits
  compute_capability_major = 75,
  compute_capability_minor = 76,
  max_registers_per_multiprocessor = 82,
  max_shared_memory_per_block_optin = 97,
};
enum class CUfunctionAttribute : int { max_dynamic_shared_size_bytes = 8 };
enum class CUstreamCaptureMode : int { global = 0, thread_local_ = 1, relaxed = 2 };

/// One more thing to say about a launch. What it takes as a value depends on it.
struct CUlaunchAttribute {
  enum class Id : int { programmatic_stream_serialization = 6 };
  Id id;
  int unused = 0;
  alignas(8) int value[16];
};
struct CUlaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  CUstream stream;
  const CUlaunchAttribute* attributes;
  unsigned attribute_count;
};

/// The driver's entry points. They are asked for by cuGetProcAddress at one version, so that the
/// signatures below are what comes back, whatever the driver's own version.
struct DriverFunctions {
  CUresult (*cuGetErrorName)(CUresult, const char**);
  CUresult (*cuGetErrorString)(CUresult, const char**);
  CUresult (*cuInit)(unsigned flags);
  CUresult (*cuDeviceGetCount)(int*);
  CUresult (*cuDeviceGet)(CUdevice*, int ordinal);
  CUresult (*cuDeviceGetName)(char*, int size, CUdevice);
  CUresult (*cuDeviceGetAttribute)(int*, CUdeviceAttribute, CUdevice);
  CUresult (*cuDevicePrimaryCtxRetain)(CUcontext*, CUdevice);
  CUresult (*cuCtxGetCurrent)(CUcontext*);
  CUresult (*cuCtxPushCurrent)(CUcontext);
  CUresult (*cuCtxPopCurrent)(CUcontext*);
  CUresult (*cuCtxSynchronize)();
  CUresult (*cuThreadExchangeStreamCaptureMode)(CUstreamCaptureMode*);
  CUresult (*cuMemGetInfo)(std::size_t* free, std::size_t* total);
  CUresult (*cuMemAlloc)(CUdeviceptr*, std::size_t bytes);
  CUresult (*cuMemFree)(CUdeviceptr);
  CUresult (*cuMemcpyHtoD)(CUdeviceptr, const void*, std::size_t bytes);
  CUresult (*cuMemcpyDtoH)(void*, CUdeviceptr, std::size_t bytes);
  CUresult (*cuMemcpyDtoDAsync)(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream);
  CUresult (*cuMemsetD8)(CUdeviceptr, unsigned char, std::size_t bytes);
  CUresult (*cuModuleLoadData)(CUmodule*, const void* image);
  CUresult (*cuModuleUnload)(CUmodule);
  CUresult (*cuModuleGetFunction)(CUfunction*, CUmodule, const char* name);
  CUresult (*cuFuncSetAttribute)(CUfunction, CUfunctionAttribute, int value);
  CUresult (*cuFuncLoad)(CUfunction);  ///< from driver 12.4 on; null before
  CUresult (*cuLaunchKernel)(CUfunction, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                             unsigned block_x, unsigned block_y, unsigned block_z,
                             unsigned shared_bytes, CUstream, void** parameters, void** extra);
  /// From driver 12.3 on; null before.
  CUresult (*cuLaunchKernelEx)(const CUlaunchConfig*, CUfunction, void** parameters, void** extra);
  CUresult (*cuEventCreate)(CUevent*, unsigned flags);
  CUresult (*cuEventDestroy)(CUevent);
  CUresult (*cuEventRecord)(CUevent, CUstream);
  CUresult (*cuEventElapsedTime)(float* milliseconds, CUevent start, CUevent end);
};

/// The driver of this process: loaded once, at the first question, and kept until the process ends.
class Driver : public DriverFunctions {
 public:
  /// Null where there is none that can be used; `reason` then says why.
  static const Driver* find(std::string& reason);
  /// Throws `Unsupported` with that reason.
  static const Driver& get();

  std::string version() const;  ///< the newest CUDA that it supports: "12.8"
  int device_count() const { return device_count_; }

  /// Throws `Unsupported` unless `result` is success: what was attempted, the error's name and
  /// text, the remedy where one is known.
  void check(CUresult result, std::string_view attempt) const {
    if (result != CUresult::success) fail(result, attempt);
  }
  [[noreturn]] void fail(CUresult result, std::string_view attempt) const;

 private:
  Driver() = default;
  static Driver load();
  std::string text(CUresult result) const;

  int version_ = 0;
  int device_count_ = 0;
};

/// The architecture to compile for on a GPU of this compute capability: "sm_90a" for 9.0, whose
/// tensor core instructions exist nowhere else; "sm_120" for 12.0. Throws `Unsupported` before 8.0.
std::string target(int major, int minor);

/// One device and its primary context, the one that the CUDA runtime and PyTorch use as well. It is
/// retained once and never released: when static objects are destroyed the driver may be gone, and
/// making a context anew costs a good part of a second.
class Context {
 public:
  /// Throws `Unsupported` where there is no driver or no such device.
  static const Context& of(int ordinal);

  const Driver& driver() const { return driver_; }
  int attribute(CUdeviceAttribute which) const;
  std::string target() const;  ///< of this device, as above
  std::string name() const;

  /// Memory of the device. The last owner to let go frees it, in the right context; that waits for
  /// the device, so work that still reads the memory is safe.
  std::shared_ptr<void> allocate(std::size_t bytes, std::string_view purpose) const;
  std::size_t free_bytes() const;
  /// Waits for all work on the device, errors of earlier kernels included.
  void synchronize() const;

 private:
  friend class CurrentContext;
  explicit Context(int ordinal);

  const Driver& driver_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
};

/// Makes a context current as long as it lives, then restores the caller's.
class CurrentContext {
 public:
  explicit CurrentContext(const Context& context);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

 private:
  const Driver& driver_;
  bool pushed_ = false;
};

/// Lets this thread allocate, free and load while another one captures a graph: without it, such a
/// call would break that capture.
class RelaxedCapture {
 public:
  explicit RelaxedCapture(const Driver& driver) : driver_(driver) { exchange(); }
  ~RelaxedCapture() { exchange(); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  void exchange() { driver_.cuThreadExchangeStreamCaptureMode(&mode_); }

  const Driver& driver_;
  CUstreamCaptureMode mode_ = CUstreamCaptureMode::relaxed;
};

inline CUdeviceptr device_pointer(const void* pointer) {
  return reinterpret_cast<CUdeviceptr>(pointer);
}

}  // namespace phaseconv::cuda
