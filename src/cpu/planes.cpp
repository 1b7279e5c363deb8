#include "cpu/planes.h"

#include <algorithm>
#include <cstddef>

#include "cpu/read_ahead.h"
#include "cpu/scratch.h"
#include "cpu/stage.h"
#include "cpu/taps.h"
#include "cpu/tiles.h"
#include "cpu/writer.h"

namespace phaseconv::cpu {
namespace {

/// Does one task after another. What they have in common is worked out once: a task can be short.
class Worker {
 public:
  Worker(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
         const void* bias, void* output)
      : t(tiling),
        k(kernels),
        x(static_cast<const std::byte*>(input)),
        weights(reinterpret_cast<const float*>(static_cast<const WeightHeader*>(packed) + 1)),
        finite(static_cast<const WeightHeader*>(packed)->finite),
        b(bias),
        memory(tiling),
        writer(tiling, kernels, output, memory.run) {}

  void run(Index task) {
    find(task);
    for (cell_d = cell[0]; cell_d < cell[0] + cells[0]; ++cell_d) {
      for (Index rd = 0; rd < t.phases[0].count(); ++rd) {
        o_d = t.phases[0].output(cell_d, rd);
        if (o_d < 0 || o_d >= sizes[0]) continue;
        for (Index c = 0; c < task_channels; c += t.sum_block) {
          channel = task_channel + c;
          channels = std::min(t.sum_block, task_channels - c);
          starts = memory.starts + c;
          compute(rd);
        }
      }
    }
  }

  void finish() { writer.finish(); }

 private:
  using Triple = std::array<Index, 3>;

  /// One phase along d of a plane, for the channels at hand.
  void compute(Index rd) {
    for (phase[0] = 0; phase[0] < t.phases[1].count(); phase[0] += t.phase_block[0]) {
      for (phase[1] = 0; phase[1] < t.phases[2].count(); phase[1] += t.phase_block[1]) {
        for (std::size_t a : {0u, 1u}) {
          phases[a] = std::min(t.phase_block[a], t.phases[a + 1].count() - phase[a]);
        }
        std::fill_n(memory.started, t.phase_block[0] * t.phase_block[1], false);
        expect_output();
        accumulate(taps_of(t.phases[0], rd));
        finish_sums();
        write();
      }
    }
  }

  /// Where a task lies.
  void find(Index index) {
    const Task task(t, index);
    n = task.n;
    group = task.group;
    task_channel = task.channel;
    task_channels = task.channels;
    cell = task.cell;
    cells = task.cells;
    row_pitch = staged_row(t, cell[2], cells[2]);
    staged_part = {};
    memory.start(t, task, b);
  }

  /// The sums of phases phase[0] + rh and phase[1] + rw.
  float* sum(Index rh, Index rw) {
    return memory.sums + (rh * t.phase_block[1] + rw) * t.rows * t.columns;
  }

  /// `rows` rows of cells, with what lies between them.
  Index flat(Index rows) const { return (rows - 1) * row_pitch + cells[2]; }

  /// A phase that no tap reaches is the bias alone.
  void finish_sums() {
    for (Index rh = 0; rh < phases[0]; ++rh) {
      for (Index rw = 0; rw < phases[1]; ++rw) {
        if (!memory.started[rh * t.phase_block[1] + rw]) start(sum(rh, rw));
      }
    }
  }

  void start(float* to) const {
    const Index all = flat(cells[1]);
    if (t.lanes == Lanes::cells) {
      for (Index c = 0; c < channels; ++c) {
        std::fill_n(to + c * t.columns, round_up(all, t.vector_lanes), starts[c]);
      }
    } else {
      for (Index q = 0; q < all; ++q) std::copy_n(starts, t.columns, to + q * t.columns);
    }
  }

