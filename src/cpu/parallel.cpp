#include "cpu/parallel.h"

#include <omp.h>

#include <algorithm>
#include <exception>

namespace phaseconv {
namespace {

void run_with_openmp(int threads, Index count,
                     const std::function<void(Index begin, Index end)>& body) {
  if (count <= 0) return;
  // Shares handed out on demand: some threads are slower than others, and so are some shares.
  const Index shares = std::min(count, Index{threads} * kSharesOfThread);
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (Index i = 0; i < shares; ++i) {
    try {
      // The first count % shares ones get one more.
      const Index each = count / shares;
      const Index more = count % shares;
      body(i * each + std::min(i, more), (i + 1) * each + std::min(i + 1, more));
    } catch (...) {
#pragma omp critical(phaseconv_parallel_failure)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

ParallelFor parallel_for(const Options& options) {
  if (options.parallel_for) return options.parallel_for;
  return [threads = thread_count(options)](Index count, const auto& body) {
    run_with_openmp(threads, count, body);
  };
}

int thread_count(const Options& options) {
  return options.threads > 0 ? options.threads : std::max(omp_get_num_procs(), 1);
}

}  // namespace phaseconv
