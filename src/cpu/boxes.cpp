#include "cpu/boxes.h"

#include <algorithm>

#include "cpu/stage.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {
namespace {

constexpr Index least_cells = 64;   ///< of a task, before its channels are split
constexpr Index most_cells = 2048;  ///< of a plane of a task
constexpr Index fused_cells = 96;   ///< cells of a plane for which all phases are kept
constexpr Index tasks_a_unit = 4;   ///< so that no thread waits long for the last one
// Channels of a task: more of them share its staged input, fewer leave room for more cells, which
// share its weights.
constexpr Index usual_blocks[] = {16, 32, 64};
// What a task's sums take of the second-level cache, one of so many shares: more cells, or sums
// that are still near when they are written.
constexpr Index sums_shares[] = {5, 10};
// What the staged input of `pairs` takes of it. A half leaves no room for the next, which is
// fetched meanwhile.
constexpr Index input_shares[] = {4, 8, 16};

constexpr Index rows_cells[] = {64, 256, 1024};  ///< of a plane: pairs of outputs
constexpr Index straight_cells[] = {64,  128,  256,
                                    512, 1024, 2048};  ///< that share a tile's weights
// The most planes of them: long columns (straight.h), or few neighbours that are staged twice.
constexpr Index straight_planes[] = {1, 2, 64};

/// Takes `extent` in the fewest equal shares of at most `limit`, in whole blocks.
Index share(Index extent, Index limit, Index block) {
  const Index most = std::max(limit / block, Index{1}) * block;
  if (extent <= most) return extent;
  return round_up(ceil_div(extent, ceil_div(extent, most)), block);
}

/// Halves a size above `least`, in whole blocks, while that is `wanted` and makes it smaller.
template <typename F>
void halve(Index& size, Index least, Index block, F wanted) {
  while (size > least && wanted()) {
    const Index half = round_up(ceil_div(size, 2), block);
    if (half == size) return;
    size = half;
  }
}

/// Chooses the box for one block of channels: as many cells as the sums and the cache hold, but
/// enough tasks for the threads.
class Boxer {
 public:
  Boxer(const Plan& plan, const Problem& problem, const Machine& machine)
      : plan_(plan),
        p_(problem),
        m_(machine),
        phases_(problem.phases()),
        along_cells_(Tiling(problem, plan, machine.vector_lanes).lanes == Lanes::cells),
        channels_(plan.family == "groups" ? p_.groups : p_.out_channels_per_group()),
        channel_unit_(!along_cells_      ? plan.channel_tile * m_.vector_lanes
                      : taps_w_first(p_) ? 1
                                         : plan.channel_tile),
        cell_unit_(along_cells_ ? plan.cell_tile * m_.vector_lanes : plan.cell_tile) {}

  /// `cut`: stage some of the input channels at a time, instead of making the box smaller.
  Plan choose(Index wanted_block, Index sums_share, bool cut) {
    const Index block = round_up(std::min(channels_, wanted_block), channel_unit_);
    const Index sums = m_.cache_bytes / sums_share / static_cast<Index>(sizeof(float));
    Index room = sums / (phases_[1].count() * phases_[2].count());
    if (room < block * fused_cells) room = sums / phases_[2].count();

    const Index pitch = phases_[2].cells() + phases_[2].max_shift();
    // Sums are kept of all channels of the block, or else of one tile of them.
    const bool few_sums = along_cells_ && !cut && tiling().output_first;
    const Index kept = few_sums ? std::min(block, channel_unit_) : block;
    const Index cells = std::clamp(room / kept, std::min(room, cell_unit_), most_cells);
    plan_.box[2] = share(phases_[2].cells(), cells, cell_unit_);
    plan_.box[1] = 1;
    plan_.box[0] = phases_[0].cells();
    const auto large = [&] { return staged_bytes() > m_.cache_bytes / 2; };
    if (plan_.box[2] == phases_[2].cells()) {
      plan_.box[1] = std::max(cells / pitch, Index{1});
      while (!cut && plan_.box[1] > 1 && plane_cells() > least_cells && large()) --plan_.box[1];
      plan_.box[1] = rows(plan_.box[1]);
    }
    if (cut) {
      cut_inputs();
    } else {
      halve(plan_.box[1], 1, 1, [&] { return plane_cells() > least_cells && large(); });
      halve(plan_.box[2], least_cells, cell_unit_, large);
    }
    plan_.channel_block = share(
        channels_, few_sums ? block : std::max(room / plane_cells(), Index{1}), channel_unit_);

    // Groups that write parts of the same lines do so one after the other: while those are near.
    const bool parts_of_lines = channels_ % 16 != 0 && !tiling().output_first;
    if (along_cells_ && p_.groups > 1 && parts_of_lines) plan_.box[0] = 1;
    make_enough_tasks();
    return plan_;
  }

