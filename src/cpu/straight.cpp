#include "cpu/straight.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/read_ahead.h"
#include "cpu/scratch.h"
#include "cpu/stage.h"
#include "cpu/taps.h"
#include "cpu/tiles.h"
#include "cpu/writer.h"
#include "element.h"

namespace phaseconv::cpu {
namespace {

constexpr Index line = 16;         ///< floats
constexpr Index most_phases = 64;  ///< along h and w, that are kept to be turned

class StraightWorker {
 public:
  StraightWorker(const Tiling& tiling, const Kernels& kernels, const void* input,
                 const void* packed, const void* bias, void* output)
      : t(tiling),
        k(kernels),
        x(static_cast<const std::byte*>(input)),
        b(bias),
        y(static_cast<float*>(output)),
        memory(tiling),
        writer(tiling, kernels, output, memory.run) {
    part.depth = t.depth;
    part.shift_end = t.window;
    product.staged = &staged;
    product.ahead = &ahead;
    product.weights = reinterpret_cast<const float*>(static_cast<const WeightHeader*>(packed) + 1);
    product.finite = static_cast<const WeightHeader*>(packed)->finite;
    taps.resize(static_cast<std::size_t>(t.problem.kernel_positions()));
    product.taps = taps.data();
    product.turned_pitch = t.turned_pitch();
    product.turned_stretch = t.turned_row();
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
      starts = memory.starts + c;
      for (Index rd = 0; rd < t.phases[0].count(); ++rd) {
        if (turned()) expect(task, rd);
        for (Index rh = 0; rh < t.phases[1].count(); ++rh) {
          for (Index rw = 0; rw < t.phases[2].count(); ++rw) cells_of(task, {rd, rh, rw});
        }
        if (turned()) write(task, rd);
      }
    }
  }

  void finish() { writer.finish(); }

 private:
  using Triple = std::array<Index, 3>;
  bool turned() const { return t.path == Path::turned; }

