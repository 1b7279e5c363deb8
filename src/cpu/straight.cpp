#include "cpu/straight.h"

#include <algorithm>
#include <cstdint>

#include "cpu/scratch.h"
#include "element.h"

namespace phaseconv::cpu {
namespace {

constexpr Index line = 16;  ///< floats

class StraightWorker {
 public:
  StraightWorker(const Tiling& tiling, const Kernels& kernels, const void* input,
                 const void* packed, const void* bias, void* output)
      : t(tiling),
        k(kernels),
        x(static_cast<const float*>(input)),
        weights(reinterpret_cast<const float*>(static_cast<const WeightHeader*>(packed) + 1)),
        b(bias),
        y(static_cast<float*>(output)),
        memory(tiling) {
    product.taps = &tap;
    product.tap_count = 1;
    product.scalar_row = t.problem.in_channels;
    product.scalar_next = 1;
    product.scalar_repeat = t.row_tile * product.scalar_row;
    product.sums_row = t.problem.axes[2].stride * t.problem.out_channels;
    product.sums_repeat = t.row_tile * product.sums_row;
    product.depth = t.depth;
    product.start_along = true;
    product.stream = straight_streams(t) &&
                     reinterpret_cast<std::uintptr_t>(output) % (line * sizeof(float)) == 0;
  }

  void run(const Task& task) {
    std::fill_n(memory.starts, memory.start_count, 0.0f);
    const Index first = task.group * t.channels + task.channel;
    for (Index c = 0; t.problem.bias && c < task.channels; ++c) {
      memory.starts[c] = load_value(b, t.problem.type, first + c);
    }
    for (Index d = task.cell[0]; d < task.cell[0] + task.cells[0]; ++d) {
      for (Index rd = 0; rd < t.phases[0].count(); ++rd) {
        for (Index rh = 0; rh < t.phases[1].count(); ++rh) rows(task, d, rd, rh);
      }
    }
  }

  void finish() {
    PendingLine none;
    k.flush(none);
  }

 private:
  /// The outputs of a plane of cells that one phase along d and h makes: each register tile's
  /// weights go along all cells.
  void rows(const Task& task, Index d, Index rd, Index rh) {
    const Index phases = t.phases[2].count();
    for (Index c = 0; c < task.channels; c += t.weight_tile()) {
      for (Index rw = 0; rw < phases; ++rw) {
        use_weights(task, c, (rd * t.phases[1].count() + rh) * phases + rw);
        for (Index h = task.cell[1]; h < task.cell[1] + task.cells[1]; ++h) {
          row(task, c, {d, h, task.cell[2]}, {rd, rh, rw});
        }
      }
    }
  }

  void use_weights(const Task& task, Index c, Index number) {
    const Index first = task.channel + c;
    const Index width = t.weight_width(first);
    product.vector_next = width;
    product.vectors = weights + t.weight_offset(task.group, first) + number * t.depth * width;
    product.start = memory.starts + c;
  }

  /// One phase of a row of cells, for a register tile's channels.
  void row(const Task& task, Index c, const std::array<Index, 3>& cell,
           const std::array<Index, 3>& phase) {
    Index from = task.n, to = task.n;
    for (std::size_t a = 0; a < 3; ++a) {
      from = from * t.problem.axes[a].input + cell[a];
      to = to * sizes[a] + t.phases[a].output(cell[a], phase[a]);
    }
    product.scalars = x + from * t.problem.in_channels + task.group * t.depth;
    product.sums = y + to * t.problem.out_channels + task.group * t.channels + task.channel + c;
    const auto tiles = [&](Index size, Index repeats) {
      if (size == 0 || repeats == 0) return;
      product.repeats = repeats;
      k.multiply[size - 1][product.vector_next / t.vector_lanes - 1](product);
      product.scalars += repeats * product.scalar_repeat;
      product.sums += repeats * product.sums_repeat;
    };
    tiles(t.row_tile, task.cells[2] / t.row_tile);
    tiles(task.cells[2] % t.row_tile, 1);
  }

  const Tiling& t;
  const Kernels& k;
  const float* const x;
  const float* weights;
  const void* b;
  float* const y;
  const Scratch memory;
  const Index sizes[3] = {t.problem.axes[0].output(), t.problem.axes[1].output(),
                          t.problem.axes[2].output()};
  const Tap tap{0, 0};
  Product product;
};

}  // namespace

std::string straight_refusal(const Problem& problem, Index lanes) {
  if (problem.type != DataType::f32) return "it reads and writes float32 alone";
  if (problem.layout != Layout::channels_last) return "it needs channels last";
  if (!kernel_is_stride(problem)) return "it needs kernel = stride on all axes, without padding";
  if (problem.out_channels_per_group() % lanes != 0) {
    return "it needs groups whose output channels are whole vectors of " + std::to_string(lanes);
  }
  return {};
}

bool straight_streams(const Tiling& t) {
  return t.stream && t.channels % line == 0 && t.block % line == 0 && t.weight_tile() % line == 0;
}

void run_straight(const Tiling& tiling, const Kernels& kernels, const void* input,
                  const void* packed, const void* bias, void* output, Index begin, Index end) {
  StraightWorker worker(tiling, kernels, input, packed, bias, output);
  for (Index index = begin; index < end; ++index) worker.run(Task(tiling, index));
  worker.finish();
}

}  // namespace phaseconv::cpu
