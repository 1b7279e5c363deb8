// Where a tile's inputs, outputs and weights lie in shared memory, and the outputs in memory.
#pragma once

#include "cuda/kernels/tiling.cuh"

namespace phaseconv {

PHASECONV_FUNCTION void Tiling::place_inputs() {
  const TileProblem& p = problem;
  const TilePlan& q = plan;
  const Phases d(p.d), h(p.h), w(p.w);
  const Index chunk = 16 / p.element_bytes;
  staged_size = p.channels_last ? 4 : p.element_bytes;
  lead = 0;
  wide = !p.channels_last && !in_chunks && p.w.input % chunk == 0 &&
         (blocks_w == 1 || q.box_w % chunk == 0);
  if (wide) {
    // Rows start where memory does, modulo 16 bytes.
    lead = ((w.cell_begin() - w.max_shift()) % chunk + chunk) % chunk;
    in_w = round_up(lead + in_w, chunk);
  }
  const Index all_words = q.group_block * words;
  raw = raw_rows = bulk = false;
  raw_piece = raw_h = raw_d = raw_c = most_shift = 0;
  if (in_chunks) {
    // In units of 16 bytes; an odd number of them between chunks, for writes of neighbouring
    // ones.
    staged_size = 16;
    x_channel = 0;
    x_w = 1;
    x_h = in_w;
    x_d = in_h * x_h;
    x_word = in_d * x_d | 1;  // of a chunk, here
    raw = !p.channels_last && (p.d.input * p.h.input * p.w.input) % chunk == 0;
    raw_rows = blocks_w == 1 && w.cell_begin() <= w.max_shift() &&
               w.cell_begin() - w.min_shift() + q.box_w >= p.w.input;
    raw_piece = round_up((raw_rows ? in_h * p.w.input : in_w) + chunk - 1, chunk);
    raw_h = raw_rows ? p.w.input : raw_piece;
    raw_d = raw_rows ? raw_piece : in_h * raw_piece;
    raw_c = in_d * raw_d;
    // Of 16-bit elements the same positions of eight channels are read at a time: from all banks.
    if (p.element_bytes == 2 && raw_c / chunk % 2 == 0) raw_c += chunk;
    const bool rows_alike = p.w.input % chunk == 0 && (blocks_w == 1 || q.box_w % chunk == 0);
    most_shift = rows_alike ? congruent(0, w.cell_begin() - w.max_shift(), chunk) : chunk - 1;
    bulk = q.slots == 0 || raw_piece * p.element_bytes >= kLeastBulkBytes;
    // Products of the last cells read beyond.
    input_count = (p.split ? 2 : 1) * all_words / 4 * x_word + (q.slots > 0 ? 0 : 63);
  } else if (p.channels_last) {
    // Eight cells and four words of a fragment lie in 32 different banks, and 16-byte copies stay
    // aligned.
    x_channel = 0;
    x_word = 1;
    x_w = all_words < 8 ? all_words : round_up(all_words - 4, 8) + 4;
    x_h = in_w * x_w;
    x_d = in_h * x_h;
    input_count = in_d * x_d;
  } else {
    x_w = 1;
    x_h = in_w;
    x_d = in_h * x_h;
    // The same, for words that lie a plane, or of two channels two planes, apart.
    x_channel = all_words == 1 ? in_d * x_d : congruent(in_d * x_d, 8, 16);
    x_word = per_word * x_channel;
    input_count = all_words * x_word;
  }
}

PHASECONV_FUNCTION void Tiling::place_outputs() {
  const TileProblem& p = problem;
  const TilePlan& q = plan;
  const Phases d(p.d), h(p.h), w(p.w);
  const Index size_d = p.d.output(), size_h = p.h.output(), size_w = p.w.output();
  out_d = plane_step > 1 ? least(q.box_d, parts(size_d, plane_step))
                         : least(q.box_d * p.d.stride, size_d);
  out_h = least(q.box_h * p.h.stride, size_h);
  out_w = least(q.box_w * p.w.stride, size_w);
  out_c = q.group_block * q.channel_block;
  const bool all_d = blocks_d == 1, all_h = blocks_h == 1, all_w = blocks_w == 1;
  const bool all_c = out_c == p.out_channels;
  if (p.channels_last) {
    merged = !all_c ? 0 : !all_w ? 1 : !all_h || plane_step > 1 ? 2 : 3;
  } else {
    merged = !all_w ? 0 : !all_h || plane_step > 1 ? 1 : !all_d ? 2 : 3;
  }
  const Index last_extents[] = {out_c, out_w, out_h, out_d};
  const Index first_extents[] = {out_w, out_h, out_d, out_c};
  runs = run = 1;
  for (Index axis = 0; axis < 4; ++axis) {
    (axis <= merged ? run : runs) *= p.channels_last ? last_extents[axis] : first_extents[axis];
  }
  // Short runs are not worth the gaps.
  const Index run_bytes = run * p.element_bytes;
  const Index unit = (run_bytes < 4 * kSectorBytes ? 16 : kSectorBytes) / p.element_bytes;
  output_unit = unit;
  to_batch = p.out_channels * size_d * size_h * size_w;
  if (p.channels_last) {
    to_c = 1, to_w = p.out_channels, to_h = size_w * to_w, to_d = size_h * to_h * plane_step;
    y_c = 1;
    phase_pairs = false;
    lane_column = 2;
    y_w = all_c ? to_w : congruent(out_c, to_w, unit);
    y_h = all_c && all_w ? to_h : congruent(out_w * y_w, to_h, unit);
    y_d = merged == 3 ? to_d : congruent(out_h * y_h, to_d, unit);
    output_elements = out_d * y_d;
  } else {
    to_w = 1, to_h = size_w, to_d = size_h * to_h * plane_step;
    to_c = size_d * size_h * to_h;
    y_w = 1;
    y_h = all_w ? to_h : congruent(out_w, to_h, unit);
    y_d = merged >= 2 ? to_d : congruent(out_h * y_h, to_d, unit);
    y_c = merged == 3 ? to_c : congruent(out_d * y_d, to_c, unit);
    phase_pairs = p.w.stride == 2 && w.live_count() == 2 && (p.w.padding - p.w.lead) % 2 == 0;
    lane_column = channel_columns == 1 && phase_pairs ? 2 : 1;
    run_tiles = 1;  // for lane_columns
    // Of the gaps that may follow a channel the one with the fewest bank conflicts.
    if (y_c != to_c) {
      const LaneColumns lanes = lane_columns();
      const Index least_y_c = y_c;
      Index best = 32;
      for (Index gap = 0; gap < 8 && best > 1; ++gap) {
        const Index ways = conflicts(lanes, least_y_c + gap * unit);
        if (ways < best) best = ways, y_c = least_y_c + gap * unit;
      }
    }
    output_elements = out_c * y_c;
  }
}

PHASECONV_FUNCTION void Tiling::join_columns() {
  const Index unit = 16 / problem.element_bytes;
  run_tiles = 1;
  together = 1;
  if (problem.channels_last) {
    while (run_tiles * 4 <= unit && sweep_tiles % (2 * run_tiles) == 0 &&
           channel_columns % (16 * run_tiles) == 0) {
      run_tiles *= 2;
    }
    if (run_tiles > 1) together = 2 * run_tiles;
  } else if (phase_pairs && y_h % 2 == 0 && y_d % 2 == 0 && y_c % 2 == 0 &&
             (channel_columns == 1 ||
              (channel_columns % 8 == 0 && sweep_tiles % (channel_columns / 4) == 0))) {
    // One lane has both sums: in tiles so many apart, or as its two sums of one tile.
    together = 2;
  }
}

PHASECONV_FUNCTION Tiling::Kinds Tiling::choose_products() {
  // All are as wide: the compiler puts none after another that has other sums. Narrow ones take
  // longer than their share, wide ones multiply zeros.
  Index best = 0;
  Kinds chosen = {};
  Index narrowest = least(kLeastProductCycles / 4, part_tiles);
  while (part_tiles % narrowest != 0) --narrowest;  // of those that take as long the widest
  for (Index width = narrowest; width <= least(part_tiles, kMostProductTiles); ++width) {
    if (part_tiles % width != 0 || (best > 0 && neighbours * 4 * width > best)) continue;
    Kinds kinds = kinds_of_neighbours(width);
    const Index of_code = kinds.products_of_code * cell_tiles;
    const bool told_apart =
        kinds.count <= kFewKinds || (kinds.count <= kMostKinds && !problem.split &&
                                     of_code * steps_together() <= kMostProductsOfKinds);
    Index grain = told_apart ? width : part_tiles;
    if (!told_apart) kinds = kinds_of_neighbours(grain);
    kinds.products *= grain / width;
    const Index parts = sweep_tiles / part_tiles;
    if (kinds.count > kMostKinds) {
      grain = sweep_tiles;
      kinds.products = neighbours * sweep_tiles / width;
      kinds.uses = neighbours * parts;
    }
    const Index cycles = kinds.products * most(4 * width, kLeastProductCycles);
    if (best > 0 && cycles > best) continue;
    best = cycles;
    chosen = kinds;
    product_tiles = width;
    grain_tiles = grain;
    tiles_left_out = least(grain, part_tiles) < sweep_tiles || kinds.uses < neighbours * parts;
  }
  return chosen;
}

PHASECONV_FUNCTION void Tiling::place_weights() {
  const TileProblem& p = problem;
  const TilePlan& q = plan;
  const bool warpgroups = q.warpgroups;
  const Index taps = p.d.kernel * p.h.kernel * p.w.kernel;
  const bool step_has_one = neighbour_words % 8 == 0;
  Kinds streamed = {};  // of a stage
  if (q.slots > 0) {
    streamed = choose_products();
    streamed.products *= words / 8;
    streamed.uses *= words / 8;
    const Index products = streamed.products * cell_tiles * (p.split ? 3 : 1);
    joined = false;
    folded = streamed.uses <= kMostFoldedSteps && products <= kMostStreamedProducts;
  } else if (warpgroups) {
    // One instruction for all columns, or one for each phase, without those that are zero.
    const Index own = channel_columns / 8;
    const bool apart = step_has_one && channel_columns % 8 == 0 && sweep_tiles % own == 0 &&
                       taps * (words / 8) * instruction_cycles(own) <
                           sweeps * steps * instruction_cycles(sweep_tiles);
    product_tiles = apart && sweeps == 1 ? own : sweep_tiles;
    joined = p.split && product_tiles == sweep_tiles && sweep_tiles * 8 <= kMostJoinedColumns;
    const Index products = steps * cell_tiles * (sweep_tiles / product_tiles) * (p.split ? 3 : 1);
    // Where a sweep has all steps, one code serves all sweeps.
    const bool whole = !(step_has_one && sweeps > 1 && channel_columns % (8 * sweep_tiles) == 0);
    folded = whole && products <= kMostFoldedWarpgroupProducts;
    tiles_left_out = folded && product_tiles < sweep_tiles;
  } else {
    const Index products = steps * sweep_tiles * cell_tiles * (p.split ? 3 : 1);
    product_tiles = 1;
    joined = false;
    folded = sweeps == 1 && steps <= kMostFoldedSteps && products <= kMostFoldedProducts;
    tiles_left_out = folded && step_has_one && channel_columns % 8 == 0;
  }
  steps_left_out =
      !folded && q.slots == 0 && step_has_one && channel_columns % (8 * sweep_tiles) == 0;
  uses = steps_left_out ? taps * (neighbour_words / 8) * (channel_columns / (8 * sweep_tiles))
                        : sweeps * steps;
  fragments = uses * sweep_tiles;
  if (streamed.uses > 0) {
    uses = streamed.uses;
    fragments = streamed.products * product_tiles;
  } else if (tiles_left_out && channel_columns % 8 == 0) {
    fragments = taps * (neighbour_words / 8) * (channel_columns / 8);
  }
  lane_words = p.split ? 4 : 2;
  weight_words = q.group_block * fragments * 32 * lane_words;
  packed_bytes = 4 * group_blocks * channel_blocks * stages * weight_words;
  // The first use of each sweep and one beyond, and where each use's words are staged.
  table_numbers = (folded ? 0 : round_up(sweeps + 1, 2)) +
                  (folded && whole_steps ? 0 : uses * (whole_steps ? 1 : 8));
}

PHASECONV_FUNCTION void Tiling::share_memory() {
  const TileProblem& p = problem;
  const TilePlan& q = plan;
  const bool warpgroups = q.warpgroups;
  const Index all_words = q.group_block * words;
  const bool streams = q.slots > 0;
  weight_bytes = weight_words * 4;
  if (streams) {
    const Index batch_bytes = steps_together() * part_tiles * 32 * lane_words * 4;
    weight_bytes = round_up(least(weight_bytes, most(batch_bytes, kPieceBytes)), 128);
  }
  table_at = weight_bytes * (streams ? q.slots : stages == 1 ? 1 : warpgroups ? 2 : q.buffers);
  bias_at = table_at + round_up(4 * table_numbers, 16);
  const Index raws = raw ? raw_buffers : 0;
  barriers = streams ? 2 * (q.slots + input_buffers + output_buffers + raws) : raws;
  barriers_at = round_up(bias_at + out_c * 4, 8);
  input_at = round_up(barriers_at + 8 * barriers, 128);
  input_bytes = round_up(input_count * staged_size, 128);
  raw_at = input_at + input_buffers * input_bytes;
  // Beyond the last channel a row of whatever is there is read, and dropped; of 16-bit elements up
  // to 32 more at a time.
  const Index beyond = in_w + (p.element_bytes == 2 ? 39 : 0);
  raw_bytes = round_up(raw ? (all_words * per_word * raw_c + beyond) * p.element_bytes : 0, 128);
  output_at = raw_at + raw_buffers * raw_bytes;
  output_bytes = round_up((output_elements + output_unit) * p.element_bytes, 128);
  shared_bytes = output_at + output_buffers * output_bytes;
  // An instruction reads 64 positions of two chunks that lie x_word apart. compute-sanitizer takes
  // them for 2048 bytes in a row; so many are there.
  if (warpgroups && !streams) shared_bytes = most(shared_bytes, raw_at + 1024);
}

}  // namespace phaseconv
