#include "cpu/pairs.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/read_ahead.h"
#include "cpu/scratch.h"
#include "cpu/stage.h"
#include "element.h"

namespace phaseconv::cpu {
namespace {

class PairWorker {
 public:
  PairWorker(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
             const void* bias, void* output)
      : t(tiling),
        k(kernels),
        x(static_cast<const std::byte*>(input)),
        weights(reinterpret_cast<const float*>(static_cast<const WeightHeader*>(packed) + 1)),
        b(bias),
        y(static_cast<float*>(output)),
        memory(tiling) {
    product.stream =
        t.stream && reinterpret_cast<std::uintptr_t>(output) %
                            (static_cast<std::size_t>(t.vector_lanes) * sizeof(float)) ==
                        0;
    both.weight[0] = 0;
    both.weight[1] = t.depth;
    product.taps = &both;
    product.tap_count = 1;
    product.depth = product.depth_at_once = t.depth;
    product.to_row = sizes[0] * sizes[1] * sizes[2];
  }

  /// Tasks [begin, end).
  void run(Index begin, Index end) {
    for (Index index = begin; index < end; ++index) {
      const Task task(t, index);
      memory.start(t, task, b);
      find_places(task);
      for (Index d = task.cell[0]; d < task.cell[0] + task.cells[0]; ++d) {
        const Staged staged =
            stage(t, k, x, region(task), part(), d, d + 1, memory.staged, memory.run);
        const Index work = task.channels * t.problem.kernel_positions() * t.depth *
                           ceil_div(task.cells[1] * task.cells[2], t.vector_lanes);
        if (d + 1 < task.cell[0] + task.cells[0]) {
          ahead.expect(plane_of_input(t, x, region(task), part(), d + 1), work);
        } else if (index + 1 < end) {
          const Task next(t, index + 1);
          ahead.expect(plane_of_input(t, x, region(next), part(), next.cell[0]), work);
        }
        plane(task, d, staged);
      }
    }
  }

  void finish() {
    PendingLine none;
    k.flush(none);
  }

 private:
  Region region(const Task& task) const {
    return {task.n, task.group * t.depth, task.cell, task.cells};
  }
  Part part() const {
    Part all;
    all.depth = t.depth;
    all.shift_end = {1, 1, 1};
    return all;
  }

  /// All outputs of a plane of cells: for a few channels at a time, along the cells, so that what
  /// is written continues where the last stretch ended.
  void plane(const Task& task, Index d, const Staged& staged) {
    const Phases& along_d = t.phases[0];
    const Phases& along_h = t.phases[1];
    const Index cells = task.cells[1] * task.cells[2];
    product.vector_next = staged.channel_step;
    for (Index c = 0; c < task.channels; c += t.row_tile) {
      const Index rows = std::min(t.row_tile, task.channels - c);
      const Index first = task.channel + c;
      const float* const tile_weights = weights + t.weight_offset(task.group, first);
      const Index channel = task.n * t.problem.out_channels + task.group * t.channels + first;
      product.starts = memory.starts + c;
      product.width = t.weight_width(first);
      const Index weight_tap = t.depth * product.width;
      for (Index q = 0; q < cells; q += t.vector_tile * t.vector_lanes) {
        const Index vectors = std::min(t.vector_tile, ceil_div(cells - q, t.vector_lanes));
        product.vectors = staged.data + d % t.slots * staged.slot + q;
        product.places = places.data() + 2 * q / t.vector_lanes;
        Index tap = 0;
        for (Index rd = 0; rd < along_d.count(); ++rd) {
          for (Index rh = 0; rh < along_h.count(); ++rh, tap += 2) {
            product.weights = tile_weights + tap * weight_tap;
            product.to = y + ((channel * sizes[0] + along_d.output(d, rd)) * sizes[1] +
                              along_h.output(task.cell[1], rh)) *
                                 sizes[2];
            k.multiply_rows[rows - 1][vectors - 1](product);
            ahead.worked(2 * rows * vectors * t.depth);
          }
        }
      }
    }
  }

  /// Where the vectors of outputs of a box go, counted from its first row; its last vector of cells
  /// may end beyond it.
  void find_places(const Task& task) {
    const Index width = 2 * task.cells[2];
    const Index end = width * task.cells[1];
    const Index vectors = ceil_div(task.cells[1] * task.cells[2], t.vector_lanes);
    places.assign(static_cast<std::size_t>(2 * vectors), -1);
    for (Index at = 0; at < end; at += t.vector_lanes) {
      places[static_cast<std::size_t>(at / t.vector_lanes)] =
          at / width * t.phases[1].count() * sizes[2] + 2 * task.cell[2] + at % width;
    }
  }

  const Tiling& t;
  const Kernels& k;
  const std::byte* x;
  const float* weights;
  const void* b;
  float* const y;
  const Scratch memory;
  const Index sizes[3] = {t.problem.axes[0].output(), t.problem.axes[1].output(),
                          t.problem.axes[2].output()};
  RowTap both;
  RowProduct product;
  std::vector<Index> places;
  ReadAhead ahead;
};

}  // namespace

std::string pairs_refusal(const Problem& problem, Index lanes) {
  if (element_size(problem.type) != sizeof(float)) return "it writes float32 alone";
  if (problem.layout != Layout::channels_first) return "it needs channels first";
  if (!kernel_is_stride(problem)) return "it needs kernel = stride on all axes, without padding";
  if (problem.axes[2].stride != 2) return "it needs stride 2 along w";
  if (2 * problem.axes[2].input % lanes != 0) {
    return "it needs rows of outputs that are whole vectors of " + std::to_string(lanes);
  }
  return {};
}

void run_pairs(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
               const void* bias, void* output, Index begin, Index end) {
  PairWorker worker(tiling, kernels, input, packed, bias, output);
  worker.run(begin, end);
  worker.finish();
}

}  // namespace phaseconv::cpu
