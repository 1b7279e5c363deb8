#include "cuda/driver.h"

#include <dlfcn.h>

#include <array>
#include <map>
#include <mutex>
#include <optional>

namespace phaseconv::cuda {
namespace {

// cuGetProcAddress_v2, with which the entry points are found, came with 12.0; so did C++20 in
// NVRTC.
constexpr int kMinimumVersion = 12000;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// What to do about an error, where that is known.
std::string_view remedy(CUresult result) {
  switch (result) {
    case CUresult::not_initialized:
      return "a process forked after its parent used CUDA cannot use it: start it with spawn";
    case CUresult::no_device:
      return "no GPU is visible: see nvidia-smi and the variable CUDA_VISIBLE_DEVICES";
    case CUresult::system_driver_mismatch:
      return "the driver's library and its kernel module differ: restart the machine (in a "
             "container: the container)";
    case CUresult::no_binary_for_gpu:
      return "the kernel was compiled for another architecture: clear the kernel cache";
    case CUresult::illegal_address:
    case CUresult::misaligned_address:
    case CUresult::launch_failed:
      return "a kernel on this device, of any library, failed earlier or just now; check that the "
             "pointers are device memory of the right size, and restart the process";
    case CUresult::launch_out_of_resources:
      return "the plan asks for more registers or shared memory than the device has: take another";
    case CUresult::stream_capture_unsupported:
      return "this cannot be done while a graph is captured: do it before";
    default:
      return {};
  }
}

/// Looks up entry points, each at the version whose signature driver.h states.
class Lookup {
 public:
  explicit Lookup(void* library)
      : get_(reinterpret_cast<GetProcAddress>(dlsym(library, "cuGetProcAddress_v2"))) {}

  bool possible() const { return get_ != nullptr; }
  const std::string& missing() const { return missing_; }

  template <class Function>
  void optional(Function& function, const char* name, int version) {
    constexpr unsigned long long legacy_default_stream = 1;  // as PyTorch's null stream is
    void* found = nullptr;
    const CUresult result = get_(name, &found, version, legacy_default_stream, nullptr);
    function = result == CUresult::success ? reinterpret_cast<Function>(found) : nullptr;
  }
  template <class Function>
  void required(Function& function, const char* name) {
    optional(function, name, kMinimumVersion);
    if (function == nullptr) missing_ += std::string(missing_.empty() ? "" : ", ") + name;
  }

