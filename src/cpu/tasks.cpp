#include "cpu/tasks.h"

#include "cpu/pairs.h"
#include "cpu/planes.h"
#include "cpu/rows.h"
#include "cpu/straight.h"

namespace phaseconv::cpu {

void run_tasks(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
               const void* bias, void* output, Index begin, Index end) {
  const auto run = [&](auto path) {
    path(tiling, kernels, input, packed, bias, output, begin, end);
  };
  switch (tiling.path) {
    case Path::planes:
      return run(run_planes);
    case Path::rows:
      return run(run_rows);
    case Path::pairs:
      return run(run_pairs);
    case Path::straight:
    case Path::turned:
      return run(run_straight);
  }
}

}  // namespace phaseconv::cpu
