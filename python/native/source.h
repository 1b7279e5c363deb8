// The C interface behind python/phaseconv/_source.py: the source of a problem's CUDA kernels, for
// the plan that the planner takes. It needs neither GPU nor PyTorch. Plain types only; the ctypes
// structures there mirror the ones here.
#pragma once

#define PHASECONV_EXPORT __attribute__((visibility("default")))

extern "C" {

/// What a call returns. Everything but `phaseconv_done` leaves a message in `error`.
enum phaseconv_status {
  phaseconv_done = 0,
  phaseconv_invalid = 1,
  phaseconv_unsupported = 2,
  phaseconv_failed = 3,
};

struct phaseconv_problem {
  int rank;
  int type;  ///< 0 f32, 1 tf32, 2 f16, 3 bf16
  int channels_last;
  int bias;
  long long batch, in_channels, out_channels, groups;
  /// Of the axes d, h, w: input, kernel, stride, padding, output padding, dilation, output.
  long long axes[3][7];
};

struct phaseconv_launch {
  const char* kernel;
  unsigned blocks, threads, shared_memory_bytes;
  unsigned resident;  ///< more than 0: no more blocks than these on each multiprocessor
};

struct phaseconv_source {
  struct phaseconv_problem sizes;
  const char* problem;  ///< canonical string
  const char* plan;
  const char* reason;     ///< why the planner took it
  const char* files;      ///< names of the kernel files, in order, one a line
  const char* generated;  ///< what follows their text
  struct phaseconv_launch run, pack;
  unsigned long long packed_bytes;
  const char* error;
  void* owner;  ///< of every text here; freed by `phaseconv_source_free`
};

/// `plan` is the beginning of a plan's text; empty: the planner chooses. The names of the kernels
/// end in `suffix`. `out` must be freed, whatever the status.
PHASECONV_EXPORT int phaseconv_source_make(const char* problem, const char* arch, const char* plan,
                                           const char* suffix, struct phaseconv_source* out);
PHASECONV_EXPORT void phaseconv_source_free(struct phaseconv_source* source);

/// The text of a kernel file, to be freed with `phaseconv_text_free`; null where there is none.
PHASECONV_EXPORT char* phaseconv_kernel_text(const char* file);
PHASECONV_EXPORT void phaseconv_text_free(char* text);

}  // extern "C"