  /// Whether input channels can be staged a few at a time.
  bool can_cut() const { return tiling().can_cut(); }

  /// With no sums in memory: all channels, and as many cells as one of `share` parts of the cache
  /// holds of staged input. No plane reads another's input: one after the other, so that a
  /// channel's next box is on the pages of this one.
  Plan choose_pairs(Index share_of_cache) {
    const Index depth = p_.in_channels_per_group();
    const Index room = m_.cache_bytes / share_of_cache / static_cast<Index>(sizeof(float)) / depth;
    const Index cells = std::clamp(room, cell_unit_, most_cells);
    plan_.channel_block = channels_;
    plan_.box = {1, 1, share(phases_[2].cells(), cells, m_.vector_lanes)};
    if (plan_.box[2] == phases_[2].cells()) {
      plan_.box[1] = rows(std::max(cells / plan_.box[2], Index{1}));
    }
    make_enough_tasks();
    return plan_;
  }

  /// Rows are put together for all channels if the cache holds them, those that leave meanwhile,
  /// and the input.
  Plan choose_rows(Index cells) {
    plan_.channel_block = channels_;
    const Index width = tiling().cells[2];
    plan_.box = {phases_[0].cells(), 1, share(width, cells, m_.vector_lanes)};
    if (plan_.box[2] == width) {
      plan_.box[1] = share(phases_[1].cells(), std::max(cells / width, Index{1}), 1);
    }
    const auto large = [&] {
      return staged_bytes() + tiling().sums_floats() * static_cast<Index>(sizeof(float)) >
             m_.cache_bytes / 2;
    };
    halve(plan_.box[1], 1, 1, large);
    halve(plan_.channel_block, std::max(channel_unit_, channels_ / 4), channel_unit_, large);
    halve(plan_.box[2], least_cells, m_.vector_lanes, large);
    make_enough_tasks();
    return plan_;
  }

  /// With the input staged at once: all channels, and so many cells at a time, in at most so many
  /// planes, and about as many planes as rows, so that few neighbours are staged twice.
  /// `by_channels`: more cells share the weights of fewer channels, for layers whose weights take
  /// longer to read than anything else.
  Plan choose_straight(Index cells, Index most_planes, bool by_channels) {
    plan_.channel_block = channels_;
    plan_.box = {1, 1, share(phases_[2].cells(), cells, cell_unit_)};
    Index &planes = plan_.box[0], &rows = plan_.box[1];
    if (plan_.box[2] == phases_[2].cells()) {
      const Index most = std::max(cells / plan_.box[2], Index{1});
      while (planes * planes < most && planes < most_planes) ++planes;
      planes = share(phases_[0].cells(), std::min(planes, most / planes), 1);
      rows = share(phases_[1].cells(), most / planes, 1);
    }
    const Index room = by_channels ? 3 * m_.cache_bytes : m_.cache_bytes * 3 / 4;
    const auto large = [&] { return staged_bytes() > room; };
    while (std::max(planes, rows) > 1 && large()) {
      Index& longer = planes > rows ? planes : rows;
      longer = ceil_div(longer, 2);
    }
    halve(plan_.box[2], least_cells, cell_unit_, large);
    if (by_channels) split_channels();
    make_enough_tasks();
    return plan_;
  }

