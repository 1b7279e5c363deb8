// The host side: two functions that Python calls with pointers and streams as integers.

namespace {

struct Grid {
  const void* kernel;
  unsigned blocks, threads, shared_memory_bytes;
  unsigned resident;  // more than 0: no more blocks than these on each multiprocessor; they loop
};

// One of each for every problem, in the order of their numbers.
const Grid packs[] = {
    @PACKS@
};
const Grid runs[] = {
    @RUNS@
};

// Launches on a stream of a device; the device that is current stays so. Null, or what went wrong.
const char* launch(const Grid& grid, int device, void* stream, void** parameters) {
  int before = device;
  cudaError_t error = cudaGetDevice(&before);
  if (error == cudaSuccess && before != device) error = cudaSetDevice(device);
  if (error == cudaSuccess && grid.shared_memory_bytes > 48 * 1024) {
    error = cudaFuncSetAttribute(grid.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(grid.shared_memory_bytes));
  }
  unsigned blocks = grid.blocks;
  if (error == cudaSuccess && grid.resident > 0) {
    int units = 0;
    error = cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount, device);
    const unsigned most = grid.resident * static_cast<unsigned>(units);
    blocks = blocks < most ? blocks : most;
  }
  if (error == cudaSuccess) {
    error = cudaLaunchKernel(grid.kernel, dim3(blocks), dim3(grid.threads), parameters,
                             grid.shared_memory_bytes, static_cast<cudaStream_t>(stream));
  }
  if (before != device) cudaSetDevice(before);
  if (error == cudaSuccess) return nullptr;
  cudaGetLastError();  // reported here: nobody else is to find it
  return cudaGetErrorString(error);
}

}  // namespace

extern "C" const char* phaseconv_pack(int number, int device, void* stream, const void* weight,
                                      void* packed) {
  void* parameters[] = {&weight, &packed};
  return launch(packs[number], device, stream, parameters);
}

extern "C" const char* phaseconv_run(int number, int device, void* stream, const void* input,
                                     const void* packed, const void* bias, void* output) {
  void* parameters[] = {&input, &packed, &bias, &output};
  return launch(runs[number], device, stream, parameters);
}
