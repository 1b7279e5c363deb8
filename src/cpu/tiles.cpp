#include "cpu/tiles.h"

#include <algorithm>
#include <array>

namespace phaseconv::cpu {
namespace {

class Tiles {
 public:
  Tiles(const Tiling& tiling, const Kernels& kernels, const PhaseProduct& product)
      : t(tiling), k(kernels), w(product) {}

  void run() const {
    const Index rows = !cells_in_columns ? w.cells : t.phase_rows() ? w.phases : w.channels;
    const Index vectors = ceil_div(cells_in_columns ? w.cells : w.channels, t.vector_lanes);
    const std::array<Share, 2> shares = row_shares(rows);
    const Index whole_vectors = vectors / t.vector_tile * t.vector_tile;

    Product p;
    p.taps = w.taps;
    p.tap_count = w.tap_count;
    p.sums_row = w.sums_row;
    p.stream = w.stream;
    p.turned_pitch = w.turned_pitch;
    p.start_along = !cells_in_columns;
    p.start_row = cells_in_columns && !t.phase_rows() ? 1 : 0;
    const Index depth = t.lanes == Lanes::groups ? 1 : w.depth;
    for (Index i = 0; i < depth; i += t.depth_at_once) {
      p.depth = std::min(t.depth_at_once, depth - i);
      p.start = i == 0 ? w.starts : nullptr;
      // Tiles along the rows, the smaller operand, for each vector tile: the larger one stays near.
      for (Index v = 0; v < vectors; v += t.vector_tile) {
        const Index some = std::min(t.vector_tile, vectors - v);
        if (rows <= row_tile && w.stretches == 1 && v == 0 && whole_vectors > 0) {
          // There is one tile of rows: the vector tiles in one go.
          tile(p, i, 0, 0, rows, 0, t.vector_tile, whole_vectors / t.vector_tile, true);
          v = whole_vectors - t.vector_tile;
          continue;
        }
        for (Index n = 0; n < w.stretches; ++n) {
          for (const Share& share : shares) {
            if (share.count == 0) continue;
            tile(p, i, n, share.first, share.size, v, some, share.count, false);
          }
        }
      }
    }
  }

 private:
  /// Whether a tile's rows are cells whose inputs lie side by side.
  bool adjacent() const { return t.staged_planes && !cells_in_columns && w.cell_step == 1; }

  Multiply kernel(Index rows, Index vectors, const Product& p) const {
    const auto a = static_cast<std::size_t>(rows - 1), b = static_cast<std::size_t>(vectors - 1);
    return t.lanes == Lanes::groups             ? k.multiply_elementwise[a][b]
           : adjacent()                         ? k.multiply_adjacent[a][b]
           : t.depth > 1 || p.turned != nullptr ? k.multiply[a][b]
                                                : k.multiply_single[a][b];
  }

  /// Cells may be divided at will, weights lie in tiles of a certain size.
  std::array<Share, 2> row_shares(Index rows) const {
    if (!cells_in_columns) return equal_shares(rows, row_tile);
    const Index whole = rows / t.row_tile;
    return {
        {{0, t.row_tile, whole}, {whole * t.row_tile, rows % t.row_tile, rows % t.row_tile > 0}}};
  }

