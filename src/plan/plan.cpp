#include "plan/plan.h"

namespace phaseconv {

std::string to_string(const Plan& plan) {
  const Plan defaults;
  std::string out = plan.family;
  char separator = ':';
  const auto append = [&](const char* name, Index value, Index fallback) {
    if (value == fallback) return;
    out += separator + std::string(name) + std::to_string(value);
    separator = ',';
  };
  append("fused", plan.fused_axes, defaults.fused_axes);
  append("oc", plan.channel_tile, defaults.channel_tile);
  append("cells", plan.cell_tile, defaults.cell_tile);
  append("threads", plan.threads, defaults.threads);
  if (plan.box != defaults.box) {
    out += separator + std::string("box") + std::to_string(plan.box[0]) + "x" +
           std::to_string(plan.box[1]) + "x" + std::to_string(plan.box[2]);
    separator = ',';
  }
  append("block", plan.channel_block, defaults.channel_block);
  append("columns", plan.column_tile, defaults.column_tile);
  append("groups", plan.group_block, defaults.group_block);
  append("inputs", plan.input_block, defaults.input_block);
  append("buffers", plan.buffers, defaults.buffers);
  append("resident", plan.resident, defaults.resident);
  return out;
}

double floor_seconds(const Problem& problem, double bytes_per_second, double flops_per_second) {
  const double memory = bytes_per_second > 0 ? problem.bytes() / bytes_per_second : 0;
  const double arithmetic = flops_per_second > 0 ? problem.flops() / flops_per_second : 0;
  return memory > arithmetic ? memory : arithmetic;
}

}  // namespace phaseconv
