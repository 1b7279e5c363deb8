// The library, as PyTorch calls it: a few small operators behind phaseconv.conv_transpose1d, 2d and
// 3d. They hold no tensor, and allocate none but the output; which weights are packed, and for how
// long, is decided in packing.py. Only the stable interface of LibTorch is used here, so that one
// binary serves PyTorch 2.11 and later, with and without CUDA.
#include <dlfcn.h>
#include <sys/mman.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "phaseconv/convolution.h"

namespace {

using namespace phaseconv;
using torch::stable::Tensor;

void check(AOTITorchError code, const char* attempt) {
  if (code != AOTI_TORCH_SUCCESS) throw Unsupported(std::string("PyTorch: ") + attempt + " failed");
}

/// A large output comes from the system for each call, and the faults of its new pages can take
/// longer than the layer. All of it is about to be written: a page may be a huge one.
void advise_huge_pages([[maybe_unused]] void* output, [[maybe_unused]] const Problem& problem) {
#ifdef MADV_HUGEPAGE
  constexpr std::size_t enough = std::size_t{1} << 25;  // what glibc never keeps
  const std::size_t bytes =
      static_cast<std::size_t>(problem.output_elements()) * element_size(problem.type);
  if (bytes < enough) return;
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<std::uintptr_t>(output);
  const std::uintptr_t begin = (start + page - 1) / page * page;
  const std::uintptr_t end = (start + bytes) / page * page;
  static_cast<void>(madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE));  // a hint
#endif
}

// --- threads ------------------------------------------------------------------------------------

/// Below this, in floating-point operations, another thread costs more than it saves: waking one
/// takes some microseconds.
constexpr double kWorkPerThread = 1e5;

/// A range cut into shares, and the threads that take one after the other.
class SharedWork {
 public:
  SharedWork(const std::function<void(Index, Index)>& body, Index count, Index shares)
      : body_(body), count_(count), shares_(shares) {}

