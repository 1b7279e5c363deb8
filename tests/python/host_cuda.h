// Lets a C++ compiler build an emitted CUDA source for the processor, to run kernels that have
// neither barriers nor shared memory: one thread after the other, on memory of the host.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)

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
                                    void** parameters, std::size_t, cudaStream_t) {
  const auto parameter = [&](int i) { return *static_cast<void**>(parameters[i]); };
  gridDim = blocks;
  blockDim = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks.x; ++blockIdx.x) {
    for (threadIdx.x = 0; threadIdx.x < threads.x; ++threadIdx.x) {
      if (host_parameters == 2) {
        reinterpret_cast<void (*)(void*, void*)>(const_cast<void*>(kernel))(parameter(0),
                                                                            parameter(1));
      } else {
        reinterpret_cast<void (*)(void*, void*, void*, void*)>(const_cast<void*>(kernel))(
            parameter(0), parameter(1), parameter(2), parameter(3));
      }
    }
  }
  return cudaSuccess;
}
