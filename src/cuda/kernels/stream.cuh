// How a kernel follows the one before it on its stream.
#pragma once

namespace phaseconv {

/// Waits until all that earlier kernels of the stream wrote can be seen. The host may let a kernel
/// be launched before they end (programmatic dependent launch, from sm_90 on), so that its blocks
/// take their places one by one, and prepare what needs no memory before they call this; the next
/// kernel may do the same from here on.
__device__ __forceinline__ void wait_for_earlier_kernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace phaseconv
