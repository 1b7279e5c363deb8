#include "cpu/families.h"

#include <algorithm>

#include "cpu/boxes.h"
#include "cpu/cost.h"
#include "cpu/kernels.h"
#include "cpu/pairs.h"
#include "cpu/rows.h"
#include "cpu/straight.h"
#include "cpu/tiling.h"

namespace phaseconv::cpu {
namespace {

/// For each number of rows the most vectors that still fit in registers and have columns to work
/// on, with a few boxes each.
template <Lanes lanes>
std::vector<Plan> plans(const Problem& problem, const Machine& machine) {
  const Index channels = lanes == Lanes::groups ? problem.groups : problem.out_channels_per_group();
  const auto phases = problem.phases();
  const Index cells = phases[1].cells() * phases[2].cells();
  const Index row_count = lanes != Lanes::cells   ? cells
                          : taps_w_first(problem) ? phases[2].count()
                                                  : channels;
  const Index columns = lanes == Lanes::cells ? cells : channels;
  const Index most_vectors = ceil_div(columns, machine.vector_lanes);
  std::vector<Plan> list;
  for (Index rows = 1; rows <= std::min<Index>(max_rows, row_count); ++rows) {
    Index vectors = std::min<Index>(max_vectors, most_vectors);
    while (vectors > 1 && !fits(rows, vectors, machine.registers)) --vectors;
    Plan plan;
    plan.family = lanes == Lanes::cells      ? "cells"
                  : lanes == Lanes::channels ? "channels"
                                             : "groups";
    plan.channel_tile = lanes == Lanes::cells ? rows : vectors;
    plan.cell_tile = lanes == Lanes::cells ? vectors : rows;
    for (const Plan& boxed : boxes(plan, problem, machine)) {
      if (std::ranges::find(list, boxed) == list.end()) list.push_back(boxed);
    }
  }
  return list;
}

/// Of the families that interleave two phases in registers, so that a tile has `cells` along w.
std::vector<Plan> interleaved(const char* family, const Problem& problem, const Machine& machine,
                              bool (*fit)(Index, Index, Index), Index most_rows, Index cells) {
  std::vector<Plan> list;
  for (Index rows = 1; rows <= std::min<Index>(max_rows, most_rows); ++rows) {
    Index vectors = std::min<Index>(max_vectors, ceil_div(cells, machine.vector_lanes));
    while (vectors > 0 && !fit(rows, vectors, machine.registers)) --vectors;
    if (vectors == 0) break;
    Plan plan;
    plan.family = family;
    plan.channel_tile = rows;
    plan.cell_tile = vectors;
    for (const Plan& boxed : boxes(plan, problem, machine)) {
      if (std::ranges::find(list, boxed) == list.end()) list.push_back(boxed);
    }
  }
  return list;
}

std::vector<Plan> pair_plans(const Problem& problem, const Machine& machine) {
  if (!pairs_refusal(problem, machine.vector_lanes).empty()) return {};
  return interleaved("pairs", problem, machine, fits_rows, problem.out_channels_per_group(),
                     problem.axes[1].input * problem.axes[2].input);
}

std::vector<Plan> row_plans(const Problem& problem, const Machine& machine) {
  if (!rows_refusal(problem).empty()) return {};
  const bool lines = depthwise(problem);
  const Index rows = lines ? problem.phases()[1].cells() : problem.out_channels_per_group();
  return interleaved("rows", problem, machine, lines ? fits_lines : fits_rows, rows,
                     ceil_div(problem.axes[2].output(), Index{2}));
}

/// Of the families that stage a box at once.
template <std::string (*why_not)(const Problem&, Index), bool (*fit)(Index, Index, Index)>
std::vector<Plan> at_once(const char* family, const Problem& problem, const Machine& machine) {
  std::vector<Plan> list;
  if (!why_not(problem, machine.vector_lanes).empty()) return list;
  const Index limit = std::min<Index>(most_rows, problem.phases()[2].cells());
  const Index most_vectors = ceil_div(problem.out_channels_per_group(), machine.vector_lanes);
  // Few of the large tiles: cells are shared out equally.
  for (Index rows = 1; rows <= limit; rows += rows < max_rows ? 1 : 4) {
    for (Index vectors = 1; vectors <= std::min<Index>(max_vectors, most_vectors); ++vectors) {
      if (!fit(rows, vectors, machine.registers)) break;
      Plan plan;
      plan.family = family;
      plan.channel_tile = vectors;
      plan.cell_tile = rows;
      for (const Plan& boxed : boxes(plan, problem, machine)) {
        if (std::ranges::find(list, boxed) == list.end()) list.push_back(boxed);
      }
    }
  }
  return list;
}

std::vector<Plan> straight_plans(const Problem& problem, const Machine& machine) {
  return at_once<straight_refusal, fits>("straight", problem, machine);
}

std::vector<Plan> turned_plans(const Problem& problem, const Machine& machine) {
  return at_once<turned_refusal, fits_adjacent>("turned", problem, machine);
}

std::string too_many_sums(const Machine& machine) {
  return "its sums need more than " + std::to_string(machine.registers) + " vector registers";
}

template <std::string (*why_not)(const Problem&, Index), bool (*fit)(Index, Index, Index)>
std::string refusal_of(const Problem& problem, const Machine& machine, const Plan& plan) {
  if (std::string reason = why_not(problem, machine.vector_lanes); !reason.empty()) {
    return reason;
  }
  return fit(plan.cell_tile, plan.channel_tile, machine.registers) ? "" : too_many_sums(machine);
}

std::string refusal_of_pairs(const Problem& problem, const Machine& machine, const Plan& plan) {
  if (std::string reason = pairs_refusal(problem, machine.vector_lanes); !reason.empty()) {
    return reason;
  }
  return fits_rows(plan.channel_tile, plan.cell_tile, machine.registers) ? ""
                                                                         : too_many_sums(machine);
}

std::string refusal_of_rows(const Problem& problem, const Machine& machine, const Plan& plan) {
  if (std::string reason = rows_refusal(problem); !reason.empty()) return reason;
  const auto fit = depthwise(problem) ? fits_lines : fits_rows;
  return fit(plan.channel_tile, plan.cell_tile, machine.registers) ? "" : too_many_sums(machine);
}

std::string refusal(const Problem& problem, const Machine& machine, const Plan& plan) {
  if (plan.family == "groups" && !depthwise(problem)) {
    return "it needs one input and one output channel in every group";
  }
  if (fits(plan.channel_tile, plan.cell_tile, machine.registers) ||
      fits(plan.cell_tile, plan.channel_tile, machine.registers)) {
    return {};
  }
  return too_many_sums(machine);
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      {"cells", "vectors along w, weights broadcast: for channels first", &plans<Lanes::cells>,
       &offer_one<refusal, seconds>},
      {"channels", "vectors along output channels, inputs broadcast: for channels last",
       &plans<Lanes::channels>, &offer_one<refusal, seconds>},
      {"groups", "vectors along groups of one channel: depthwise, channels last",
       &plans<Lanes::groups>, &offer_one<refusal, seconds>},
      {"pairs", "as cells, two phases interleaved in registers: kernel = stride, channels first",
       &pair_plans, &offer_one<refusal_of_pairs, seconds>},
      {"rows", "as cells, two phases interleaved in registers: stride 2 along w, channels first",
       &row_plans, &offer_one<refusal_of_rows, seconds>},
      {"straight", "as channels, from registers to the output: channels last", &straight_plans,
       &offer_one<refusal_of<straight_refusal, fits>, seconds>},
      {"turned", "as channels, turned in registers: many channels, channels first", &turned_plans,
       &offer_one<refusal_of<turned_refusal, fits_adjacent>, seconds>},
  };
  return list;
}

}  // namespace phaseconv::cpu
