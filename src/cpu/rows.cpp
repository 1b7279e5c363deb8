#include "cpu/rows.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "cpu/read_ahead.h"
#include "cpu/scratch.h"
#include "cpu/stage.h"
#include "cpu/taps.h"
#include "cpu/writer.h"

namespace phaseconv::cpu {
namespace {

class RowsWorker {
 public:
  RowsWorker(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
             const void* bias, void* output)
      : t(tiling),
        k(kernels),
        x(static_cast<const std::byte*>(input)),
        weights(reinterpret_cast<const float*>(static_cast<const WeightHeader*>(packed) + 1)),
        finite(static_cast<const WeightHeader*>(packed)->finite),
        b(bias),
        memory(tiling),
        writer(tiling, kernels, output, memory.run),
        shared(shared_taps(t.phases[2])),
        more_cells(t.phases[2].cell_of(1) - t.phases[2].cell_begin()),
        known_taps(static_cast<std::size_t>(t.phases[0].count() * t.slots)) {
    part.depth = t.depth;
    part.shift_end = t.window;
    product.depth = t.depth;
    product.depth_at_once = t.depth_at_once;
    product.to_row = t.rows_pitch();
  }

  void run(const Task& task) {
    memory.start(t, task, b);
    divide(task);
    Index planes_end = 0;  // of the input, staged for this task
    for (Index d = task.cell[0]; d < task.cell[0] + task.cells[0]; ++d) {
      take(task, d, planes_end);
      for (Index rd = 0; rd < t.phases[0].count(); ++rd) {
        const Index o_d = t.phases[0].output(d, rd);
        if (o_d >= 0 && o_d < sizes[0]) plane(task, d, rd);
      }
    }
  }

  void finish() { writer.finish(); }

 private:
  /// Channels of one register tile.
  struct Channels {
    const float* weights;
    Index width;
    const float* starts;
    Index count;
    float* sums;  ///< of the first one
  };

  /// Makes sure that the input of a plane of cells is staged.
  void take(const Task& task, Index d, Index& planes_end) {
    Region region{task.n, task.group * t.depth, task.cell, task.cells};
    region.cells[2] += more_cells;
    const Index end = std::min(d + 1, t.problem.axes[0].input);
    const Index begin = std::max({d - t.window[0] + 1, planes_end, Index{0}});
    if (begin < end || d == task.cell[0]) {
      staged = stage(t, k, x, region, part, begin, end, memory.staged, memory.run);
      product.vector_next = staged.channel_step;
      product.vector_line = staged.row;
    }
    if (end < t.problem.axes[0].input && d + 1 < task.cell[0] + task.cells[0]) {
      const Index work = task.channels * t.problem.kernel_positions() * t.depth * task.cells[1] *
                         ceil_div(task.cells[2], t.vector_lanes);
      ahead.expect(plane_of_input(t, x, region, part, end), work);
    }
    planes_end = end;
  }

  /// One plane of outputs.
  void plane(const Task& task, Index d, Index rd) {
    const auto clip = [&](Index at, std::size_t a) { return std::clamp(at, Index{0}, sizes[a]); };
    const Index row_begin = clip(t.phases[1].output(task.cell[1], 0), 1);
    const Index row_end = clip(t.phases[1].output(task.cell[1] + task.cells[1], 0), 1);
    const Index begin = 2 * (task.cell[2] - t.phases[2].cell_begin());
    const Index end = clip(begin + 2 * task.cells[2], 2);
    const Index o_d = t.phases[0].output(d, rd);
    const Index channel = task.group * t.channels + task.channel;
    writer.expect({task.n, channel, task.channels, o_d, row_begin, row_end, begin, end});

    use_taps(d, rd);
    const Index width = end - begin;
    product.to_line = t.phases[1].count() * width;
    for (Index rh = 0; rh < t.phases[1].count(); ++rh) {
      const CellRange cells =
          with_output(t.phases[1], rh, task.cell[1], task.cell[1] + task.cells[1]);
      // One tile of channels goes along all rows, several share the inputs of each row.
      const Index lines = channels.size() > 1 ? 1 : cells.end - cells.begin;
      for (Index h = cells.begin; h < cells.end; h += lines) {
        const Index to = (t.phases[1].output(h, rh) - row_begin) * width;
        lines_of(rh, h - task.cell[1], lines, to, width);
      }
    }

    const Index rows = row_end - row_begin;
    const bool joined = end - begin == sizes[2];  // one row after the other in the output too
    const Index count = (end - begin) * (joined ? rows : 1);
    for (Index c = 0; c < task.channels; ++c) {
      const Index first = task.n * t.problem.out_channels + channel + c;
      for (Index r = 0; r < (joined ? 1 : rows); ++r) {
        writer.write(memory.sums + c * t.rows_pitch() + r * count, count,
                     ((first * sizes[0] + o_d) * sizes[1] + row_begin + r) * sizes[2] + begin);
      }
    }
  }