 private:
  /// Cells of a flattened plane of the box.
  Index plane_cells() const {
    return (plan_.box[1] - 1) * (phases_[2].cells() + phases_[2].max_shift()) + plan_.box[2];
  }

  /// Smaller boxes and blocks, where there are too few tasks for the threads, or some threads would
  /// have one more than others and that is much.
  void make_enough_tasks() {
    const auto few = [&] { return few_tasks(); };
    halve(plan_.box[0], 1, 1, few);
    halve(plan_.box[1], 1, 1, [&] { return plane_cells() > least_cells && few(); });
    halve(plan_.box[2], std::max(least_cells, cell_unit_), cell_unit_, few);
    split_channels();
  }
  void split_channels() {
    halve(plan_.channel_block, channel_unit_, channel_unit_, [&] { return few_tasks(); });
  }
  bool few_tasks() const {
    const Index tasks = tiling().tasks;
    const Index turns = ceil_div(tasks, m_.units);
    return m_.units > 1 && (turns < tasks_a_unit || turns * m_.units > tasks + tasks / 20);
  }

  Tiling tiling() const { return Tiling(p_, plan_, m_.vector_lanes); }
  Index staged_bytes() const {
    return tiling().staged_floats() * static_cast<Index>(sizeof(float));
  }

  /// Rows of cells of a box, at most `most`: flattened, they end in the middle of a vector, and the
  /// rest of that is lost; of the larger half those that lose least.
  Index rows(Index most) {
    const Index all = phases_[1].cells();
    most = share(all, most, 1);
    if (!along_cells_ || most >= all) return most;
    plan_.box[1] = most;
    const Index pitch = staged_row(tiling(), phases_[2].cell_begin(), plan_.box[2]);
    const auto vectors = [&](Index rows) {
      return rows == 0 ? 0 : ceil_div((rows - 1) * pitch + plan_.box[2], m_.vector_lanes);
    };
    const auto cost = [&](Index rows) { return all / rows * vectors(rows) + vectors(all % rows); };
    Index best = most;
    for (Index rows = most - 1; 2 * rows >= most && rows > 0; --rows) {
      if (cost(rows) < cost(best)) best = rows;
    }
    return best;
  }

  /// As many input channels as a quarter of the cache holds.
  void cut_inputs() {
    const Index at_once = tiling().depth_at_once;
    plan_.input_block = at_once;
    const Index most = m_.cache_bytes / 4 / std::max(staged_bytes(), Index{1});
    plan_.input_block = std::min(std::max(most, Index{1}) * at_once, p_.in_channels_per_group());
  }

  Plan plan_;
  const Problem& p_;
  const Machine& m_;
  const std::array<Phases, 3> phases_;
  const bool along_cells_;
  const Index channels_, channel_unit_, cell_unit_;
};

}  // namespace

std::vector<Plan> boxes(const Plan& plan, const Problem& problem, const Machine& machine) {
  std::vector<Plan> list;
  if (plan.family == "pairs") {
    for (const Index share : input_shares) {
      list.push_back(Boxer(plan, problem, machine).choose_pairs(share));
    }
    return list;
  }
  if (plan.family == "rows") {
    for (const Index cells : rows_cells) {
      list.push_back(Boxer(plan, problem, machine).choose_rows(cells));
    }
    return list;
  }
  if (plan.family == "straight" || plan.family == "turned") {
    for (const Index cells : straight_cells) {
      for (const Index planes : straight_planes) {
        for (const bool by_channels : {false, true}) {
          list.push_back(Boxer(plan, problem, machine).choose_straight(cells, planes, by_channels));
        }
      }
    }
    return list;
  }
  for (const Index block : usual_blocks) {
    for (const Index share : sums_shares) {
      const Plan whole = Boxer(plan, problem, machine).choose(block, share, false);
      list.push_back(whole);
      Boxer boxer(plan, problem, machine);
      if (!boxer.can_cut()) continue;
      const Plan cut = boxer.choose(block, share, true);
      if (cut.box != whole.box) list.push_back(cut);
    }
  }
  return list;
}

}  // namespace phaseconv::cpu
