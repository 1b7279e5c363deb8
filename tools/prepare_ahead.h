// Kernels compile in the background while the problems before them are computed.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "phaseconv/convolution.h"

namespace phaseconv::tools {

/// Prepares problems in their order, as many at a time as there are threads, and drops them: what
/// stays is the cache of kernels. On a CPU it does nothing, as there is nothing to compile. Its end
/// waits for those that have begun, and begins no more.
class PrepareAhead {
 public:
  PrepareAhead(const std::vector<Problem>& problems, const Device& device, const Options& options) {
    if (device.kind != Device::Kind::cuda || problems.size() < 2) return;
    const unsigned threads = std::max(1u, std::thread::hardware_concurrency());
    for (unsigned i = 0; i < threads; ++i) {
      threads_.emplace_back([&problems, &device, &options, this](const std::stop_token& stop) {
        for (std::size_t at = next_++; at < problems.size() && !stop.stop_requested();
             at = next_++) {
          try {
            prepare(problems[at], device, options);
          } catch (const std::exception&) {  // whoever computes it will say so
          }
        }
      });
    }
  }

 private:
  std::atomic<std::size_t> next_ = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace phaseconv::tools
