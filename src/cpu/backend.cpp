#include "backend.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/families.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/tasks.h"
#include "cpu/tiling.h"

namespace phaseconv {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::shared_ptr<void> allocate_aligned(std::size_t bytes) {
  constexpr auto alignment = std::align_val_t{64};
  return {::operator new(std::max(bytes, std::size_t{1}), alignment),
          [](void* memory) { ::operator delete(memory, alignment); }};
}

/// The second-level cache of a core; where the system does not say, a usual one.
Index cache_bytes() {
  constexpr Index usual = Index{1} << 19;
#ifdef _SC_LEVEL2_CACHE_SIZE
  const Index size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return size > 0 ? size : usual;
#else
  return usual;
#endif
}

class CpuExecutable : public Executable {
 public:
  CpuExecutable(const Problem& p, const Device& where, Decision made, const cpu::Kernels& k,
                ParallelFor parallel)
      : Executable(p, where, std::move(made)),
        tiling_(p, plan(), k.lanes),
        kernels_(k),
        parallel_(std::move(parallel)) {}

  void pack(const void* weight, void* packed, Stream) const override {
    auto* header = new (packed) cpu::WeightHeader;
    auto* values = reinterpret_cast<float*>(header + 1);
    std::atomic<bool> finite = true;
    parallel_(tiling_.weight_tiles(), [&](Index begin, Index end) {
      if (!cpu::pack_tiles(tiling_, weight, values, begin, end)) finite = false;
    });
    header->finite = finite;
  }

  void run(const void* input, const PackedWeights& weights, const void* bias, void* output,
           Stream) const override {
    if (tiling_.tasks == 0) return;
    const struct Call {
      const CpuExecutable* self;
      const void *input, *packed, *bias;
      void* output;
    } call{this, input, weights.data(), bias, output};
    // One pointer is what std::function holds without allocating.
    parallel_(tiling_.tasks, [&call](Index begin, Index end) {
      cpu::run_tasks(call.self->tiling_, call.self->kernels_, call.input, call.packed, call.bias,
                     call.output, begin, end);
    });
  }

  std::size_t packed_bytes() const override { return tiling_.weight_bytes(); }
  std::string backend() const override { return std::string("cpu ") + kernels_.target; }

 private:
  const cpu::Tiling tiling_;
  const cpu::Kernels& kernels_;
  const ParallelFor parallel_;
};

class CpuBackend : public Backend {
 public:
  Device::Kind kind() const override { return Device::Kind::cpu; }
  int device_count(const Options&, std::string&) const override { return 1; }
  bool usable(int, const Options&, std::string&) const override { return true; }

  Machine machine(const Device&, const Options& options) const override {
    // Leads for the planner: the multiply-adds of a core, and memory that feeds a few of them.
    constexpr double bytes_per_unit = 2e10, bytes_at_most = 1e11;
    const cpu::Kernels& k = cpu::kernels(options.instruction_set);
    Machine m;
    m.units = thread_count(options);
    m.name = "CPU, " + std::to_string(m.units) + (m.units == 1 ? " thread" : " threads");
    m.target = k.target;
    m.vector_lanes = k.lanes;
    m.registers = k.registers;
    m.cache_bytes = cache_bytes();
    m.copy_bytes_per_second = std::min(bytes_per_unit * m.units, bytes_at_most);
    const auto [flops, flops_per_cycle] = core_rates(k, m.units);
    m.fma_flops_per_second = flops * m.units;
    m.fmas_per_cycle = flops_per_cycle < 3 * static_cast<double>(k.lanes) ? 1 : 2;
    return m;
  }

  const std::vector<Family>& families() const override { return cpu::families(); }

  std::shared_ptr<const Executable> prepare(const Problem& problem, const Device& device,
                                            const Options& options) const override {
    return std::make_shared<CpuExecutable>(
        problem, device, decide(problem, machine(device, options), options),
        cpu::kernels(options.instruction_set), parallel_for(options));
  }

  std::shared_ptr<void> allocate(const Device&, std::size_t bytes) const override {
    return allocate_aligned(bytes);
  }
  void copy_to_device(const Device&, void* to, const void* from, std::size_t bytes) const override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void copy_to_host(const Device&, void* to, const void* from, std::size_t bytes) const override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void fill(const Device&, void* to, unsigned char value, std::size_t bytes) const override {
    if (bytes > 0) std::memset(to, value, bytes);
  }

  std::vector<double> time(const Device&, const std::function<void()>& work,
                           int repeats) const override {
    work();  // page faults, caches, threads
    std::vector<double> milliseconds;
    for (int i = 0; i < repeats; ++i) {
      const Clock::time_point start = Clock::now();
      work();
      milliseconds.push_back(seconds_since(start) * 1e3);
    }
    return milliseconds;
  }

  Ceilings ceilings(const Device&, DataType, const Options& options) const override {
    const cpu::Kernels& k = cpu::kernels(options.instruction_set);
    const ParallelFor parallel = parallel_for(options);
    const int threads = thread_count(options);
    Ceilings c;
    c.copy_bytes_per_second = copy_rate(k, parallel);
    c.flops_per_second = multiply_rate(k, parallel, threads);
    c.method = "copy of 128 MiB past the caches and multiply-adds in registers (float32, " +
               std::string(k.target) + "), best of several on " + std::to_string(threads) +
               (threads == 1 ? " thread" : " threads");
    return c;
  }

