// The one way to threads on the CPU.
#pragma once

#include "phaseconv/convolution.h"

namespace phaseconv {

/// Of each thread, at most: a share is a stretch of tasks, handed out on demand.
inline constexpr Index kSharesOfThread = 16;

/// The caller's own pool where `options` has one, else OpenMP with `options.threads` threads (0:
/// one per hardware thread).
ParallelFor parallel_for(const Options& options);

/// How many threads `parallel_for(options)` is expected to use.
int thread_count(const Options& options);

}  // namespace phaseconv
