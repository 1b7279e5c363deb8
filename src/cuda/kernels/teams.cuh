// Teams of a block that do different things at the same time: barriers of one team, registers that
// one leaves to the other, and rings of buffers that one fills and the other empties.
#pragma once

namespace phaseconv {

/// Threads [first, first + size) of a block, whole warps.
template <int first, int size, int pieces_ahead = 1>
struct Team {
  static constexpr int count = size, ahead = pieces_ahead;
  static __device__ __forceinline__ int number() { return int(threadIdx.x) - first; }
  static __device__ __forceinline__ bool has_this() { return number() >= 0 && number() < size; }
};

/// A barrier of so many threads, whole warps; `barrier` is not 0, which is __syncthreads'.
template <int barrier, int threads>
__device__ __forceinline__ void sync_team() {
  asm volatile("barrier.cta.sync %0, %1;" ::"n"(barrier), "n"(threads) : "memory");
}
/// The same; whether the value is true for any of them.
template <int barrier, int threads>
__device__ __forceinline__ bool sync_team_or(bool value) {
  int any;
  asm volatile(
      "{.reg .pred in, out; setp.ne.s32 in, %1, 0; barrier.cta.red.or.pred out, %2, %3, in; "
      "selp.s32 %0, 1, 0, out;}"
      : "=r"(any)
      : "r"(int(value)), "n"(barrier), "n"(threads)
      : "memory");
  return any != 0;
}

/// Sets how many registers the threads of a warpgroup have from here on.
template <int count>
__device__ __forceinline__ void leave_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
#endif
}
template <int count>
__device__ __forceinline__ void take_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
#endif
}

/// Buffers that are filled and emptied one after the other. Each has a barrier that it is full and,
/// `buffers` barriers later, one that it is free.
template <int buffers>
struct Ring {
  unsigned long long* barriers;
  int at = 0;
  unsigned turn = 0;  ///< odd and even, of the whole ring

  __device__ __forceinline__ unsigned long long* full() const { return barriers + at; }
  __device__ __forceinline__ unsigned long long* free() const { return barriers + buffers + at; }
  __device__ __forceinline__ void wait_full() const { wait_for_barrier(full(), turn); }
  __device__ __forceinline__ void wait_free() const { wait_for_barrier(free(), turn ^ 1); }
  __device__ __forceinline__ void advance() {
    if (++at == buffers) at = 0, turn ^= 1;
  }
  /// One thread, before anything: so many arrivals make a buffer full, or free.
  __device__ __forceinline__ void start(int fillers, int readers) const {
    for (int i = 0; i < buffers; ++i) {
      start_barrier(barriers + i, fillers);
      start_barrier(barriers + buffers + i, readers);
    }
  }
};

}  // namespace phaseconv
