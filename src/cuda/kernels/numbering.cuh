// How the geometry of tiling.cuh numbers cells, columns and k, and where each of them lies.
#pragma once

#include "cuda/kernels/tiling.cuh"

namespace phaseconv {

PHASECONV_FUNCTION Index Tiling::column_of(Index tile, Index m) const {
  if (run_tiles > 1) {
    return tile / run_tiles * run_tiles * 8 + m / 2 * 2 * run_tiles + tile % run_tiles * 2 + m % 2;
  }
  return tile * 8 + (lane_column == 1 ? m / 2 + 4 * (m % 2) : m);
}

PHASECONV_FUNCTION Tiling::MatrixColumn Tiling::matrix_column(Index column) const {
  if (run_tiles > 1) {
    const Index in_run = column % (8 * run_tiles), at = in_run % (2 * run_tiles);
    return {column / (8 * run_tiles) * run_tiles + at / 2, in_run / (2 * run_tiles) * 2 + at % 2};
  }
  const Index m = column % 8;
  return {column / 8, lane_column == 1 ? m % 4 * 2 + m / 4 : m};
}

PHASECONV_FUNCTION Index Tiling::live_cells(const Axis& axis, Index box) {
  const Phases phases(axis);
  const Index last = phases.cell_end() - 1;
  bool live = phases.cells() > box || box == 1;
  for (Index n = 0; n < phases.live_count() && !live; ++n) {
    live = phases.output(last, phases.live_phase(n)) < axis.output();
  }
  return live ? box : box - 1;
}

PHASECONV_FUNCTION Tiling::Cell Tiling::cell(unsigned number) const {
  const bool numbered = cells % plan.cell_tile == 0 || number < unsigned(cells);
  if (!numbered) number = 0;
  const unsigned in_plane = number % unsigned(rows_d);
  const int w = int(in_plane % unsigned(rows_w)), h = int(in_plane / unsigned(rows_w));
  const bool in_box = !plan.warpgroups || (w < int(plan.box_w) && h < int(plan.box_h));
  return {int(number / unsigned(rows_d)), h, w, numbered && in_box};
}

PHASECONV_FUNCTION int Tiling::staged_at(int number) const {
  return number / int(rows_d) * int(x_d) + number % int(rows_d);
}

PHASECONV_FUNCTION Index Tiling::k_neighbour(Index k) const {
  if (!plan.warpgroups) return k / neighbour_words;
  const Index number = k / 4 / paired_chunks;
  return number / neighbours < words / 4 / paired_chunks ? neighbours - 1 - number % neighbours
                                                         : neighbours;
}

PHASECONV_FUNCTION Index Tiling::k_word(Index k) const {
  if (!plan.warpgroups) return k % neighbour_words;
  const Index chunk = k / 4 / paired_chunks / neighbours * paired_chunks + k / 4 % paired_chunks;
  return chunk * 4 + k % 4;
}

PHASECONV_FUNCTION Index Tiling::k_of(Index neighbour_number, Index word) const {
  if (!plan.warpgroups) return neighbour_number * neighbour_words + word;
  const Index chunk = word / 4;
  const Index number = chunk / paired_chunks * neighbours + neighbours - 1 - neighbour_number;
  return (number * paired_chunks + chunk % paired_chunks) * 4 + word % 4;
}

PHASECONV_FUNCTION Tiling::Neighbour Tiling::neighbour(Index n) const {
  const Index count_w = Phases(problem.w).shift_count();
  const Index count_h = Phases(problem.h).shift_count();
  return {n / (count_w * count_h), n / count_w % count_h, n % count_w};
}

PHASECONV_FUNCTION Tiling::Phase Tiling::phase(Index n) const {
  const Index count_w = Phases(problem.w).live_count();
  const Index count_h = Phases(problem.h).live_count();
  return {n / (count_w * count_h), n / count_w % count_h, n % count_w};
}

PHASECONV_FUNCTION Tiling::LaneColumns Tiling::lane_columns() const {
  const Phases d(problem.d), h(problem.h), w(problem.w);
  LaneColumns lanes = {};
  for (Index t = 0; t < 4; ++t) {
    const Index column = column_of(0, 2 * t);
    const Index number = column / channel_columns % live_phases;
    const Index live_w = w.live_count(), live_h = h.live_count();
    lanes.channel[t] = column % channel_columns;
    lanes.offset[t] = d.live_phase(number / (live_w * live_h)) * y_d +
                      h.live_phase(number / live_w % live_h) * y_h +
                      w.live_phase(number % live_w) * y_w;
  }
  return lanes;
}

PHASECONV_FUNCTION Index Tiling::conflicts(const LaneColumns& lanes, Index channel_stride) const {
  Index used[32] = {};
  Index most_used = 0;
  for (Index t = 0; t < 4; ++t) {
    Index before = -1;
    for (Index g = 0; g < 8; ++g) {
      const Index element =
          lanes.offset[t] + lanes.channel[t] * channel_stride + g * problem.w.stride * y_w;
      const Index word = element * problem.element_bytes / 4;
      if (word == before) continue;
      before = word;
      most_used = most(most_used, ++used[word % 32]);
    }
  }
  return most_used;
}

PHASECONV_FUNCTION Index Tiling::input_offset(Index k) const {
  const Index n = k_neighbour(k), word = k_word(k);
  if (n >= neighbours || word >= words) return 0;  // its weights are zero
  const Phases d(problem.d), h(problem.h), w(problem.w);
  const Neighbour at = neighbour(n);
  return (d.max_shift() - d.shift_at(at.d)) * x_d + (h.max_shift() - h.shift_at(at.h)) * x_h +
         (lead + w.max_shift() - w.shift_at(at.w)) * x_w + (in_chunks ? word / 4 : word) * x_word;
}

PHASECONV_FUNCTION Index Tiling::tap(Index neighbour_number, Index phase_number) const {
  if (neighbour_number >= neighbours || phase_number >= live_phases) return -1;
  const Phases d(problem.d), h(problem.h), w(problem.w);
  const Neighbour from = neighbour(neighbour_number);
  const Phase to = phase(phase_number);
  const Index kd = d.tap_between(to.d, d.shift_at(from.d));
  const Index kh = h.tap_between(to.h, h.shift_at(from.h));
  const Index kw = w.tap_between(to.w, w.shift_at(from.w));
  if (kd == problem.d.kernel || kh == problem.h.kernel || kw == problem.w.kernel) return -1;
  return (kd * problem.h.kernel + kh) * problem.w.kernel + kw;
}

PHASECONV_FUNCTION unsigned Tiling::used_tiles(Index sweep, Index step) const {
  const unsigned all = unsigned((Index{1} << sweep_tiles) - 1);
  if (!tiles_left_out && !steps_left_out) return all;
  const unsigned used = tiles_of(sweep, k_neighbour(step * 8));
  if (plan.slots == 0) return used;
  const unsigned grain = unsigned((Index{1} << grain_tiles) - 1);
  unsigned whole = 0;
  for (unsigned at = grain; (at & all) != 0; at <<= grain_tiles) {
    if ((used & at) != 0) whole |= at;
    if (grain_tiles == sweep_tiles) break;
  }
  return whole;
}

PHASECONV_FUNCTION unsigned Tiling::tiles_of(Index sweep, Index neighbour_number) const {
  unsigned mask = 0;
  for (Index tile = 0; tile < sweep_tiles; ++tile) {
    const Index first = (sweep * sweep_tiles + tile) * 8;
    for (Index column = first; column < first + 8; column += channel_columns) {
      if (tap(neighbour_number, column / channel_columns) >= 0) mask |= 1u << tile;
    }
  }
  return mask;
}

/// The sets of live phases that the shifts of an axis lead to, one bit for each phase.
struct PhaseSets {
  unsigned set[kMostKinds] = {};
  Index shifts[kMostKinds] = {};  ///< so many lead to each
  Index count = 0;                ///< more than `kMostKinds`: too many to tell apart

