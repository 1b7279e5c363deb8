#include "cpu/worker.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "cpu/stage.h"
#include "cpu/taps.h"
#include "cpu/writer.h"
#include "element.h"

namespace phaseconv::cpu {
namespace {

constexpr Index tap_capacity = 64;  ///< taps whose places are worked out at a time

/// Memory of this thread, kept from call to call: asking for it each time would cost a page fault
/// every 4 KiB.
float* scratch(Index floats) {
  constexpr auto alignment = std::align_val_t{64};
  struct Delete {
    void operator()(float* memory) const { ::operator delete(memory, alignment); }
  };
  thread_local std::unique_ptr<float, Delete> memory;
  thread_local Index size = 0;
  if (size < floats) {
    memory.reset();
    size = 0;
    const auto bytes = static_cast<std::size_t>(floats) * sizeof(float);
    memory.reset(static_cast<float*>(::operator new(bytes, alignment)));
    size = floats;
  }
  return memory.get();
}

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
        run_buffer(scratch(run_capacity + t.sums_floats() + t.staged_floats())),
        sums(run_buffer + run_capacity),
        staged_input(sums + t.sums_floats()),
        writer(tiling, kernels, output, run_buffer) {}

  void run(Index task) {
    find(task);
    for (cell_d = cell[0]; cell_d < cell[0] + cells[0]; ++cell_d) {
      for (Index rd = 0; rd < t.phases[0].count(); ++rd) {
        o_d = t.phases[0].output(cell_d, rd);
        if (o_d < 0 || o_d >= sizes[0]) continue;
        for (phase[0] = 0; phase[0] < t.phases[1].count(); phase[0] += t.phase_block[0]) {
          for (phase[1] = 0; phase[1] < t.phases[2].count(); phase[1] += t.phase_block[1]) {
            for (std::size_t a : {0u, 1u}) {
              phases[a] = std::min(t.phase_block[a], t.phases[a + 1].count() - phase[a]);
            }
            start();
            accumulate(taps_of(t.phases[0], rd));
            write();
          }
        }
      }
    }
  }

  void finish() { writer.finish(); }

 private:
  using Triple = std::array<Index, 3>;

  /// Where task number `index` lies. Neighbouring tasks share their input.
  void find(Index index) {
    const auto next = [&index](Index count) {
      const Index at = index % count;
      index /= count;
      return at;
    };
    channel = next(t.blocks) * t.block;
    channels = std::min(t.block, t.channels - channel);
    for (std::size_t a : {2u, 1u, 0u}) {
      const Index at = next(t.boxes[a]) * t.box[a];
      cell[a] = t.phases[a].cell_begin() + at;
      cells[a] = std::min(t.box[a], t.phases[a].cells() - at);
    }
    group = next(t.groups);
    n = index;
    row_pitch = staged_row(t, cell[2], cells[2]);
    staged_part = {};
  }

  /// The sums of phases phase[0] + rh and phase[1] + rw.
  float* sum(Index rh, Index rw) {
    return sums + (rh * t.phase_block[1] + rw) * t.rows * t.columns;
  }

  /// `rows` rows of cells, with what lies between them.
  Index flat(Index rows) const { return (rows - 1) * row_pitch + cells[2]; }

  /// Every sum starts as the bias, so that a phase without a tap needs nothing more.
  void start() {
    const Problem& p = t.problem;
    const Index first = group * t.channels + channel;
    const Index all = flat(cells[1]);
    for (Index rh = 0; rh < phases[0]; ++rh) {
      for (Index rw = 0; rw < phases[1]; ++rw) {
        float* const to = sum(rh, rw);
        if (t.lanes == Lanes::cells) {
          for (Index c = 0; c < channels; ++c) {
            const float value = p.bias ? load_value(b, p.type, first + c) : 0.0f;
            std::fill_n(to + c * t.columns, round_up(all, t.vector_lanes), value);
          }
        } else {
          for (Index c = 0; c < t.columns; ++c) {
            to[c] = p.bias && c < channels ? load_value(b, p.type, first + c) : 0.0f;
          }
          for (Index q = 1; q < all; ++q) std::copy_n(to, t.columns, to + q * t.columns);
        }
      }
    }
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
    Index first = group * t.depth;
    if (t.lanes == Lanes::groups) {
      first = channel;
      wanted.depth = channels;
    }
    staged = stage(t, k, x, n, first, cell, cells, wanted, missing, end, staged_input, run_buffer);
    staged_part = part;
    planes_end = end;
  }