  /// Divides the channels of a task and a row of its cells into register tiles.
  void divide(const Task& task) {
    channels.clear();
    for (Index c = 0; c < task.channels; c += t.row_tile) {
      const Index first = task.channel + c;
      channels.push_back({weights + t.weight_offset(task.group, first), t.weight_width(first),
                          memory.starts + c, std::min(t.row_tile, task.channels - c),
                          memory.sums + c * t.rows_pitch()});
    }
    shares = equal_shares(ceil_div(task.cells[2], t.vector_lanes), t.vector_tile);
  }

  /// The taps of a plane of outputs, for each phase along h, and what they follow from: planes of a
  /// box have few different ones.
  struct PlaneTaps {
    TapRun along_d;
    Index row = -1;  ///< Staged::row
    std::vector<RowTap> taps;
    std::vector<std::size_t> begin;  ///< of each phase along h, and the end
  };

  void use_taps(Index d, Index rd) {
    const TapRun along_d = reaching(t.phases[0], taps_of(t.phases[0], rd), d, d + 1);
    PlaneTaps& found = known_taps[static_cast<std::size_t>(rd * t.slots + d % t.slots)];
    if (found.row != staged.row || found.along_d != along_d) {
      found.along_d = along_d;
      found.row = staged.row;
      find_taps(d, found);
    }
    plane_taps = &found;
  }

  /// Taps beyond the ends of the rows and columns read zeros.
  void find_taps(Index d, PlaneTaps& found) const {
    const TapRun& along_d = found.along_d;
    const auto count = static_cast<Index>(shared.size());
    // In the order w, d, h or d, h, w.
    const Index outer = t.taps_w_first ? count : 1;
    const Index inner = t.taps_w_first ? 1 : count;
    found.taps.clear();
    found.begin.clear();
    for (Index rh = 0; rh < t.phases[1].count(); ++rh) {
      found.begin.push_back(found.taps.size());
      const TapRun along_h = taps_of(t.phases[1], rh);
      for (Index first = 0; first < outer; ++first) {
        for (Index i = 0; i < along_d.count; ++i) {
          const Index plane = d - along_d.shift - i * t.phases[0].shift_step;
          const Index tap_d = along_d.tap + i * t.phases[0].tap_step;
          for (Index j = 0; j < along_h.count; ++j) {
            const Index y = t.window[1] - 1 - along_h.shift - j * t.phases[1].shift_step;
            const Index tap_h =
                tap_d * t.problem.axes[1].kernel + along_h.tap + j * t.phases[1].tap_step;
            const Index position = plane % t.slots * staged.slot + y * staged.row;
            for (Index l = first; l < first + inner; ++l) {
              found.taps.push_back(shared_tap(position, tap_h, l));
            }
          }
        }
      }
    }
    found.begin.push_back(found.taps.size());
  }

  RowTap shared_tap(Index position, Index tap_h, Index along_w) const {
    const SharedTap& from = shared[static_cast<std::size_t>(along_w)];
    RowTap tap;
    tap.vector = position + from.offset;
    for (std::size_t m : {0u, 1u}) {
      if (from.tap[m] != no_tap) {
        tap.weight[m] = (tap_h * t.problem.axes[2].kernel + from.tap[m]) * t.depth;
      }
    }
    return tap;
  }

  /// Rows of all channels, with the taps of one phase along h.
  void lines_of(Index phase, Index cell, Index lines, Index to, Index width) {
    const auto at = static_cast<std::size_t>(phase);
    const std::size_t first_tap = plane_taps->begin[at];
    product.taps = plane_taps->taps.data() + first_tap;
    product.tap_count = static_cast<Index>(plane_taps->begin[at + 1] - first_tap);
    for (const Share& share : shares) {
      if (share.count == 0) continue;
      const Index first = share.first * t.vector_lanes;
      const Index position = cell * staged.row + first;
      product.room = width - 2 * first;
      product.repeats = share.count;
      product.vector_repeat = share.size * t.vector_lanes;
      product.to_repeat = 2 * product.vector_repeat;
      for (const Channels& some : channels) {
        product.weights = some.weights;
        product.width = some.width;
        product.starts = some.starts;
        float* const sums = some.sums + to + 2 * first;
        if (!t.line_rows()) {
          multiply(position, sums, lines, some.count, share.size);
          continue;
        }
        for (const Share& down : equal_shares(lines, t.row_tile)) {
          if (down.count == 0) continue;
          multiply(position + down.first * product.vector_line, sums + down.first * product.to_line,
                   down.size * down.count, down.size, share.size);
        }
      }
    }
  }