  PHASECONV_FUNCTION explicit PhaseSets(const Axis& axis) {
    const Phases phases(axis);
    for (Index i = 0; i < phases.shift_count() && count <= kMostKinds; ++i) {
      unsigned led_to = 0;
      for (Index n = 0; n < phases.live_count(); ++n) {
        if (phases.tap_between(n, phases.shift_at(i)) != axis.kernel) led_to |= 1u << n;
      }
      Index at = 0;
      while (at < count && set[at] != led_to) ++at;
      if (at == count) ++count;
      if (at == kMostKinds) break;
      set[at] = led_to;
      ++shifts[at];
    }
  }
};

PHASECONV_FUNCTION Tiling::Kinds Tiling::kinds_of_neighbours(Index width) const {
  const PhaseSets d(problem.d), h(problem.h), w(problem.w);
  const Index live_d = Phases(problem.d).live_count(), live_h = Phases(problem.h).live_count(),
              live_w = Phases(problem.w).live_count();
  const Index sets = d.count * h.count * w.count;
  if (sets > kMostSets) return {kMostKinds + 1, 0, 0, 0};
  // Of each combination of what shifts lead to along the axes: its neighbours and column tiles.
  Index neighbours_of[kMostSets] = {};
  unsigned led[kMostSets] = {};
  for (Index set = 0; set < sets; ++set) {
    const Index of_d = set / (h.count * w.count), of_h = set / w.count % h.count,
                of_w = set % w.count;
    neighbours_of[set] = d.shifts[of_d] * h.shifts[of_h] * w.shifts[of_w];
    Index first = 0;  // column of a phase
    for (Index p_d = 0; p_d < live_d; ++p_d) {
      for (Index p_h = 0; p_h < live_h; ++p_h) {
        for (Index p_w = 0; p_w < live_w; ++p_w, first += channel_columns) {
          if ((d.set[of_d] >> p_d & h.set[of_h] >> p_h & w.set[of_w] >> p_w & 1) == 0) continue;
          for (Index at = first / 8; at <= (first + channel_columns - 1) / 8; ++at) {
            led[set] |= 1u << at;
          }
        }
      }
    }
  }
  Kinds kinds = {};
  const unsigned product = unsigned((Index{1} << width) - 1);
  for (Index part = 0; part < sweep_tiles; part += part_tiles) {
    unsigned known[kMostKinds] = {};
    Index count = 0;
    for (Index set = 0; set < sets; ++set) {
      unsigned mask = 0;
      Index products = 0;
      for (Index first = part; first < part + part_tiles; first += width) {
        if ((led[set] >> first & product) == 0) continue;
        mask |= 1u << first;
        ++products;
      }
      if (products == 0) continue;
      kinds.products += products * neighbours_of[set];
      kinds.uses += neighbours_of[set];
      Index at = 0;
      while (at < count && known[at] != mask) ++at;
      if (at < count) continue;
      if (kinds.count == kMostKinds) return {kMostKinds + 1, 0, 0, 0};
      known[count++] = mask;
      ++kinds.count;
      kinds.products_of_code += products;
    }
  }
  return kinds;
}

}  // namespace phaseconv
