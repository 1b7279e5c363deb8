#include "cpu/straight.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/read_ahead.h"
#include "cpu/scratch.h"
#include "cpu/stage.h"
#include "cpu/taps.h"
#include "cpu/tiles.h"
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
        x(static_cast<const std::byte*>(input)),
        b(bias),
        y(static_cast<float*>(output)),
        memory(tiling) {
    part.depth = t.depth;
    part.shift_end = t.window;
    product.staged = &staged;
    product.ahead = &ahead;
    product.weights = reinterpret_cast<const float*>(static_cast<const WeightHeader*>(packed) + 1);
    product.finite = static_cast<const WeightHeader*>(packed)->finite;
    product.depth = t.depth;
    product.taps = taps;
    product.sums_row = t.problem.axes[2].stride * t.problem.out_channels;
    product.stream = straight_streams(t) &&
                     reinterpret_cast<std::uintptr_t>(output) % (line * sizeof(float)) == 0;
  }

  void run(const Task& task) {
    memory.start(t, task, b);
    take(task);
    for (Index c = 0; c < task.channels; c += t.weight_tile()) {
      product.group = task.group;
      product.channel = task.channel + c;
      product.channels = std::min(t.weight_tile(), task.channels - c);
      product.starts = memory.starts + c;
      for (Index rd = 0; rd < t.phases[0].count(); ++rd) {
        for (Index rh = 0; rh < t.phases[1].count(); ++rh) {
          for (Index rw = 0; rw < t.phases[2].count(); ++rw) rows(task, {rd, rh, rw});
        }
      }
    }
  }

  void finish() {
    PendingLine none;
    k.flush(none);
  }

 private:
  /// The input of a task's cells.
  void take(const Task& task) {
    const Region region{task.n, task.group * t.depth, task.cell, task.cells};
    if (t.staged) {
      const Index begin = std::max(task.cell[0] - t.window[0] + 1, Index{0});
      const Index end = std::min(task.cell[0] + task.cells[0], t.problem.axes[0].input);
      staged = stage(t, k, x, region, part, begin, end, memory.staged, memory.run);
    } else {
      const Axis &h = t.problem.axes[1], &w = t.problem.axes[2];
      staged.slot = h.input * w.input;
      staged.row = w.input;
      staged.position_step = t.problem.in_channels;
      staged.inside = true;
      const Index position =
          task.n * t.problem.input_positions() + task.cell[1] * w.input + task.cell[2];
      staged.data =
          reinterpret_cast<const float*>(x) + position * staged.position_step + region.channel;
    }
  }

  /// One phase of all cells, for a register tile's channels: its weights go along them.
  void rows(const Task& task, const std::array<Index, 3>& phase) {
    for (Index d = task.cell[0]; d < task.cell[0] + task.cells[0]; ++d) {
      for (Index h = task.cell[1]; h < task.cell[1] + task.cells[1]; ++h) {
        row(task, {d, h, task.cell[2]}, phase);
      }
    }
  }

  /// One phase of a row of cells, for a register tile's channels.
  void row(const Task& task, std::array<Index, 3> cell, const std::array<Index, 3>& phase) {
    const auto out = [&](std::size_t a) { return t.phases[a].output(cell[a], phase[a]); };
    for (std::size_t a : {0u, 1u}) {
      if (out(a) < 0 || out(a) >= sizes[a]) return;
    }
    const CellRange cells = with_output(t.phases[2], phase[2], cell[2], cell[2] + task.cells[2]);
    if (cells.empty()) return;
    cell[2] = cells.begin;
    const Index end = cells.end;
    find_taps(task, cell, end, phase);
    product.cells = end - cell[2];
    Index to = task.n;
    for (std::size_t a = 0; a < 3; ++a) to = to * sizes[a] + out(a);
    product.sums = y + to * t.problem.out_channels + task.group * t.channels + product.channel;
    multiply_tiles(t, k, product);
  }

  /// Those that read the input from the cells up to `end` along w.
  void find_taps(const Task& task, const std::array<Index, 3>& cell, Index end,
                 const std::array<Index, 3>& phase) {
    TapRun run[3];
    for (std::size_t a = 0; a < 3; ++a) {
      run[a] = reaching(t.phases[a], taps_of(t.phases[a], phase[a]), cell[a],
                        a == 2 ? end : cell[a] + 1);
    }
    const auto step = [&](std::size_t a) { return t.phases[a].shift_step; };
    product.tap_count = 0;
    for (Index i = 0; i < run[0].count; ++i) {
      const Index plane = cell[0] - run[0].shift - i * step(0);
      const Index slot = t.staged ? plane % t.slots : plane;
      const Index tap_d = run[0].tap + i * t.phases[0].tap_step;
      for (Index j = 0; j < run[1].count; ++j) {
        const Index y_in = cell[1] - task.cell[1] + t.window[1] - 1 - run[1].shift - j * step(1);
        const Index tap_h =
            tap_d * t.problem.axes[1].kernel + run[1].tap + j * t.phases[1].tap_step;
        for (Index l = 0; l < run[2].count; ++l) {
          const Index x_in = cell[2] - task.cell[2] + t.window[2] - 1 - run[2].shift - l * step(2);
          taps[product.tap_count++] = {
              slot * staged.slot + y_in * staged.row + x_in,
              tap_h * t.problem.axes[2].kernel + run[2].tap + l * t.phases[2].tap_step};
        }
      }
    }
  }

  const Tiling& t;
  const Kernels& k;
  const std::byte* x;
  const void* b;
  float* const y;
  const Scratch memory;
  const Index sizes[3] = {t.problem.axes[0].output(), t.problem.axes[1].output(),
                          t.problem.axes[2].output()};
  Part part;
  Staged staged;
  Tap taps[tap_capacity];
  PhaseProduct product;
  ReadAhead ahead;
};

}  // namespace

std::string straight_refusal(const Problem& problem, Index lanes) {
  if (element_size(problem.type) != sizeof(float)) return "it writes float32 alone";
  if (problem.layout != Layout::channels_last) return "it needs channels last";
  if (problem.out_channels_per_group() % lanes != 0) {
    return "it needs groups whose output channels are whole vectors of " + std::to_string(lanes);
  }
  Plan plan;
  plan.family = "straight";
  const Tiling tiling(problem, plan, lanes);
  Index taps = 1;
  for (const Phases& axis : tiling.phases) taps *= ceil_div(axis.axis.kernel, axis.tap_step);
  if (tiling.parts > 1 || tiling.taps_w_first || taps > tap_capacity) {
    return "it needs sums of one part, of at most " + std::to_string(tap_capacity) + " taps";
  }
  return {};
}

bool straight_streams(const Tiling& t) {
  return t.stream && t.depth <= t.depth_at_once && t.channels % line == 0 && t.block % line == 0 &&
         t.weight_tile() % line == 0;
}

void run_straight(const Tiling& tiling, const Kernels& kernels, const void* input,
                  const void* packed, const void* bias, void* output, Index begin, Index end) {
  StraightWorker worker(tiling, kernels, input, packed, bias, output);
  for (Index index = begin; index < end; ++index) worker.run(Task(tiling, index));
  worker.finish();
}

}  // namespace phaseconv::cpu