  /// Takes shares until none is left. Throws nothing: a failure waits in `rethrow`.
  void take() {
    try {
      for (Index i = next_++; i < shares_; i = next_++) {
        // The first count % shares ones get one more.
        const Index each = count_ / shares_;
        const Index more = count_ % shares_;
        body_(i * each + std::min(i, more), (i + 1) * each + std::min(i + 1, more));
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  const std::function<void(Index, Index)>& body_;
  const Index count_, shares_;
  std::atomic<Index> next_ = 0;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

/// PyTorch's own threads. Shares are handed out on demand: some threads are slower than others, and
/// so are some shares. The body says what is computed, not where: results do not depend on it.
ParallelFor torch_threads(double flops) {
  return [most = std::max(flops / kWorkPerThread, 1.0)](Index count, const auto& body) {
    std::uint32_t threads = 1;
    check(torch_get_num_threads(&threads), "asking for the number of threads");
    const auto workers = static_cast<Index>(std::min<double>(threads, most));
    if (workers <= 1 || count <= 1) {
      if (count > 0) body(0, count);
      return;
    }
    SharedWork work(body, count, std::min(count, workers * 16));
    const ParallelFunc take = [](std::int64_t, std::int64_t, void* context) {
      static_cast<SharedWork*>(context)->take();
    };
    check(torch_parallel_for(0, workers, 1, take, &work), "running in parallel");
    work.rethrow();
  };
}

// --- streams ------------------------------------------------------------------------------------

/// PyTorch's current stream of a CUDA device. A build for the CPU has no such function, so it is
/// looked for among what is loaded.
Stream current_stream(int device) {
  using Function = AOTITorchError (*)(std::int32_t device, void** stream);
  static const auto function = [] {
    void* const library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    void* const symbol =
        library == nullptr ? nullptr : dlsym(library, "aoti_torch_get_current_cuda_stream");
    return reinterpret_cast<Function>(symbol);
  }();
  if (function == nullptr) throw Unsupported("this PyTorch has no CUDA streams");
  Stream stream = nullptr;
  check(function(device, &stream), "asking for the current stream");
  return stream;
}

Stream stream_of(const TransposedConvolution& conv) {
  const Device& device = conv.device();
  return device.kind == Device::Kind::cuda ? current_stream(device.ordinal) : nullptr;
}

// --- prepared convolutions ----------------------------------------------------------------------

/// A convolution with the shape of its output, [n, oc, *axes]: worked out once, as a call is short.
class Prepared {
 public:
  explicit Prepared(TransposedConvolution made) : conv(std::move(made)) {
    const Problem& problem = conv.problem();
    const bool last = problem.layout == Layout::channels_last;
    std::int64_t step = last ? problem.out_channels : 1;  // from one position to the next
    dimensions_ = problem.rank + 2;
    for (int axis = 2, i = dimensions_ - 1; i >= 2; --axis, --i) {
      sizes_[i] = problem.axes[axis].output();
      strides_[i] = step;
      step *= sizes_[i];
    }
    sizes_[1] = problem.out_channels;
    strides_[1] = last ? 1 : step;
    sizes_[0] = problem.batch;
    strides_[0] = last ? step : step * problem.out_channels;
    type_ = problem.type == DataType::f16    ? aoti_torch_dtype_float16()
            : problem.type == DataType::bf16 ? aoti_torch_dtype_bfloat16()
                                             : aoti_torch_dtype_float32();
  }

  /// Memory for the output of an input with so many dimensions: with a batch or without.
  Tensor empty_output(std::int64_t dimensions) const {
    const bool on_cpu = conv.device().kind == Device::Kind::cpu;
    const int first = dimensions < dimensions_ ? 1 : 0;
    AtenTensorHandle output = nullptr;
    check(aoti_torch_empty_strided(
              dimensions_ - first, sizes_ + first, strides_ + first, type_,
              on_cpu ? aoti_torch_device_type_cpu() : aoti_torch_device_type_cuda(),
              on_cpu ? 0 : conv.device().ordinal, &output),
          "allocating the output");
    Tensor tensor(output);
    if (on_cpu) advise_huge_pages(tensor.data_ptr(), conv.problem());
    return tensor;
  }

  const TransposedConvolution conv;

 private:
  int dimensions_ = 0;
  std::int64_t sizes_[5] = {}, strides_[5] = {};
  std::int32_t type_ = 0;
};

/// By handle. Never destroyed: at the end of the process the driver may be gone before.
class Table {
 public:
  static Table& get() {
    static Table& table = *new Table;
    return table;
  }
  std::int64_t add(TransposedConvolution conv) {
    auto entry = std::make_shared<const Prepared>(std::move(conv));
    const std::lock_guard lock(mutex_);
    entries_.emplace(++last_, std::move(entry));
    return last_;
  }
  std::shared_ptr<const Prepared> find(std::int64_t handle) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(handle);
    if (found == entries_.end()) {
      throw Invalid("handle " + std::to_string(handle) + " is not that of a prepared convolution");
    }
    return found->second;
  }
  void remove(std::int64_t handle) {
    const std::lock_guard lock(mutex_);
    entries_.erase(handle);
  }

 private:
  std::mutex mutex_;
  std::map<std::int64_t, std::shared_ptr<const Prepared>> entries_;
  std::int64_t last_ = 0;
};

/// Throws unless a tensor holds so many bytes, on the convolution's device.
const Tensor& checked(const TransposedConvolution& conv, const char* name, const Tensor& tensor,
                      std::size_t bytes) {
  const std::size_t has = static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
  if (has != bytes) {
    throw Invalid(std::string(name) + " holds " + std::to_string(has) + " bytes, " +
                  to_string(conv.problem()) + " needs " + std::to_string(bytes));
  }
  const Device& device = conv.device();
  const bool there = device.kind == Device::Kind::cpu
                         ? tensor.is_cpu()
                         : tensor.is_cuda() && tensor.get_device_index() == device.ordinal;
  if (!there) throw Invalid(std::string(name) + " is not on " + to_string(device));
  return tensor;
}

// --- operators ----------------------------------------------------------------------------------

std::string library_version() { return std::string(version()); }

/// Everything slow. `device` is a CUDA ordinal, or -1 for the CPU. Returns the handle and the bytes
/// of the packed weights.
std::tuple<std::int64_t, std::int64_t> prepare_convolution(std::string text, std::int64_t device,
                                                           std::vector<std::string> nvrtc) {
  const Problem problem = parse(text);
  Options options = Options::from_environment();
  options.parallel_for = torch_threads(problem.flops());
  options.nvrtc_libraries.insert(options.nvrtc_libraries.end(), nvrtc.begin(), nvrtc.end());
  const TransposedConvolution conv = prepare(
      problem, device < 0 ? Device::cpu() : Device::cuda(static_cast<int>(device)), options);
  return {Table::get().add(conv), static_cast<std::int64_t>(conv.packed_bytes())};
}

void release(std::int64_t handle) { Table::get().remove(handle); }

/// The canonical problem string; throws what is wrong with this one.
std::string check_problem(std::string text) { return to_string(parse(text)); }

std::string plan(std::int64_t handle) {
  const auto prepared = Table::get().find(handle);
  return prepared->conv.backend() + ", " + prepared->conv.plan();
}

double predicted_seconds(std::int64_t handle) {
  return Table::get().find(handle)->conv.predicted_seconds();
}

/// Bytes of all tensors of a problem, each once, and its exact operations.
std::tuple<double, double> cost(std::string text) {
  const Problem problem = parse(text);
  return {problem.bytes(), problem.flops()};
}

std::size_t bytes(const Problem& problem, Index elements) {
  return static_cast<std::size_t>(elements) * element_size(problem.type);
}

void pack(std::int64_t handle, const Tensor& weight, const Tensor& packed) {
  const auto prepared = Table::get().find(handle);
  const TransposedConvolution& conv = prepared->conv;
  const std::size_t weight_bytes = bytes(conv.problem(), conv.problem().weight_elements());
  checked(conv, "weight", weight, weight_bytes);
  checked(conv, "packed", packed, conv.packed_bytes());
  conv.pack_into(weight.const_data_ptr(), packed.mutable_data_ptr(), stream_of(conv));
}

Tensor run(std::int64_t handle, const Tensor& input, const Tensor& packed,
           const std::optional<Tensor>& bias) {
  const auto prepared = Table::get().find(handle);
  const TransposedConvolution& conv = prepared->conv;
  const Problem& problem = conv.problem();
  checked(conv, "input", input, bytes(problem, problem.input_elements()));
  checked(conv, "packed", packed, conv.packed_bytes());
  if (bias) checked(conv, "bias", *bias, bytes(problem, problem.out_channels));
  Tensor output = prepared->empty_output(input.dim());
  const auto weights =
      PackedWeights::borrowed(const_cast<void*>(packed.const_data_ptr()), conv.packed_bytes());
  conv.run(input.const_data_ptr(), weights, bias ? bias->const_data_ptr() : nullptr,
           output.mutable_data_ptr(), stream_of(conv));
  return output;
}

}  // namespace

// Types and layouts of what is run are the caller's word (execution.py).
STABLE_TORCH_LIBRARY(phaseconv, library) {
  library.def("version() -> str");
  library.def("prepare(str problem, int device, str[] nvrtc) -> (int, int)");
  library.def("release(int handle) -> ()");
  library.def("check(str problem) -> str");
  library.def("cost(str problem) -> (float, float)");
  library.def("plan(int handle) -> str");
  library.def("predicted_seconds(int handle) -> float");
  library.def("pack(int handle, Tensor weight, Tensor(a!) packed) -> ()");
  library.def("run(int handle, Tensor input, Tensor packed, Tensor? bias) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(phaseconv, CompositeExplicitAutograd, library) {
  library.impl("version", TORCH_BOX(&library_version));
  library.impl("prepare", TORCH_BOX(&prepare_convolution));
  library.impl("release", TORCH_BOX(&release));
  library.impl("check", TORCH_BOX(&check_problem));
  library.impl("cost", TORCH_BOX(&cost));
  library.impl("plan", TORCH_BOX(&plan));
  library.impl("predicted_seconds", TORCH_BOX(&predicted_seconds));
}

STABLE_TORCH_LIBRARY_IMPL(phaseconv, CPU, library) {
  library.impl("pack", TORCH_BOX(&pack));
  library.impl("run", TORCH_BOX(&run));
}

STABLE_TORCH_LIBRARY_IMPL(phaseconv, CUDA, library) {
  library.impl("pack", TORCH_BOX(&pack));
  library.impl("run", TORCH_BOX(&run));
}