 private:
  using GetProcAddress = CUresult (*)(const char*, void**, int, unsigned long long, int* status);
  GetProcAddress get_;
  std::string missing_;
};

}  // namespace

Driver Driver::load() {
  // Never closed: the driver keeps threads of its own.
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const error = dlerror();
    const std::string text = error == nullptr ? "" : error;
    if (text.find("No such file") != std::string::npos) {
      throw Unsupported("libcuda.so.1 not found: no NVIDIA driver is installed");
    }
    throw Unsupported("libcuda.so.1 cannot be loaded: " + text);
  }
  Driver driver;
  using Version = CUresult (*)(int*);
  const auto version = reinterpret_cast<Version>(dlsym(library, "cuDriverGetVersion"));
  if (version != nullptr) version(&driver.version_);
  Lookup lookup(library);
  if (driver.version_ < kMinimumVersion || !lookup.possible()) {
    throw Unsupported("the NVIDIA driver supports CUDA " + version_text(driver.version_) +
                      "; phaseconv needs " + version_text(kMinimumVersion) +
                      " or newer: update the driver");
  }
  lookup.required(driver.cuGetErrorName, "cuGetErrorName");
  lookup.required(driver.cuGetErrorString, "cuGetErrorString");
  lookup.required(driver.cuInit, "cuInit");
  lookup.required(driver.cuDeviceGetCount, "cuDeviceGetCount");
  lookup.required(driver.cuDeviceGet, "cuDeviceGet");
  lookup.required(driver.cuDeviceGetName, "cuDeviceGetName");
  lookup.required(driver.cuDeviceGetAttribute, "cuDeviceGetAttribute");
  lookup.required(driver.cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
  lookup.required(driver.cuCtxGetCurrent, "cuCtxGetCurrent");
  lookup.required(driver.cuCtxPushCurrent, "cuCtxPushCurrent");
  lookup.required(driver.cuCtxPopCurrent, "cuCtxPopCurrent");
  lookup.required(driver.cuCtxSynchronize, "cuCtxSynchronize");
  lookup.required(driver.cuThreadExchangeStreamCaptureMode, "cuThreadExchangeStreamCaptureMode");
  lookup.required(driver.cuMemGetInfo, "cuMemGetInfo");
  lookup.required(driver.cuMemAlloc, "cuMemAlloc");
  lookup.required(driver.cuMemFree, "cuMemFree");
  lookup.required(driver.cuMemcpyHtoD, "cuMemcpyHtoD");
  lookup.required(driver.cuMemcpyDtoH, "cuMemcpyDtoH");
  lookup.required(driver.cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync");
  lookup.required(driver.cuMemsetD8, "cuMemsetD8");
  lookup.required(driver.cuModuleLoadData, "cuModuleLoadData");
  lookup.required(driver.cuModuleUnload, "cuModuleUnload");
  lookup.required(driver.cuModuleGetFunction, "cuModuleGetFunction");
  lookup.required(driver.cuFuncSetAttribute, "cuFuncSetAttribute");
  lookup.optional(driver.cuFuncLoad, "cuFuncLoad", 12040);
  lookup.required(driver.cuLaunchKernel, "cuLaunchKernel");
  // Older ones have it, but can't capture what it launches here in a graph.
  if (driver.version_ >= 12030) {
    lookup.optional(driver.cuLaunchKernelEx, "cuLaunchKernelEx", 12030);
  }
  lookup.required(driver.cuEventCreate, "cuEventCreate");
  lookup.required(driver.cuEventDestroy, "cuEventDestroy");
  lookup.required(driver.cuEventRecord, "cuEventRecord");
  lookup.required(driver.cuEventElapsedTime, "cuEventElapsedTime");
  if (!lookup.missing().empty()) {
    throw Unsupported("the NVIDIA driver lacks " + lookup.missing() + ": install a complete one");
  }
  driver.check(driver.cuInit(0), "starting the NVIDIA driver");
  driver.check(driver.cuDeviceGetCount(&driver.device_count_), "counting the GPUs");
  if (driver.device_count_ == 0) driver.fail(CUresult::no_device, "counting the GPUs");
  return driver;
}

std::string Driver::version() const { return version_text(version_); }

const Driver* Driver::find(std::string& reason) {
  struct Loaded {
    std::optional<Driver> driver;
    std::string reason;
  };
  static const Loaded loaded = [] {
    try {
      return Loaded{load(), {}};
    } catch (const Unsupported& error) {
      return Loaded{std::nullopt, error.what()};
    }
  }();
  if (loaded.driver) return &*loaded.driver;
  reason = loaded.reason;
  return nullptr;
}

const Driver& Driver::get() {
  std::string reason;
  const Driver* const driver = find(reason);
  if (driver == nullptr) throw Unsupported("cuda: " + reason);
  return *driver;
}

std::string Driver::text(CUresult result) const {
  const char* name = nullptr;
  const char* description = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &description);
  if (name == nullptr) return "CUDA error " + std::to_string(static_cast<int>(result));
  return std::string(name) + (description == nullptr ? "" : std::string(", ") + description);
}

void Driver::fail(CUresult result, std::string_view attempt) const {
  std::string message = std::string(attempt) + " failed: " + text(result);
  if (const std::string_view help = remedy(result); !help.empty()) {
    message += std::string("; ") + std::string(help);
  }
  throw Unsupported(message);
}

std::string target(int major, int minor) {
  const std::string name = "sm_" + std::to_string(major) + std::to_string(minor);
  if (major < 8) {
    throw Unsupported("the GPU has compute capability " + std::to_string(major) + "." +
                      std::to_string(minor) + "; 8.0 (Ampere) or newer is needed");
  }
  return major == 9 && minor == 0 ? name + "a" : name;
}

Context::Context(int ordinal) : driver_(Driver::get()) {
  const int count = driver_.device_count();
  if (ordinal < 0 || ordinal >= count) {
    throw Unsupported("device cuda:" + std::to_string(ordinal) + " does not exist: there " +
                      (count == 1 ? "is 1 GPU, cuda:0"
                                  : "are " + std::to_string(count) +
                                        " GPUs, cuda:0 to cuda:" + std::to_string(count - 1)));
  }
  driver_.check(driver_.cuDeviceGet(&device_, ordinal), "opening the GPU");
  driver_.check(driver_.cuDevicePrimaryCtxRetain(&context_, device_), "making the GPU's context");
}

const Context& Context::of(int ordinal) {
  static std::mutex mutex;
  static auto& contexts = *new std::map<int, std::unique_ptr<const Context>>();
  const std::lock_guard lock(mutex);
  auto& context = contexts[ordinal];
  if (context == nullptr) context.reset(new Context(ordinal));
  return *context;
}

int Context::attribute(CUdeviceAttribute which) const {
  int value = 0;
  driver_.check(driver_.cuDeviceGetAttribute(&value, which, device_), "reading a GPU attribute");
  return value;
}

std::string Context::name() const {
  std::array<char, 256> text{};
  driver_.check(driver_.cuDeviceGetName(text.data(), static_cast<int>(text.size()) - 1, device_),
                "reading the GPU's name");
  return text.data();
}

std::string Context::target() const {
  return cuda::target(attribute(CUdeviceAttribute::compute_capability_major),
                      attribute(CUdeviceAttribute::compute_capability_minor));
}

std::shared_ptr<void> Context::allocate(std::size_t bytes, std::string_view purpose) const {
  const CurrentContext current(*this);
  const RelaxedCapture relaxed(driver_);
  CUdeviceptr memory = 0;
  const CUresult result = driver_.cuMemAlloc(&memory, bytes == 0 ? 1 : bytes);
  if (result != CUresult::success) {
    std::string attempt = "allocating " + std::to_string(bytes) + " bytes for ";
    attempt += purpose;
    std::size_t free = 0;
    std::size_t total = 0;
    if (driver_.cuMemGetInfo(&free, &total) == CUresult::success) {
      attempt += " (" + std::to_string(free) + " of " + std::to_string(total) + " are free)";
    }
    driver_.fail(result, attempt);
  }
  return {reinterpret_cast<void*>(memory), [this](void* pointer) {
            try {
              const CurrentContext owner(*this);
              const RelaxedCapture harmless(driver_);
              driver_.cuMemFree(device_pointer(pointer));
            } catch (const Unsupported&) {  // the driver is shutting down: nothing left to free
            }
          }};
}

std::size_t Context::free_bytes() const {
  const CurrentContext current(*this);
  std::size_t free = 0;
  std::size_t total = 0;
  driver_.check(driver_.cuMemGetInfo(&free, &total), "asking for the free memory");
  return free;
}

void Context::synchronize() const {
  const CurrentContext current(*this);
  driver_.check(driver_.cuCtxSynchronize(), "waiting for the GPU");
}

CurrentContext::CurrentContext(const Context& context) : driver_(context.driver_) {
  CUcontext now = nullptr;
  if (driver_.cuCtxGetCurrent(&now) == CUresult::success && now == context.context_) return;
  driver_.check(driver_.cuCtxPushCurrent(context.context_), "entering the GPU's context");
  pushed_ = true;
}

CurrentContext::~CurrentContext() {
  CUcontext ours = nullptr;
  if (pushed_) driver_.cuCtxPopCurrent(&ours);
}

}  // namespace phaseconv::cuda
