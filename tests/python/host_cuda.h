// Lets a C++ compiler build an emitted CUDA source for the processor, on memory of the host: the
// threads of a block take turns, from barrier to barrier; blocks follow each other. Of instructions
// that kernels ask for by name it has conversions; those of copy.cuh, teams.cuh, wgmma.cuh and
// warp_matrices.cuh are in files of the same names with host_ before them, which take their place.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __shared__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

using std::fmaf;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
struct int2 {
  int x, y;
};
struct uint2 {
  unsigned x, y;
};
struct uint4 {
  unsigned x, y, z, w;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

template <class T>
T __ldg(const T* from) {
  return *from;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline std::size_t __cvta_generic_to_global(const void* pointer) {
  return reinterpret_cast<std::size_t>(pointer);
}
inline void* __cvta_global_to_generic(std::size_t address) {
  return reinterpret_cast<void*>(address);
}

/// A block's shared memory, by the name that kernels give it.
namespace phaseconv {
alignas(128) inline unsigned char shared[256 << 10];
}
inline std::size_t __cvta_generic_to_shared(const void* pointer) {
  return static_cast<const unsigned char*>(pointer) - phaseconv::shared;
}

/// The threads of a block. Once begun, they change places by _setjmp and _longjmp: swapcontext asks
/// the system each time, which took most of the tests' time.
namespace host {
struct Thread {
  ucontext_t start;
  jmp_buf place;
  bool begun = false;
  std::vector<unsigned char> stack = std::vector<unsigned char>(64 << 10);
  bool done = false;
};
inline std::vector<Thread> threads;
inline jmp_buf turns;  ///< of who says whose turn it is
inline std::size_t current = 0;
inline void (*body)() = nullptr;
inline std::size_t shared_bytes = 0;  ///< of the present kernel

inline std::size_t finished = 0;  ///< threads of all blocks

inline void begin() {
  body();
  threads[current].done = true;
  ++finished;
  _longjmp(turns, 1);
}
/// Returns when the thread yields, or is done.
__attribute__((noinline)) inline void give_turn(Thread& thread) {
  if (_setjmp(turns) != 0) return;
  if (thread.begun) _longjmp(thread.place, 1);
  thread.begun = true;
  setcontext(&thread.start);
}
/// Runs `body` in every thread of a block.
inline void run_block() {
  threads.resize(blockDim.x);
  for (Thread& thread : threads) {
    thread.begun = thread.done = false;
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = thread.stack.data();
    thread.start.uc_stack.ss_size = thread.stack.size();
    makecontext(&thread.start, begin, 0);
  }
  for (bool all_done = false; !all_done;) {
    all_done = true;
    for (current = 0; current < threads.size(); ++current) {
      if (threads[current].done) continue;
      threadIdx.x = static_cast<unsigned>(current);
      give_turn(threads[current]);
      all_done = all_done && threads[current].done;
    }
  }
}
}  // namespace host

namespace host {
/// The other threads' turn.
__attribute__((noinline)) inline void yield() {
  if (_setjmp(threads[current].place) == 0) _longjmp(turns, 1);
}

/// A barrier of the threads [first, end) that are not done.
struct Barrier {
  std::size_t here = 0, passed = 0;
  void wait(std::size_t first, std::size_t end) {
    const std::size_t own = passed;
    ++here;
    while (passed == own) {
      std::size_t expected = 0;
      for (std::size_t i = first; i < end && i < threads.size(); ++i) expected += !threads[i].done;
      if (here == expected) {
        here = 0;
        ++passed;
      }
      // Nothing new before another one came, who looks for himself, or is done.
      for (const std::size_t before = finished; passed == own && finished == before;) yield();
    }
  }
};
inline Barrier barriers[16], warp_barriers[32];
}  // namespace host

inline void __syncthreads() { host::barriers[0].wait(0, host::threads.size()); }
inline bool __syncthreads_or(bool one) {
  static bool any = false;
  any |= one;
  __syncthreads();
  const bool found = any;
  __syncthreads();
  any = false;
  __syncthreads();
  return found;
}
inline void __syncwarp() {
  const std::size_t warp = host::current / 32;
  host::warp_barriers[warp].wait(warp * 32, warp * 32 + 32);
}
// What the threads of a warp ask each other. Here they already agree, or need not.
inline bool __all_sync(unsigned, bool one) { return one; }
inline unsigned __shfl_sync(unsigned, unsigned value, int lane) {
  static unsigned shown[1024];
  shown[host::current] = value;
  __syncwarp();
  const unsigned found = shown[host::current / 32 * 32 + static_cast<std::size_t>(lane)];
  __syncwarp();
  return found;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
inline unsigned __byte_perm(unsigned lower, unsigned upper, unsigned selector) {
  const unsigned long long all = static_cast<unsigned long long>(upper) << 32 | lower;
  unsigned out = 0;
  for (int i = 0; i < 4; ++i) {
    out |= static_cast<unsigned>(all >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  }
  return out;
}

// Conversions that kernels ask for in PTX; the tests put calls of these in their place.
inline void cvt_rna_tf32_f32(unsigned& to, float from) {
  unsigned bits;
  std::memcpy(&bits, &from, sizeof bits);
  to = bits + 0x1000u;  // half of the last bit that stays: ties go away from zero
}
inline void cvt_rn_bf16_f32(unsigned short& to, float from) {
  unsigned bits;
  std::memcpy(&bits, &from, sizeof bits);
  to = static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);  // ties go to even
}
inline void cvt_rn_f16_f32(unsigned short& to, float from) {
  const _Float16 narrow = static_cast<_Float16>(from);
  std::memcpy(&to, &narrow, sizeof to);
}
inline void cvt_rn_bf16x2_f32(unsigned& to, float upper, float lower) {
  unsigned short halves[2];
  cvt_rn_bf16_f32(halves[0], lower);
  cvt_rn_bf16_f32(halves[1], upper);
  std::memcpy(&to, halves, sizeof to);
}
inline void cvt_rn_f16x2_f32(unsigned& to, float upper, float lower) {
  unsigned short halves[2];
  cvt_rn_f16_f32(halves[0], lower);
  cvt_rn_f16_f32(halves[1], upper);
  std::memcpy(&to, halves, sizeof to);
}
inline void cvt_f32_f16(float& to, unsigned short from) {
  _Float16 narrow;
  std::memcpy(&narrow, &from, sizeof from);
  to = static_cast<float>(narrow);
}

enum cudaError_t { cudaSuccess };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
using cudaStream_t = void*;
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  return *value = 2, cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

/// How many parameters the next kernel takes: 2 (pack) or 4 (run), all of them pointers.
extern "C" {
int host_parameters = 0;
}

inline cudaError_t cudaLaunchKernel(const void* kernel, dim3 blocks, dim3 threads,
                                    void** parameters, std::size_t shared_bytes, cudaStream_t) {
  static void* arguments[4];
  static const void* function;
  function = kernel;
  for (int i = 0; i < host_parameters; ++i) arguments[i] = *static_cast<void**>(parameters[i]);
  host::body = [] {
    if (host_parameters == 2) {
      reinterpret_cast<void (*)(void*, void*)>(const_cast<void*>(function))(arguments[0],
                                                                            arguments[1]);
    } else {
      reinterpret_cast<void (*)(void*, void*, void*, void*)>(const_cast<void*>(function))(
          arguments[0], arguments[1], arguments[2], arguments[3]);
    }
  };
  gridDim = blocks;
  blockDim = threads;
  host::shared_bytes = shared_bytes;
  for (blockIdx.x = 0; blockIdx.x < blocks.x; ++blockIdx.x) {
    std::memset(phaseconv::shared, 0xff, sizeof phaseconv::shared);  // not a number, in any type
    host::run_block();
  }
  return cudaSuccess;
}