  /// Adds a part to the sums of one phase along h: taps in the order d, h, w.
  void multiply(const Part& part, const TapRun& d, Index rh) {
    // The rows of cells whose phase is an output.
    row_begin = cell[1];
    row_end = cell[1] + cells[1];
    const auto at = [&](Index q) { return t.phases[1].output(q, phase[0] + rh); };
    while (row_begin < row_end && at(row_begin) < 0) ++row_begin;
    while (row_begin < row_end && at(row_end - 1) >= sizes[1]) --row_end;
    if (row_begin == row_end) return;
    const TapRun h = select(1, taps_of(t.phases[1], phase[0] + rh), part, row_begin, row_end);
    if (h.count == 0) return;
    for (Index rw = 0; rw < phases[1]; ++rw) {
      const TapRun w =
          select(2, taps_of(t.phases[2], phase[1] + rw), part, cell[2], cell[2] + cells[2]);
      if (w.count > 0) multiply(part, d, h, w, sum(rh, rw));
    }
  }

  void multiply(const Part& part, const TapRun& d, const TapRun& h, const TapRun& w, float* to) {
    take(part);
    const bool cells_in_columns = t.lanes == Lanes::cells;
    Tap taps[tap_capacity];  // weights count in taps of one tile, the staged input in positions
    Index count = 0;
    for (Index td = 0; td < d.count; ++td) {
      const Index tap_d = (d.tap + td * t.phases[0].tap_step) * t.problem.axes[1].kernel;
      const Index plane = cell_d - d.shift - td * t.phases[0].shift_step;
      const Index slot = plane % t.window[0] * staged.slot;
      for (Index th = 0; th < h.count; ++th) {
        const Index weight =
            (tap_d + h.tap + th * t.phases[1].tap_step) * t.problem.axes[2].kernel + w.tap;
        const Index shift = h.shift + th * t.phases[1].shift_step;
        const Index position = slot +
                               (row_begin - cell[1] + part.shift_end[1] - 1 - shift) * row_pitch +
                               part.shift_end[2] - 1 - w.shift;
        for (Index tw = 0; tw < w.count; ++tw) {
          Tap& tap = taps[count++];
          const Index there = weight + tw * t.phases[2].tap_step;
          const Index here = position - tw * t.phases[2].shift_step;
          tap = cells_in_columns ? Tap{there, here} : Tap{here, there};
          if (count < tap_capacity) continue;
          multiply_tiles(part, taps, count, to);
          count = 0;
        }
      }
    }
    if (count > 0) multiply_tiles(part, taps, count, to);
  }

  void multiply_tiles(const Part& part, const Tap* taps, Index count, float* to) {
    const bool cells_in_columns = t.lanes == Lanes::cells;
    const Index flat_begin = (row_begin - cell[1]) * row_pitch;
    const Index flat_count = flat(row_end - row_begin);
    const Index rows = cells_in_columns ? channels : flat_count;
    const Index vectors = ceil_div(cells_in_columns ? flat_count : channels, t.vector_lanes);
    const Index whole_rows = rows / t.row_tile * t.row_tile;
    const Index whole_vectors = vectors / t.vector_tile * t.vector_tile;

    Product p;
    p.taps = taps;
    p.tap_count = count;
    p.sums_row = t.columns;
    p.depth = t.lanes == Lanes::groups ? 1 : part.depth;
    to += cells_in_columns ? flat_begin : flat_begin * t.columns;
    // Tiles along the rows, the smaller operand, for each vector tile: the larger one stays near.
    for (Index v = 0; v < vectors; v += t.vector_tile) {
      const Index tile_vectors = std::min(t.vector_tile, vectors - v);
      if (rows <= t.row_tile && v == 0 && whole_vectors > 0) {
        // There is one tile of rows: the vector tiles in one go.
        tile(p, part, to, 0, rows, 0, t.vector_tile, whole_vectors / t.vector_tile, true);
        v = whole_vectors - t.vector_tile;
        continue;
      }
      if (whole_rows > 0) {
        tile(p, part, to, 0, t.row_tile, v, tile_vectors, whole_rows / t.row_tile, false);
      }
      if (whole_rows < rows) {
        tile(p, part, to, whole_rows, rows - whole_rows, v, tile_vectors, 1, false);
      }
    }
  }