  /// The input of a task's cells. Another block of channels reads what the last one has read, and
  /// the next box along d some of its planes: those are there.
  void take(const Task& task) {
    const Region region{task.n, task.group * t.depth, task.cell, task.cells};
    if (t.staged) {
      const Index begin = std::max(task.cell[0] - t.window[0] + 1, Index{0});
      const Index end = std::min(task.cell[0] + task.cells[0], t.problem.axes[0].input);
      const bool follows =
          region.beside(held) && planes.begin <= begin && begin <= planes.end && planes.end <= end;
      const Index first = follows ? planes.end : begin;
      staged = stage(t, k, x, region, part, first, end, memory.staged, memory.run);
      held = region;
      planes = {begin, end};
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
  void cells_of(const Task& task, const Triple& phase) {
    const auto cells = [&](std::size_t a) {
      return with_output(t.phases[a], phase[a], task.cell[a], task.cell[a] + task.cells[a]);
    };
    const CellRange across = cells(0), lines = cells(1), along = cells(2);
    if (along.empty()) return;
    for (Index i = 0; i < t.depth; i += t.depth_at_once) {
      product.depth_begin = product.staged_begin = i;
      product.depth = std::min(t.depth_at_once, t.depth - i);
      product.starts = i == 0 ? starts : nullptr;
      for (Index d = across.begin; d < across.end; ++d) {
        along_axis[0] = reaching(0, phase, d, d + 1);
        Index next;
        for (Index h = lines.begin; h < lines.end; h = next) {  // rows with the same taps
          along_axis[1] = reaching(1, phase, h, h + 1);
          for (next = h + 1;
               next < lines.end && reaching(1, phase, next, next + 1) == along_axis[1];) {
            ++next;
          }
          lines_of(task, {d, h, along.begin}, next - h, along.end, phase);
        }
      }
    }
  }

  /// `count` rows from a cell on, up to `end` along w. Cells that not all taps reach are left to
  /// tiles of their own, along h: of as many taps as there are.
  void lines_of(const Task& task, Triple cell, Index count, Index end, const Triple& phase) {
    const TapRun all = taps_of(t.phases[2], phase[2]);
    const Index first = cell[2];
    CellRange inner{first, end};
    if (count >= least_lines && all.count > 0) {
      const Index farthest = all.shift + (all.count - 1) * t.phases[2].shift_step;
      inner.begin = std::clamp(farthest, first, end);
      inner.end = std::clamp(all.shift + t.problem.axes[2].input, inner.begin, end);
    }
    if (!inner.empty()) {
      cell[2] = inner.begin;
      along_axis[2] = reaching(2, phase, inner.begin, inner.end);
      multiply(task, cell, phase, inner.end - inner.begin, count);
    }
    columns(task, cell, {first, inner.begin}, count, phase);
    columns(task, cell, {inner.end, end}, count, phase);
  }

  /// Some cells of `count` rows, in register tiles along h.
  void columns(const Task& task, Triple cell, const CellRange& along, Index count,
               const Triple& phase) {
    product.cells = count;
    product.cell_step = staged.row;
    product.stretches = 1;
    product.sums_row = sums_line;
    product.turned = nullptr;
    for (cell[2] = along.begin; cell[2] < along.end; ++cell[2]) {
      along_axis[2] = reaching(2, phase, cell[2], cell[2] + 1);
      find_taps(task, cell);
      product.sums = sums_of(task, cell, phase);
      multiply_tiles(t, k, product);
    }
    if (along.empty() || !turned() || !complete()) return;
    cell[2] = along.begin;
    for (Index n = 0; n < count; ++n, ++cell[1]) {
      k.transpose(sums_of(task, cell, phase), along.end - along.begin, product.channels, sums_cell,
                  turned_of(task, cell, phase), product.turned_pitch);
    }
  }

  TapRun reaching(std::size_t a, const Triple& phase, Index begin, Index end) const {
    return cpu::reaching(t.phases[a], taps_of(t.phases[a], phase[a]), begin, end);
  }

  void multiply(const Task& task, const Triple& cell, const Triple& phase, Index cells,
                Index stretches) {
    find_taps(task, cell);
    product.cells = cells;
    product.cell_step = 1;
    product.stretches = stretches;
    product.stretch_step = staged.row;
    product.sums = sums_of(task, cell, phase);
    product.sums_row = sums_cell;
    product.sums_stretch = sums_line;
    product.turned = turned() && complete() ? turned_of(task, cell, phase) : nullptr;
    multiply_tiles(t, k, product);
  }

  bool complete() const { return product.depth_begin + product.depth == t.depth; }

  float* sums_of(const Task& task, const Triple& cell, const Triple& phase) const {
    if (turned()) {
      const Index at = line_of(task, cell[0], cell[1]) * t.box[2] + cell[2] - task.cell[2];
      return memory.sums + at * sums_cell;
    }
    Index to = task.n;
    for (std::size_t a = 0; a < 3; ++a) to = to * sizes[a] + t.phases[a].output(cell[a], phase[a]);
    return y + to * t.problem.out_channels + task.group * t.channels + product.channel;
  }

  float* turned_of(const Task& task, const Triple& cell, const Triple& phase) const {
    return memory.turned + (phase[1] * t.phases[2].count() + phase[2]) * t.turned_phase() +
           line_of(task, cell[0], cell[1]) * t.turned_row() + cell[2] - task.cell[2];
  }

  static Index line_of(const Task& task, Index d, Index h) {
    return (d - task.cell[0]) * task.cells[1] + h - task.cell[1];
  }

  /// Announces what `write` will write.
  void expect(const Task& task, Index rd) const {
    OutputBlock block;
    block.n = task.n;
    block.channel = task.group * t.channels + product.channel;
    block.channels = product.channels;
    block.row_begin = clip(1, task.cell[1]);
    block.row_end = clip(1, task.cell[1] + task.cells[1]);
    block.begin = clip(2, task.cell[2]);
    block.end = clip(2, task.cell[2] + task.cells[2]);
    for (Index d = task.cell[0]; d < task.cell[0] + task.cells[0]; ++d) {
      block.plane = t.phases[0].output(d, rd);
      if (block.plane >= 0 && block.plane < sizes[0]) writer.expect(block);
    }
  }

  /// The turned sums of one phase along d: the rows of a channel's plane are put together first,
  /// so that they leave in long stretches.
  void write(const Task& task, Index rd) {
    const Index row_begin = clip(1, task.cell[1]), row_end = clip(1, task.cell[1] + task.cells[1]);
    const Index begin = clip(2, task.cell[2]), end = clip(2, task.cell[2] + task.cells[2]);
    const Index cut = begin - t.phases[2].output(task.cell[2], 0);
    const bool joined = end - begin == sizes[2];
    const Index all = (end - begin) * (row_end - row_begin);
    const Index count = joined ? all : end - begin;
    for (Index c = 0; c < product.channels; ++c) {
      const Index channel = task.group * t.channels + product.channel + c;
      for (Index d = task.cell[0]; d < task.cell[0] + task.cells[0]; ++d) {
        const Index o_d = t.phases[0].output(d, rd);
        if (o_d < 0 || o_d >= sizes[0]) continue;
        const float* const from = memory.turned + c * t.turned_pitch();
        float* to = memory.sums;
        for (Index o_h = row_begin; o_h < row_end; ++o_h, to += end - begin) {
          const Index h = t.phases[1].cell_of(o_h),
                      rh = o_h + t.problem.axes[1].padding - h * t.phases[1].count();
          k.write({from + rh * t.phases[2].count() * t.turned_phase() +
                       line_of(task, d, h) * t.turned_row(),
                   t.turned_phase(), t.phases[2].count()},
                  cut, round_up(end - begin, t.vector_lanes), to);
        }
        const Index plane = (task.n * t.problem.out_channels + channel) * sizes[0] + o_d;
        for (Index i = 0; i < all; i += count) {
          writer.write(memory.sums + i, count,
                       (plane * sizes[1] + row_begin + i / (end - begin)) * sizes[2] + begin);
        }
      }
    }
  }

  /// Where the outputs of a cell begin.
  Index clip(std::size_t a, Index cell) const {
    return std::clamp(t.phases[a].output(cell, 0), Index{0}, sizes[a]);
  }

  void find_taps(const Task& task, const Triple& cell) {
    const auto step = [&](std::size_t a) { return t.phases[a].shift_step; };
    product.tap_count = 0;
    for (Index i = 0; i < along_axis[0].count; ++i) {
      const Index plane = cell[0] - along_axis[0].shift - i * step(0);
      const Index slot = t.staged ? plane % t.slots : plane;
      const Index tap_d = along_axis[0].tap + i * t.phases[0].tap_step;
      for (Index j = 0; j < along_axis[1].count; ++j) {
        const Index y_in =
            cell[1] - task.cell[1] + t.window[1] - 1 - along_axis[1].shift - j * step(1);
        const Index tap_h =
            tap_d * t.problem.axes[1].kernel + along_axis[1].tap + j * t.phases[1].tap_step;
        for (Index l = 0; l < along_axis[2].count; ++l) {
          const Index x_in =
              cell[2] - task.cell[2] + t.window[2] - 1 - along_axis[2].shift - l * step(2);
          taps[static_cast<std::size_t>(product.tap_count++)] = {
              slot * staged.slot + y_in * staged.row + x_in,
              tap_h * t.problem.axes[2].kernel + along_axis[2].tap + l * t.phases[2].tap_step};
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
  Writer writer;
  const Index sizes[3] = {t.problem.axes[0].output(), t.problem.axes[1].output(),
                          t.problem.axes[2].output()};
  // Sums, in memory or of the output: from cell to cell, and from row to row of cells.
  const Index sums_cell = turned() ? t.weight_tile() : t.phases[2].count() * t.problem.out_channels;
  const Index sums_line =
      turned() ? t.box[2] * sums_cell : t.phases[1].count() * sizes[2] * t.problem.out_channels;
  Part part;
  Staged staged;
  Region held;         ///< what is staged
  CellRange planes{};  ///< and of which planes
  std::vector<Tap> taps;
  TapRun along_axis[3];           ///< the taps at hand, along each axis
  const float* starts = nullptr;  ///< of a register tile's channels
  PhaseProduct product;
  ReadAhead ahead;
};

/// Why a box's input cannot be staged at once.
std::string at_once_refusal(const Problem& problem, const char* family, Index lanes) {
  Plan plan;
  plan.family = family;
  const Tiling tiling(problem, plan, lanes);
  if (tiling.parts > 1 || tiling.taps_w_first) {
    return "it needs sums of one part, and more than one output channel a group";
  }
  return {};
}

}  // namespace

std::string straight_refusal(const Problem& problem, Index lanes) {
  if (element_size(problem.type) != sizeof(float)) return "it writes float32 alone";
  if (problem.layout != Layout::channels_last) return "it needs channels last";
  if (problem.out_channels_per_group() % lanes != 0) {
    return "it needs groups whose output channels are whole vectors of " + std::to_string(lanes);
  }
  return at_once_refusal(problem, "straight", lanes);
}

std::string turned_refusal(const Problem& problem, Index lanes) {
  if (problem.layout != Layout::channels_first) return "it needs channels first";
  if (problem.axes[1].stride * problem.axes[2].stride > most_phases) {
    return "it needs at most " + std::to_string(most_phases) + " phases along h and w";
  }
  return at_once_refusal(problem, "turned", lanes);
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