  /// Multiplies from input channel `i` on `repeats` register tiles, the first one at row `row` of a
  /// stretch and vector `vector`, the next ones beside it along the vectors or along the rows.
  void tile(Product p, Index i, Index stretch, Index row, Index rows, Index vector, Index vectors,
            Index repeats, bool along_vectors) const {
    const Index column = vector * t.vector_lanes;
    const Index next_row = along_vectors ? 0 : rows;
    const Index next_column = along_vectors ? vectors * t.vector_lanes : 0;
    const Index first = w.channel + (t.phase_rows() ? 0 : cells_in_columns ? row : column);
    const Index width = t.weight_width(first);
    const Index weight_step = t.problem.kernel_positions() * t.depth;  // for one more channel
    const float* tile_weights =
        w.weights + t.weight_offset(w.group, first) + (w.depth_begin + i) * width;
    p.sums = w.sums + stretch * w.sums_stretch + row * p.sums_row + column;
    const float* input = w.staged->data + (w.staged_begin + i) * w.staged->channel_step;
    p.repeats = repeats;
    p.sums_repeat = next_row * p.sums_row + next_column;
    if (w.turned != nullptr && i + p.depth == w.depth) {
      p.turned = w.turned + stretch * w.turned_stretch + column * w.turned_pitch + row;
      p.turned_repeat = next_column * w.turned_pitch + next_row;
    }
    if (p.start != nullptr) {
      p.start += cells_in_columns ? row * p.start_row : column;
      p.start_repeat = cells_in_columns ? next_row * p.start_row : next_column;
    }
    if (cells_in_columns) {
      // Rows are channels, or else phases, and then taps one after the other.
      p.scalars = tile_weights + (t.phase_rows() ? row * t.depth : 0);
      p.scalar_tap = t.depth * width;
      p.scalar_row = t.phase_rows() ? t.depth : 1;
      p.scalar_next = width;
      p.scalar_repeat = next_row * (t.phase_rows() ? t.depth : weight_step);
      p.vectors = input + column;
      p.vector_tap = 1;
      p.vector_next = w.staged->channel_step;
      p.vector_repeat = next_column;
    } else {
      const Index elementwise = t.lanes == Lanes::groups ? 1 : 0;
      const Index position = stretch * w.stretch_step + row * w.cell_step;
      p.scalars = input + position * w.staged->position_step + elementwise * column;
      p.scalar_tap = w.staged->position_step;
      p.scalar_row = w.cell_step * w.staged->position_step;
      p.scalar_next = w.staged->channel_step;
      p.scalar_repeat = next_row * p.scalar_row + elementwise * next_column;
      p.vectors = tile_weights;
      p.vector_tap = t.depth * width;
      p.vector_next = width;
      p.vector_repeat = next_column * weight_step;
    }
    if (w.finite || w.staged->inside) {
      kernel(rows, vectors, p)(p);
      w.ahead->worked(repeats * rows * vectors * p.tap_count * p.depth);
      return;
    }
    for (Index r = 0; r < repeats; ++r) {
      multiply_inside(p, rows, vectors * t.vector_lanes,
                      stretch * w.stretch_step + (row + r * next_row) * w.cell_step,
                      column + r * next_column);
      p.scalars += p.scalar_repeat;
      p.vectors += p.vector_repeat;
      p.sums += p.sums_repeat;
      p.start += p.start_repeat;
      p.turned += p.turned_repeat;
    }
  }

  /// For weights with Inf or NaN at the ends of the input: leaves out what lies outside of it.
  void multiply_inside(const Product& p, Index rows, Index columns, Index position,
                       Index column) const {
    for (Index a = 0; p.start != nullptr && a < rows; ++a) {
      for (Index c = 0; c < columns; ++c) {
        p.sums[a * p.sums_row + c] = p.start[p.start_along ? c : a * p.start_row];
      }
    }
    for (Index tap = 0; tap < p.tap_count; ++tap) {
      const float* scalars = p.scalars + p.taps[tap].scalar * p.scalar_tap;
      const float* vectors = p.vectors + p.taps[tap].vector * p.vector_tap;
      for (Index a = 0; a < rows; ++a) {
        for (Index c = 0; c < columns; ++c) {
          if (!w.staged->holds(cells_in_columns
                                   ? p.taps[tap].vector + column + c
                                   : p.taps[tap].scalar + position + a * w.cell_step)) {
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
    for (Index a = 0; p.turned != nullptr && a < rows; ++a) {
      for (Index c = 0; c < columns; ++c) {
        p.turned[c * p.turned_pitch + a] = p.sums[a * p.sums_row + c];
      }
    }
  }

  const Tiling& t;
  const Kernels& k;
  const PhaseProduct& w;
  const bool cells_in_columns = t.lanes == Lanes::cells;
  /// Taller tiles are for rows side by side.
  const Index row_tile = adjacent() ? t.row_tile : std::min<Index>(t.row_tile, max_rows);
};

}  // namespace

void multiply_tiles(const Tiling& tiling, const Kernels& kernels, const PhaseProduct& product) {
  Tiles(tiling, kernels, product).run();
}

}  // namespace phaseconv::cpu
