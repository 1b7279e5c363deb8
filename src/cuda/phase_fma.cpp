#include "cuda/phase_fma.h"

#include <algorithm>
#include <cmath>

#include "cuda/kernels/spans.cuh"
#include "cuda/tiles.h"

namespace phaseconv::cuda::phase_fma {
namespace {

constexpr Index kMostTiles = 0x3fffffff;
// Positions along an axis and offsets within a row of spans are 32-bit numbers.
constexpr Index kMostPositions = Index{1} << 28;
// Channels of a group, in or out: beyond, tensor cores have the work that they are made for.
constexpr Index kMostChannels = 4;
constexpr Index kMostWeights = 160, kMostReach = 64, kMostSlots = 64;
// Multiply-adds of a thread are unrolled: they stay within the instruction cache (128 KB, 16 bytes
// each), and a compiler takes seconds for 2,000.
constexpr Index kMostUnrolled = 1536;
constexpr Index kMostRegisters = 240;
constexpr Index kMostThreads = 256;
// Shared memory that the system keeps of every block.
constexpr Index kReservedBytes = 1024;

Spans spans(const Problem& problem, const Plan& plan) {
  return Spans(
      {problem.batch, problem.in_channels, problem.out_channels, problem.groups, problem.axes[0],
       problem.axes[1], problem.axes[2], static_cast<Index>(element_size(problem.type)),
       problem.layout == Layout::channels_last},
      {plan.box[0], plan.box[1], plan.box[2], plan.group_block, plan.cell_tile, plan.channel_tile,
       plan.fused_axes, plan.threads, plan.in_words, plan.buffers});
}

/// What a thread has in hand at a time: all slots along d, or the most of any.
struct Hand {
  Index taps = 0, planes = 0;  ///< of weights, of inputs along d
  Index weights = 0, inputs = 0, arriving = 0, sums = 0;
  /// As NVRTC 13 uses them: some inputs of the next line, addresses and bounds.
  Index registers() const { return weights + inputs + arriving + sums + 24; }
};

Hand hand(const Problem& problem, const Plan& plan, const Spans& tile) {
  const bool last = problem.layout == Layout::channels_last;
  const SpanAxis d(problem.axes[0]);
  const SpanAxis b(problem.axes[last ? 1 : 2]), s(problem.axes[last ? 2 : 1]);
  Hand of;
  const bool fused = plan.fused_axes >= 3;
  for (Index slot = 0; slot < (fused ? 1 : d.count()); ++slot) {
    Index taps = 0, planes = 0, before = -1;
    for (Index tap = d.axis.kernel; tap-- > 0;) {
      if (!fused && d.slot(tap) != slot) continue;
      const Index plane = -d.lift(tap) - d.first_input();
      if (plane != before) ++planes;
      before = plane;
      ++taps;
    }
    of.taps = std::max(of.taps, taps);
    of.planes = std::max(of.planes, planes);
  }
  const Index in = tile.own * tile.ic, out = tile.own * tile.oc;
  const bool pairs =
      tile.read_bytes() > tile.layer.element_bytes && element_size(problem.type) == 2;
  of.weights = of.taps * tile.taps_plane * tile.own;
  of.inputs = of.planes * b.reach() * s.reach() * in;
  of.arriving = of.planes * b.reach() * in / (pairs ? 2 : 1);
  of.sums = (fused ? d.count() : 1) * b.count() * s.count() * out;
  return of;
}

/// Reasons that hold for every plan.
std::string too_large(const Problem& problem) {
  const auto more = [](const char* what, Index have, Index most) {
    return std::string(what) + std::to_string(have) + ", more than " + std::to_string(most);
  };
  const Index ic = problem.in_channels_per_group(), oc = problem.out_channels_per_group();
  if (ic > kMostChannels) return more("input channels of a group: ", ic, kMostChannels);
  if (oc > kMostChannels) return more("output channels of a group: ", oc, kMostChannels);
  Index weights = ic * oc, reach = 1, slots = 1;
  for (const Axis& axis : problem.axes) {
    if (axis.input >= kMostPositions || axis.output() >= kMostPositions ||
        axis.stride >= kMostPositions || axis.dilation >= kMostPositions ||
        axis.padding >= kMostPositions) {
      return "positions along an axis: 2^28 or more";
    }
    if (axis.kernel > kMostWeights) return more("weights of a group: ", axis.kernel, kMostWeights);
    if (axis.stride > kMostSlots) return more("outputs of a span: ", axis.stride, kMostSlots);
    weights *= axis.kernel;
    slots *= axis.stride;
    const Index own = SpanAxis(axis).reach();
    if (own > kMostReach) return more("inputs around a span: ", own, kMostReach);
    reach *= own;
  }
  if (weights > kMostWeights) return more("weights of a group: ", weights, kMostWeights);
  if (slots > kMostSlots) return more("outputs of a span: ", slots, kMostSlots);
  if (reach > kMostReach) return more("inputs around a span: ", reach, kMostReach);
  return {};
}

Index blocks_together(const Problem& problem, const Machine& machine, const Plan& plan,
                      const Spans& tile) {
  const Index registers = std::min<Index>(round_up(hand(problem, plan, tile).registers(), 8), 255);
  const Index warps = parts(plan.threads, 32);
  // The compiler keeps to these registers then: some more are for the next box.
  if (plan.buffers > 1) {
    return resident_blocks(machine, tile.shared_bytes, warps, std::min<Index>(registers + 16, 255));
  }
  const Index by_registers = machine.registers / (registers * warps * 32);
  const Index by_memory =
      machine.shared_bytes / (std::max<Index>(tile.shared_bytes, 1) + kReservedBytes);
  return std::clamp<Index>(std::min(by_registers, by_memory), 1, 64 / warps);
}

/// Powers of two below `most`, and `most`.
std::vector<Index> sizes_up_to(Index most) {
  std::vector<Index> sizes;
  for (Index size = 1; size < most; size *= 2) sizes.push_back(size);
  sizes.push_back(most);
  return sizes;
}

/// Neighbouring threads along w, rows along h; for small volumes several planes or groups a block.
void add_channels_first(std::vector<Plan>& list, const Problem& problem, const Machine& machine,
                        Plan plan) {
  const SpanAxis d(problem.axes[0]), h(problem.axes[1]), w(problem.axes[2]);
  plan.channel_tile = problem.out_channels_per_group();
  plan.box[2] = w.spans() <= kMostThreads ? w.spans() : 128;
  for (const Index rows : sizes_up_to(parts(h.spans(), plan.cell_tile))) {
    plan.box[1] = rows * plan.cell_tile;
    const bool whole = rows * plan.cell_tile >= h.spans();
    for (const Index box_d : whole ? sizes_up_to(d.spans()) : std::vector<Index>{1}) {
      plan.box[0] = box_d;
      for (const Index groups :
           whole&& box_d == d.spans() ? sizes_up_to(problem.groups) : std::vector<Index>{1}) {
        plan.group_block = groups;
        const Index positions = plan.box[2] * rows * box_d;
        if (positions * groups > 2 * kMostThreads) break;
        // All at once, or in two turns.
        for (const Index turns : {1, 2}) {
          plan.threads = static_cast<int>(parts(positions, turns) * groups);
          // Whole warps, where the block has the positions to itself.
          if (groups == 1) plan.threads = static_cast<int>(round_up(plan.threads, 32));
          if (plan.threads > kMostThreads) continue;
          for (const int buffers : {0, 1, 2}) {
            Plan staged = plan;
            staged.in_words = buffers > 0 ? 1 : 0;
            staged.buffers = buffers;
            const Spans tile = spans(problem, staged);
            if (tile.shared_bytes > machine.shared_bytes) continue;
            if (buffers > 1) {
              staged.resident = static_cast<int>(blocks_together(problem, machine, staged, tile));
            }
            list.push_back(staged);
          }
        }
      }
    }
  }
}

/// Neighbouring threads along channels, then along rows of w, h and d.
void add_channels_last(std::vector<Plan>& list, const Problem& problem, Plan plan) {
  const SpanAxis h(problem.axes[1]), w(problem.axes[2]);
  const Index oc = problem.out_channels_per_group();
  const Index pieces = parts(w.spans(), plan.cell_tile);
  for (const Index own : {1, 2, 4}) {
    if (problem.groups % own != 0 || own * oc > 8) break;
    plan.channel_tile = own * oc;
    const Index lanes_wanted = problem.groups / own;
    const Index lanes = lanes_wanted <= 128 ? lanes_wanted : 64;
    plan.group_block = lanes * own;
    for (const Index rows : {1, 2, 4, 8, 16, 32, 64}) {
      // A block goes along w, then along h.
      const Index along_w = std::min(rows, pieces);
      const Index along_h = std::min(std::max<Index>(rows / along_w, 1), h.spans());
      plan.box = {1, along_h, along_w * plan.cell_tile};
      const Index positions = along_w * along_h;
      for (const Index turns : {1, 2, 4}) {
        if (turns > positions) break;
        plan.threads = static_cast<int>(parts(positions, turns) * lanes);
        if (plan.threads > kMostThreads || (plan.threads < 64 && positions * lanes >= 64)) continue;
        list.push_back(plan);
      }
      if (rows >= pieces * h.spans()) break;
    }
  }
}

std::vector<Plan> plans(const Problem& problem, const Machine& machine) {
  std::vector<Plan> list;
  if (!too_large(problem).empty()) return list;
  const bool last = problem.layout == Layout::channels_last;
  const Index along = SpanAxis(problem.axes[last ? 2 : 1]).spans();
  for (const int fused : {3, 2}) {
    if (fused == 2 && problem.axes[0].stride == 1) continue;
    for (Index row = 1; row <= 16; row *= 2) {
      if (row > 1 && row >= 2 * along) break;
      Plan plan{.family = "phase_fma", .fused_axes = fused, .cell_tile = row};
      if (last) {
        add_channels_last(list, problem, plan);
      } else {
        add_channels_first(list, problem, machine, plan);
      }
    }
  }
  // Where a volume is small, several turns or boxes come to the same.
  std::vector<Plan> different;
  for (const Plan& plan : list) {
    if (std::ranges::find(different, plan) == different.end()) different.push_back(plan);
  }
  return different;
}

std::string refusal(const Problem& problem, const Machine&, const Plan& plan) {
  if (std::string reason = too_large(problem); !reason.empty()) return reason;
  if (plan.threads == 0) return "no box of spans fits into a block";
  const Spans tile = spans(problem, plan);
  const auto more = [](const char* what, Index have, Index most) {
    return std::string(what) + std::to_string(have) + ", more than " + std::to_string(most);
  };
  const Hand of = hand(problem, plan, tile);
  if (of.registers() > kMostRegisters) return more("registers: ", of.registers(), kMostRegisters);
  const Index unrolled = plan.cell_tile * tile.taps_plane * tile.own * problem.axes[0].kernel;
  if (unrolled > kMostUnrolled) return more("unrolled multiply-adds: ", unrolled, kMostUnrolled);
  if (tile.tiles > kMostTiles) return more("tiles: ", tile.tiles, kMostTiles);
  return {};
}

/// Cycles that parts of the kernel take, fitted to plans measured on an H100 (docs/planning.md).
/// Those of instructions are of one scheduler.
struct Cycles {
  double store = 2.3;     ///< with its predicate
  double convert = 0.65;  ///< of a 16-bit element
  double pass = 15.1;     ///< beside, for each pass over a row
  double start = 70;      ///< of a thread: where it lies ...
  double weight = 0.44;   ///< ... and a load of weights
  double tail = 77;       ///< of a thread with channels first: the run's copy
  double line = 1.53;     ///< of the first-level cache
  double alone = 2.4;     ///< times an instruction takes in one warp alone
  double overlap = 2.2;   ///< exponent: all that is busy overlaps, but not wholly
};
constexpr Cycles kCycles;

/// What depends on how inputs come.
struct Coming {
  double load;    ///< an input, with its predicate and zero where it may not be there
  double lines;   ///< of the first-level cache for a load: not aligned, or from shared memory
  double block;   ///< cycles that a block waits one after the other: weights, its outputs ...
  double wait;    ///< ... and the inputs of each pass
  double memory;  ///< times what reading and writing takes at the copy rate
};
constexpr Coming kComing[] = {{2.6, 1.5, 1559, 108, 1},  // from memory
                              {1, 1, 4392, 0, 0.877},    // by way of shared memory
                              {1, 1, 2171, 0, 0.978}};   // ... those of the next box meanwhile

double seconds(const Problem& problem, const Machine& machine, const Plan& plan) {
  const Spans tile = spans(problem, plan);
  const Hand of = hand(problem, plan, tile);
  const auto number = [](Index value) { return static_cast<double>(value); };
  const bool last = problem.layout == Layout::channels_last;
  const bool narrow = element_size(problem.type) == 2;
  const Coming& coming = kComing[plan.buffers];
  const SpanAxis d(problem.axes[0]);
  const SpanAxis b(problem.axes[last ? 1 : 2]), s(problem.axes[last ? 2 : 1]);
  const Index in = tile.own * tile.ic, out = tile.own * tile.oc;
  const double passes = plan.fused_axes >= 3 ? 1 : number(d.count());
  const double loads_at_once = number(tile.read_bytes() / tile.layer.element_bytes);
  const double stores_at_once = number(tile.written_bytes() / tile.layer.element_bytes);

  // Instructions of a thread's row, all slots along d, counted in the compiled code.
  const double row = number(plan.cell_tile);
  const double products = row * number(tile.taps_plane * tile.own * problem.axes[0].kernel);
  const double inputs = (row + number(s.reach()) - 1) * number(of.planes * b.reach() * in) * passes;
  const double outputs = row * number(d.count() * b.count() * s.count() * out);
  const double loads = inputs / loads_at_once, stores = outputs / stores_at_once;
  const double row_instructions = products + coming.load * loads +
                                  (narrow ? kCycles.convert * (inputs + outputs) : 0) +
                                  kCycles.store * stores + kCycles.pass * passes;
  // Of a thread: where it lies, its weights.
  const double weights = number(tile.taps_plane * tile.own * problem.axes[0].kernel);
  const double start =
      kCycles.start + weights / (last ? std::min<double>(number(tile.own), 2) : 4) * kCycles.weight;
  const double positions = number(plan.threads / std::max<Index>(tile.lanes, 1));
  const double rounds = std::ceil(number(tile.rows) / std::max(positions, 1.0));
  const double warps = number(parts(plan.threads, 32));
  // The tail of a row of threads with channels first: the run's copy.
  const double issue = warps * (rounds * row_instructions + start + (last ? 0 : kCycles.tail)) / 4;
  // Lines of the first-level cache: a load of 32 lanes takes two where it is not aligned.
  const double lines = kCycles.line * rounds * warps *
                       (loads * (last ? loads_at_once * (narrow ? 0.5 : 1) : coming.lines) +
                        stores * (last     ? stores_at_once * (narrow ? 0.5 : 1)
                                  : narrow ? 1
                                           : 2));

  const double clock = machine.tf32_flops_per_second / (machine.units * 1024.0);
  const double bytes_a_cycle = machine.copy_bytes_per_second / machine.units / clock;
  const double memory =
      coming.memory * problem.bytes() / std::max(number(tile.tiles), 1.0) / bytes_a_cycle;
  const double resident = number(blocks_together(problem, machine, plan, tile));
  // One block after the other in its place: waits for weights and inputs, and its instructions.
  const double chain = coming.block + rounds * passes * coming.wait +
                       (rounds * row_instructions + start) * kCycles.alone;
  double sum = 0;
  for (const double busy : {issue, memory, lines, chain / resident}) {
    sum += std::pow(busy, kCycles.overlap);
  }
  const double places = machine.units * resident;
  const double turns = number(tile.tiles) / places;
  // The last turn is a short one for some, unless blocks have boxes of their own.
  const double all = (plan.buffers > 1 ? std::ceil(turns) : turns < 1 ? 1 : turns + 0.5) * resident;
  return all * std::pow(sum, 1 / kCycles.overlap) / clock + launch_seconds(machine);
}

KernelFamily::Sizes sizes(const Problem& problem, const Plan& plan) {
  const Spans tile = spans(problem, plan);
  return {tile.tiles, tile.shared_bytes, tile.packed_bytes};
}

std::vector<KernelFamily::Constant> constants(const Problem&, const Plan& plan) {
  std::vector<KernelFamily::Constant> list;
  const auto add = [&](const char* name, Index value) {
    list.push_back({"int", name, std::to_string(value)});
  };
  add("box_d", plan.box[0]);
  add("box_h", plan.box[1]);
  add("box_w", plan.box[2]);
  add("group_block", plan.group_block);
  add("row", plan.cell_tile);
  add("channel_tile", plan.channel_tile);
  add("fused_axes", plan.fused_axes);
  add("threads", plan.threads);
  add("in_words", plan.in_words);
  add("buffers", plan.buffers);
  return list;
}

}  // namespace

KernelFamily family() {
  return {
      {"phase_fma", "plain multiply-adds, weights and inputs in registers; few channels a group",
       plans, offer_one<refusal, seconds>},
      "PhaseFma",
      {"spans", "vectors", "group_weights", "copy", "span_inputs", "run", "output_runs",
       "span_rows", "phase_fma"},
      sizes,
      constants};
}

}  // namespace phaseconv::cuda::phase_fma