  /// `lines` lines in register tiles of so many rows, which are channels or lines, and vectors.
  void multiply(Index position, float* to, Index lines, Index rows, Index vectors) {
    const auto& table = t.line_rows()  ? k.multiply_lines
                        : t.depth == 1 ? k.multiply_rows_single
                                       : k.multiply_rows;
    const Index rows_of_line = t.line_rows() ? 1 : rows;
    product.vectors = staged.data + position;
    product.to = to;
    product.lines = lines;
    if (finite || staged.inside) {
      table[rows - 1][vectors - 1](product);
    } else {
      multiply_inside(rows_of_line, position);
    }
    ahead.worked(2 * rows_of_line * vectors * product.repeats * lines * product.tap_count *
                 t.depth);
  }

  /// For weights with Inf or NaN at the ends of the input: leaves out what lies outside of it.
  void multiply_inside(Index rows, Index position) const {
    const Index count = std::min(product.repeats * product.to_repeat, product.room);
    for (Index line = 0; line < product.lines; ++line, position += product.vector_line) {
      for (Index a = 0; a < rows; ++a) {
        float* const to = product.to + line * product.to_line + a * product.to_row;
        for (Index i = 0; i < count; ++i) to[i] = sum_inside(a, position + i / 2, i % 2);
      }
    }
  }

  /// One output, whose pair reads from a position on.
  float sum_inside(Index row, Index position, Index m) const {
    float sum = product.starts[row];
    for (Index begin = 0; begin < t.depth; begin += t.depth_at_once) {
      const Index end = std::min(begin + t.depth_at_once, t.depth);
      for (Index n = 0; n < product.tap_count; ++n) {
        const RowTap& tap = product.taps[n];
        if (tap.weight[m] == no_tap || !staged.holds(tap.vector + position)) continue;
        for (Index i = begin; i < end; ++i) {
          sum += product.weights[(tap.weight[m] + i) * product.width + row] *
                 staged.data[tap.vector + position + i * product.vector_next];
        }
      }
    }
    return sum;
  }

  const Tiling& t;
  const Kernels& k;
  const std::byte* x;
  const float* weights;
  const bool finite;
  const void* b;
  const Scratch memory;
  Writer writer;
  ReadAhead ahead;
  const std::vector<SharedTap> shared;
  const Index more_cells;  ///< that the second output of a pair reads from
  const Index sizes[3] = {t.problem.axes[0].output(), t.problem.axes[1].output(),
                          t.problem.axes[2].output()};
  Part part;
  Staged staged;
  std::vector<PlaneTaps> known_taps;  ///< for each phase along d and slot of a plane of cells
  const PlaneTaps* plane_taps = nullptr;
  RowProduct product;
  std::vector<Channels> channels;
  std::array<Share, 2> shares;  ///< of the vectors of a row
};

}  // namespace

std::vector<SharedTap> shared_taps(const Phases& w) {
  std::vector<SharedTap> all;
  for (Index m : {0, 1}) {
    const TapRun run = taps_of(w, (m + w.axis.padding) % 2);
    for (Index i = 0; i < run.count; ++i) {
      const Index shift = run.shift + i * w.shift_step;
      SharedTap shared{w.cell_of(m) - w.cell_begin() + w.max_shift() - shift, {no_tap, no_tap}};
      shared.tap[m] = run.tap + i * w.tap_step;
      const auto place = std::ranges::find_if(
          all, [&](const SharedTap& other) { return other.offset <= shared.offset; });
      if (place != all.end() && place->offset == shared.offset) {
        place->tap[m] = shared.tap[m];
      } else {
        all.insert(place, shared);
      }
    }
  }
  return all;
}

std::string rows_refusal(const Problem& problem) {
  if (problem.layout != Layout::channels_first) return "it needs channels first";
  if (problem.axes[2].stride != 2) return "it needs stride 2 along w";
  Plan plan;
  plan.family = "rows";
  if (Tiling(problem, plan, 1).parts > 1) return "it needs sums of one part";
  return {};
}

void run_rows(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
              const void* bias, void* output, Index begin, Index end) {
  RowsWorker worker(tiling, kernels, input, packed, bias, output);
  for (Index index = begin; index < end; ++index) worker.run(Task(tiling, index));
  worker.finish();
}

}  // namespace phaseconv::cpu