  /// Multiplies `repeats` register tiles, the first one at row `row` and vector `vector`, the next
  /// ones beside it along the vectors or along the rows.
  void tile(Product& p, const Part& part, float* to, Index row, Index rows, Index vector,
            Index vectors, Index repeats, bool along_vectors) {
    const bool cells_in_columns = t.lanes == Lanes::cells;
    const Index column = vector * t.vector_lanes;
    const Index next_row = along_vectors ? 0 : rows;
    const Index next_column = along_vectors ? vectors * t.vector_lanes : 0;
    const Index first = channel + (cells_in_columns ? row : column);
    const Index width = t.weight_width(first);
    const Index weight_step = t.problem.kernel_positions() * t.depth;  // for one more channel
    const float* tile_weights = weights + t.weight_offset(group, first) + part.depth_begin * width;
    p.sums = to + row * t.columns + column;
    p.repeats = repeats;
    p.sums_repeat = next_row * t.columns + next_column;
    if (cells_in_columns) {
      p.scalars = tile_weights;
      p.scalar_tap = t.depth * width;
      p.scalar_row = 1;
      p.scalar_next = width;
      p.scalar_repeat = next_row * weight_step;
      p.vectors = staged.data + column;
      p.vector_tap = 1;
      p.vector_next = staged.channel_step;
      p.vector_repeat = next_column;
    } else {
      const Index elementwise = t.lanes == Lanes::groups ? 1 : 0;
      p.scalars = staged.data + row * staged.position_step + elementwise * column;
      p.scalar_tap = staged.position_step;
      p.scalar_row = staged.position_step;
      p.scalar_next = 1;
      p.scalar_repeat = next_row * staged.position_step + elementwise * next_column;
      p.vectors = tile_weights;
      p.vector_tap = t.depth * width;
      p.vector_next = width;
      p.vector_repeat = next_column * weight_step;
    }
    if (finite || staged.inside) {
      const auto& table = t.lanes == Lanes::groups ? k.multiply_elementwise : k.multiply;
      table[rows - 1][vectors - 1](p);
      return;
    }
    for (Index n_repeat = 0; n_repeat < repeats; ++n_repeat) {
      multiply_inside(p, rows, vectors * t.vector_lanes, row + n_repeat * next_row,
                      column + n_repeat * next_column);
      p.scalars += p.scalar_repeat;
      p.vectors += p.vector_repeat;
      p.sums += p.sums_repeat;
    }
  }

  /// For weights with Inf or NaN at the ends of the input: leaves out what lies outside of it.
  void multiply_inside(const Product& p, Index rows, Index columns, Index row, Index column) const {
    const bool cells_in_columns = t.lanes == Lanes::cells;
    for (Index tap = 0; tap < p.tap_count; ++tap) {
      const float* scalars = p.scalars + p.taps[tap].scalar * p.scalar_tap;
      const float* vectors = p.vectors + p.taps[tap].vector * p.vector_tap;
      for (Index a = 0; a < rows; ++a) {
        for (Index c = 0; c < columns; ++c) {
          if (!staged.holds(cells_in_columns ? p.taps[tap].vector + column + c
                                             : p.taps[tap].scalar + row + a)) {
            continue;
          }
          const Index elementwise = t.lanes == Lanes::groups ? c : 0;
          float& sum = p.sums[a * p.sums_row + c];
          for (Index i = 0; i < p.depth; ++i) {
            sum += scalars[a * p.scalar_row + i * p.scalar_next + elementwise] *
                   vectors[i * p.vector_next + c];
          }
        }
      }
    }
  }

  void write() {
    const bool cells_in_columns = t.lanes == Lanes::cells;
    const Index channel_step = cells_in_columns ? t.columns : 1;
    const Index cell_step = cells_in_columns ? 1 : t.columns;
    const Index at_once = writer.by_channel() ? 1 : channels;
    OutputRow row;
    row.n = n;
    row.channels = at_once;
    row.cell = cell[2];
    row.cells = cells[2];
    row.phase = phase[1];
    row.phases = phases[1];
    for (Index c = 0; c < channels; c += at_once) {
      row.channel = group * t.channels + channel + c;
      for (Index q = 0; q < cells[1]; ++q) {
        for (Index rh = 0; rh < phases[0]; ++rh) {
          const Index o_h = t.phases[1].output(cell[1] + q, phase[0] + rh);
          if (o_h < 0 || o_h >= sizes[1]) continue;
          row.sums = sum(rh, 0) + c * channel_step + q * row_pitch * cell_step;
          row.line = o_d * sizes[1] + o_h;
          writer.write(row);
        }
      }
    }
  }

  const Tiling& t;
  const Kernels& k;
  const std::byte* x;
  const float* weights;
  bool finite;
  const void* b;
  float *run_buffer, *sums, *staged_input;
  Writer writer;
  const Index sizes[3] = {t.problem.axes[0].output(), t.problem.axes[1].output(),
                          t.problem.axes[2].output()};

  // The task at hand.
  Index n, group;
  Index channel, channels;  ///< of the group
  Triple cell, cells;
  Index row_pitch;  ///< positions from one row of cells to the next
  // Of it, what the sums hold now.
  Index cell_d, o_d;          ///< along d
  Index phase[2], phases[2];  ///< along h and w
  Index row_begin, row_end;   ///< rows of cells of one phase along h
  Part staged_part;           ///< what is staged; of it, input planes up to planes_end
  Index planes_end = 0;
  Staged staged;
};

}  // namespace

void run_tasks(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
               const void* bias, void* output, Index begin, Index end) {
  Worker worker(tiling, kernels, input, packed, bias, output);
  for (Index task = begin; task < end; ++task) worker.run(task);
  worker.finish();
}

}  // namespace phaseconv::cpu