  /// Vector multiply-adds for a plane of cells, or somewhat more.
  Index work_of_plane() const {
    const bool cells_in_columns = t.lanes == Lanes::cells;
    const Index all = flat(cells[1]);
    const Index vectors = ceil_div(cells_in_columns ? all : task_channels, t.vector_lanes);
    return t.problem.kernel_positions() * t.depth * vectors *
           (cells_in_columns ? task_channels : all);
  }

  void accumulate(const TapRun& d) {
    const Index shifts[3] = {t.phases[0].max_shift() + 1, t.phases[1].max_shift() + 1,
                             t.phases[2].max_shift() + 1};
    Part part;
    for (Index sd = 0; sd < shifts[0]; sd += t.window[0]) {
      for (Index sh = 0; sh < shifts[1]; sh += t.window[1]) {
        for (Index sw = 0; sw < shifts[2]; sw += t.window[2]) {
          part.shift_begin = {sd, sh, sw};
          part.shift_end = {sd + t.window[0], sh + t.window[1], sw + t.window[2]};
          const TapRun taps = select(0, d, part, cell_d, cell_d + 1);
          if (taps.count == 0) continue;
          for (Index i = 0; i < t.depth; i += t.part_depth) {
            part.depth_begin = i;
            part.depth = std::min(t.part_depth, t.depth - i);
            for (Index rh = 0; rh < phases[0]; ++rh) multiply(part, taps, rh);
          }
        }
      }
    }
  }

  TapRun select(std::size_t a, const TapRun& taps, const Part& part, Index begin, Index end) const {
    return reaching(t.phases[a], within(t.phases[a], taps, part.shift_begin[a], part.shift_end[a]),
                    begin, end);
  }

  /// Makes sure that a part's input for the plane of cells at hand is staged.
  void take(const Part& part) {
    const Index begin = std::max(cell_d - part.shift_end[0] + 1, Index{0});
    const Index end = std::min(cell_d - part.shift_begin[0] + 1, t.problem.axes[0].input);
    if (part == staged_part && planes_end >= end) return;
    const Index missing = part == staged_part ? std::max(begin, planes_end) : begin;
    Part wanted = part;
    Region region{n, group * t.depth, cell, cells};
    if (t.lanes == Lanes::groups) {
      region.channel = channel;
      wanted.depth = channels;
    }
    staged = stage(t, k, x, region, wanted, missing, end, memory.staged, memory.run);
    if (t.parts == 1 && end < t.problem.axes[0].input && cell_d + 1 < cell[0] + cells[0]) {
      ahead.expect(plane_of_input(t, x, region, wanted, end), work_of_plane());
    }
    staged_part = part;
    planes_end = end;
  }

  /// Adds a part to the sums of one phase along h.
  void multiply(const Part& part, const TapRun& d, Index rh) {
    in_rows = with_output(t.phases[1], phase[0] + rh, cell[1], cell[1] + cells[1]);
    if (in_rows.empty()) return;
    const TapRun h =
        select(1, taps_of(t.phases[1], phase[0] + rh), part, in_rows.begin, in_rows.end);
    if (h.count == 0) return;
    for (Index rw = 0; rw < phases[1]; rw += t.phase_rows() ? phases[1] : 1) {
      TapRun w = select(2, taps_of(t.phases[2], phase[1] + rw), part, cell[2], cell[2] + cells[2]);
      if (!t.phase_rows()) {
        multiply(part, d, h, w, rh, rw, 1);
        continue;
      }
      // Neighbouring phases have neighbouring taps with the same shifts, but for the last taps of
      // the kernel, which not all of them have.
      while (w.count > 0) {
        const Index rows = std::min(phases[1], t.problem.axes[2].kernel - w.tap);
        TapRun some = w;
        some.count = 1;
        while (some.count < w.count &&
               w.tap + some.count * t.phases[2].tap_step + rows <= t.problem.axes[2].kernel) {
          ++some.count;
        }
        multiply(part, d, h, some, rh, rw, rows);
        w.tap += some.count * t.phases[2].tap_step;
        w.shift += some.count * t.phases[2].shift_step;
        w.count -= some.count;
      }
    }
  }