 private:
  /// The multiply-adds of a thread while all of them multiply, for the planner, in a second and in
  /// a cycle: what a clock is worth differs by a third from machine to machine, and two threads may
  /// share a core. Measured once (5 ms), so that a process always plans alike. Of long rounds, and
  /// of those the upper quartile: the fastest of short ones is now a half and now all of what the
  /// core does then, and the median was half of it once, where a pool's threads had not yet gone to
  /// sleep. In a cycle it is the median of neighbouring rounds, which are disturbed alike.
  static std::pair<double, double> core_rates(const cpu::Kernels& k, int threads) {
    static std::mutex lock;
    static std::map<std::pair<const cpu::Kernels*, int>, std::pair<double, double>> rates;
    const std::lock_guard guard(lock);
    // Of more threads than these no other rate comes out, only later.
    threads =
        std::min(threads, 4 * static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u)));
    const auto found = rates.find({&k, threads});
    if (found == rates.end()) {
      constexpr Index rounds = 15;
      std::vector<double> flops(static_cast<std::size_t>(rounds * threads)), per_cycle(flops);
      const auto measure = [&](Index thread) {
        for (Index i = 0; i < rounds; ++i) {
          const auto at = static_cast<std::size_t>(thread * rounds + i);
          flops[at] = rate_of([&] { return burn(k, 100'000); });
          per_cycle[at] = flops[at] / rate_of([] { return count_cycles(100'000); });
        }
      };
      {  // threads of its own: the caller's pool may give this problem fewer
        std::vector<std::jthread> others;
        try {
          for (Index thread = 1; thread < threads; ++thread) others.emplace_back(measure, thread);
        } catch (const std::system_error&) {  // no more are to be had: those there are measure
        }
        measure(0);
        flops.resize(static_cast<std::size_t>(rounds) * (others.size() + 1));
        per_cycle.resize(flops.size());
      }
      const auto middle = flops.size() / 2, quartile = flops.size() * 3 / 4;
      std::ranges::nth_element(flops, flops.begin() + static_cast<std::ptrdiff_t>(quartile));
      std::ranges::nth_element(per_cycle, per_cycle.begin() + static_cast<std::ptrdiff_t>(middle));
      return rates[{&k, threads}] = {flops[quartile], per_cycle[middle]};
    }
    return found->second;
  }

  template <class Work>
  static double rate_of(Work work) {
    const Clock::time_point start = Clock::now();
    const double done = work();
    return done / seconds_since(start);
  }

  /// Additions that wait for each other: one a cycle. Many in a turn of the loop: with one, that
  /// took two cycles at times, for minutes, and the planner took other plans. Returns how many.
  static double count_cycles(Index repeats) {
    constexpr Index chain = 20;
    std::uintptr_t sum = 0;
    for (Index i = 0; i < repeats; i += chain) {
#pragma GCC unroll 20
      for (Index link = 0; link < chain; ++link) {
        sum += static_cast<std::uintptr_t>(i);
#if defined(__GNUC__)
        asm volatile("" : "+r"(sum));
#endif
      }
    }
    volatile std::uintptr_t keep = sum;
    static_cast<void>(keep);
    return static_cast<double>(repeats);
  }

  static double copy_rate(const cpu::Kernels& k, const ParallelFor& parallel) {
    constexpr Index block = 1 << 16, blocks = 512;  // 128 MiB each way, beyond last-level caches
    constexpr std::size_t bytes = sizeof(float) * block * blocks;
    const std::shared_ptr<void> from = allocate_aligned(bytes), to = allocate_aligned(bytes);
    const auto source = static_cast<float*>(from.get()), target = static_cast<float*>(to.get());
    parallel(blocks, [&](Index begin, Index end) {  // the pages' first touch
      std::fill_n(source + begin * block, (end - begin) * block, 1.0f);
      std::fill_n(target + begin * block, (end - begin) * block, 0.0f);
    });
    return best_rate([&] {
      parallel(blocks, [&](Index begin, Index end) {
        cpu::PendingLine pending;
        k.stream({source + begin * block}, 0, (end - begin) * block, target + begin * block,
                 pending);
        k.flush(pending);
      });
      return 2 * double{bytes};
    });
  }

  static double multiply_rate(const cpu::Kernels& k, const ParallelFor& parallel, int threads) {
    constexpr Index repeats = 1'000'000;
    return best_rate([&] {
      std::atomic<double> flops = 0;
      parallel(threads * 4, [&](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) flops.fetch_add(burn(k, repeats));
      });
      return flops.load();
    });
  }

  /// The most that a round does in a second, of as many rounds as fit into a fifth of one, and two
  /// at the least. A round returns how much it did.
  template <class Round>
  static double best_rate(Round&& round) {
    constexpr double enough = 0.2;
    const Clock::time_point begin = Clock::now();
    double best = 0;
    for (int done = 0; done < 2 || seconds_since(begin) < enough; ++done) {
      const Clock::time_point start = Clock::now();
      const double work = round();
      best = std::max(best, work / seconds_since(start));
    }
    return best;
  }

  /// Multiply-adds on the calling thread; returns how many operations that was.
  static double burn(const cpu::Kernels& k, Index repeats) {
    volatile float keep;
    float result;
    const double done = k.burn(repeats, &result);
    keep = result;
    static_cast<void>(keep);
    return done;
  }
};

}  // namespace

const Backend& cpu_backend() {
  static const CpuBackend backend;
  return backend;
}

}  // namespace phaseconv
