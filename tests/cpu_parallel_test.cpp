// Threads: ranges are covered once, and results do not depend on how they are cut.
#include "backend.h"
#include "cpu/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check/check.h"
#include "phaseconv/convolution.h"

namespace phaseconv {
namespace {

TEST(ParallelFor, CoversEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    Options options;
    options.threads = threads;
    const ParallelFor run = parallel_for(options);
    for (const Index count : {0, 1, 2, 5, 31, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
      run(count, [&](Index begin, Index end) {
        EXPECT_LT(begin, end);
        for (Index i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
      });
      for (const auto& times : seen) EXPECT_EQ(times, 1) << count << " on " << threads;
    }
  }
}

TEST(ParallelFor, HandsOnWhatTheBodyThrows) {
  Options options;
  options.threads = 2;
  EXPECT_THROW(
      parallel_for(options)(100, [](Index, Index) { throw std::runtime_error("from the body"); }),
      std::runtime_error);
}

TEST(ParallelFor, TakesTheCallersOwn) {
  Options options;
  int calls = 0;
  options.parallel_for = [&calls](Index count, const auto& body) {
    ++calls;
    body(0, count);
  };
  const Problem problem = parse("ic2,oc2,i9,k3,s2");
  const TransposedConvolution conv = prepare(problem, Device::cpu(), options);
  const check::Data data = check::make_data(problem, check::Fill::random, 1);
  const PackedWeights weights = conv.pack(data.weight.data());
  const int before = calls;
  std::vector<float> y(static_cast<std::size_t>(problem.output_elements()));
  conv.run(data.input.data(), weights, nullptr, y.data());
  EXPECT_EQ(calls, before + 1);
}

TEST(ThreadCount, IsWhatWasAskedForOrTheMachines) {
  Options options;
  EXPECT_GE(thread_count(options), 1);
  options.threads = 3;
  EXPECT_EQ(thread_count(options), 3);
}

std::vector<std::byte> result(const Problem& problem, const check::Data& data,
                              const Options& options) {
  const TransposedConvolution conv = prepare(problem, Device::cpu(), options);
  const PackedWeights weights = conv.pack(data.weight.data());
  std::vector<std::byte> y(static_cast<std::size_t>(problem.output_elements()) *
                           element_size(problem.type));
  conv.run(data.input.data(), weights, problem.bias ? data.bias.data() : nullptr, y.data());
  return y;
}

// Neither the number of threads nor the plan, which follows from it, changes the order of a sum.
TEST(ParallelRuns, GiveTheSameBitsHoweverTheyAreCut) {
  for (const char* text :
       {"n2,ic24,oc20,i3x7x45,k3,s2,p1,bias", "n2,ic24,oc20,i3x7x45,k3,s2,p1,cl,f16",
        "ic300,oc40,i5x9,k4,s2,p1,bf16", "ic2000,oc9,i4x40,k3,s2,p1", "ic700,oc24,i900,k4,s2,p1",
        "ic200,oc1,i3x5x40,k3,s2,p1", "ic80,oc3,i3x5x40,k7", "ic8,oc8,g8,i9x70,k4,s2,p1",
        "ic8,oc8,g8,i9x70,k4,s2,p1,cl", "ic64,oc32,i4x4,k4,s2,p1,cl",
        "ic400,oc16,i3x4x17,k3,s2,p1,op1,cl"}) {
    const Problem problem = parse(text);
    const check::Data data = check::make_data(problem, check::Fill::random, 5);
    Options options;
    options.threads = 1;
    const std::vector<std::byte> one = result(problem, data, options);
    for (const int threads : {2, 3, 16}) {
      options.threads = threads;
      EXPECT_EQ(result(problem, data, options), one) << text << " on " << threads;
    }
    const Machine machine = cpu_backend().machine(Device::cpu(), options);
    for (const Candidate& candidate : candidates(problem, machine, cpu_backend().families())) {
      if (!candidate.refusal.empty()) continue;
      Options forced = options;
      forced.plan = to_string(candidate.plan);
      EXPECT_EQ(result(problem, data, forced), one) << text << " by " << forced.plan;
    }
    // Odd shares, last first, each on a thread of its own.
    options.parallel_for = [](Index count, const auto& body) {
      std::vector<std::thread> pool;
      Index end = count;
      for (Index share = 1; end > 0; share = share * 2 + 1) {
        const Index begin = share < end ? end - share : 0;
        pool.emplace_back([&body, begin, end] { body(begin, end); });
        end = begin;
      }
      for (std::thread& thread : pool) thread.join();
    };
    EXPECT_EQ(result(problem, data, options), one) << text << " in odd shares";
  }
}

}  // namespace
}  // namespace phaseconv