  /// Adds these taps to the sums of one phase along w or, with phases in the rows, of `rows`
  /// phases.
  void multiply(const Part& part, const TapRun& d, const TapRun& h, const TapRun& w, Index rh,
                Index rw, Index rows) {
    if (w.count == 0) return;
    // Of a row, the cells whose phase is an output; but vectors of cells take them all.
    const bool cells_in_columns = t.lanes == Lanes::cells;
    CellRange in_row{cell[2], cell[2] + cells[2]};
    if (!cells_in_columns) {
      in_row = with_output(t.phases[2], phase[1] + rw, in_row.begin, in_row.end);
      if (in_row.empty()) return;
    }
    const Index begin = in_row.begin - cell[2];
    take(part);
    bool* const first_flag = memory.started + rh * t.phase_block[1] + rw;
    PhaseProduct product;
    product.staged = &staged;
    product.ahead = &ahead;
    product.weights = weights;
    product.finite = finite;
    product.group = group;
    product.channel = channel;
    product.channels = channels;
    product.depth_begin = part.depth_begin;
    product.depth = part.depth;
    if (cells_in_columns) {
      product.cells = flat(in_rows.end - in_rows.begin);
    } else {
      product.cells = in_row.end - in_row.begin;
      product.stretches = in_rows.end - in_rows.begin;
      product.stretch_step = row_pitch;
      product.sums_stretch = row_pitch * t.columns;
    }
    product.phases = rows;
    const Index first_cell = (in_rows.begin - cell[1]) * row_pitch + begin;
    product.sums = sum(rh, rw) + first_cell * (cells_in_columns ? 1 : t.columns);
    product.sums_row = t.phase_rows() ? t.rows * t.columns : t.columns;
    Tap taps[tap_capacity];  // weights count in taps of one tile, the staged input in positions
    Index count = 0;
    const auto flush = [&] {
      product.taps = taps;
      product.tap_count = count;
      product.starts = *first_flag ? nullptr : starts;
      multiply_tiles(t, k, product);
      std::fill_n(first_flag, t.phase_rows() ? rows : 1, true);
      count = 0;
    };
    // In the order w, d, h or d, h, w.
    const Index outer = t.taps_w_first ? w.count : 1;
    const Index inner = t.taps_w_first ? 1 : w.count;
    for (Index first_w = 0; first_w < outer; ++first_w) {
      for (Index td = 0; td < d.count; ++td) {
        const Index tap_d = (d.tap + td * t.phases[0].tap_step) * t.problem.axes[1].kernel;
        const Index plane = cell_d - d.shift - td * t.phases[0].shift_step;
        const Index slot = plane % t.slots * staged.slot;
        for (Index th = 0; th < h.count; ++th) {
          const Index weight =
              (tap_d + h.tap + th * t.phases[1].tap_step) * t.problem.axes[2].kernel + w.tap;
          const Index shift = h.shift + th * t.phases[1].shift_step;
          const Index position =
              slot + (in_rows.begin - cell[1] + part.shift_end[1] - 1 - shift) * row_pitch +
              part.shift_end[2] - 1 - w.shift + begin;
          for (Index tw = first_w; tw < first_w + inner; ++tw) {
            const Index there = weight + tw * t.phases[2].tap_step;
            const Index here = position - tw * t.phases[2].shift_step;
            taps[count++] = cells_in_columns ? Tap{there, here} : Tap{here, there};
            if (count == tap_capacity) flush();
          }
        }
      }
    }
    if (count > 0) flush();
  }

  /// Announces what `write` will write.
  void expect_output() const {
    const auto first = [this](std::size_t a) {
      return std::max(t.phases[a].output(cell[a], phase[a - 1]), Index{0});
    };
    const auto end = [&](std::size_t a) {
      const Index last =
          t.phases[a].output(cell[a] + cells[a] - 1, phase[a - 1] + phases[a - 1] - 1);
      return std::clamp(last + 1, first(a), sizes[a]);
    };
    OutputBlock block;
    block.n = n;
    block.channel = group * t.channels + channel;
    block.channels = channels;
    block.plane = o_d;
    block.row_begin = first(1);
    block.row_end = end(1);
    block.begin = first(2);
    block.end = end(2);
    writer.expect(block);
  }

  void write() {
    const Index phase_step = t.rows * t.columns;
    if (!t.output_first) {
      const bool cells_in_columns = t.lanes == Lanes::cells;
      write_rows(memory.sums, 0, channels, phase_step, cells_in_columns ? t.columns : 1,
                 cells_in_columns ? 1 : t.columns);
    } else if (t.lanes == Lanes::cells) {
      for (Index c = 0; c < channels; ++c)
        write_rows(memory.sums + c * t.columns, c, 1, phase_step, t.columns, 1);
    } else {
      // A vector of channels at a time, turned so that cells are contiguous.
      const Index all = flat(cells[1]);
      const Index pitch = round_up(all, t.vector_lanes);
      for (Index c = 0; c < channels; c += t.vector_lanes) {
        const Index some = std::min(t.vector_lanes, channels - c);
        for (Index rh = 0; rh < phases[0]; ++rh) {
          for (Index rw = 0; rw < phases[1]; ++rw) {
            k.transpose(sum(rh, rw) + c, all, some, t.columns,
                        memory.turned + (rh * t.phase_block[1] + rw) * t.vector_lanes * pitch,
                        pitch);
          }
        }
        for (Index i = 0; i < some; ++i) {
          write_rows(memory.turned + i * pitch, c + i, 1, t.vector_lanes * pitch, pitch, 1);
        }
      }
    }
  }

  /// Writes channels [first, first + count) of the task; the sums of the first are at `from`.
  void write_rows(const float* from, Index first, Index count, Index phase_step, Index channel_step,
                  Index cell_step) {
    OutputRow row;
    row.phase_step = phase_step;
    row.channel_step = channel_step;
    row.cell_step = cell_step;
    row.n = n;
    row.channel = group * t.channels + channel + first;
    row.channels = count;
    row.cell = cell[2];
    row.cells = cells[2];
    row.phase = phase[1];
    row.phases = phases[1];
    for (Index q = 0; q < cells[1]; ++q) {
      for (Index rh = 0; rh < phases[0]; ++rh) {
        const Index o_h = t.phases[1].output(cell[1] + q, phase[0] + rh);
        if (o_h < 0 || o_h >= sizes[1]) continue;
        row.sums = from + rh * t.phase_block[1] * phase_step + q * row_pitch * cell_step;
        row.line = o_d * sizes[1] + o_h;
        writer.write(row);
      }
    }
  }

  const Tiling& t;
  const Kernels& k;
  const std::byte* x;
  const float* weights;
  bool finite;
  const void* b;
  const Scratch memory;
  Writer writer;
  const Index sizes[3] = {t.problem.axes[0].output(), t.problem.axes[1].output(),
                          t.problem.axes[2].output()};

  // The task at hand.
  Index n, group;
  Index task_channel, task_channels;  ///< of the group
  Triple cell, cells;
  Index row_pitch;  ///< positions from one row of cells to the next
  // Of it, what the sums hold now.
  Index channel, channels;    ///< of the group
  const float* starts;        ///< of these
  Index cell_d, o_d;          ///< along d
  Index phase[2], phases[2];  ///< along h and w
  CellRange in_rows;          ///< of one phase along h
  Part staged_part;           ///< what is staged; of it, input planes up to planes_end
  Index planes_end = 0;
  Staged staged;
  ReadAhead ahead;
};

}  // namespace

void run_planes(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
                const void* bias, void* output, Index begin, Index end) {
  Worker worker(tiling, kernels, input, packed, bias, output);
  for (Index task = begin; task < end; ++task) worker.run(task);
  worker.finish();
}

}  // namespace phaseconv::cpu
