#include "cpu/scratch.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "cpu/stage.h"
#include "element.h"

namespace phaseconv::cpu {
namespace {

float* memory_of_thread(Index floats) {
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

}  // namespace

Scratch::Scratch(const Tiling& t)
    : start_count(round_up(t.block, 16) + t.vector_tile * t.vector_lanes) {
  const Index staged_count = round_up(t.staged_floats(), 16);
  const Index flags = ceil_div(t.phase_block[0] * t.phase_block[1], Index{sizeof(float)});
  run = memory_of_thread(run_capacity + t.sums_floats() + t.turned_floats() + staged_count +
                         start_count + flags);
  sums = run + run_capacity;
  turned = sums + t.sums_floats();
  staged = turned + t.turned_floats();
  starts = staged + staged_count;
  started = reinterpret_cast<bool*>(starts + start_count);
}

void Scratch::start(const Tiling& t, const Task& task, const void* bias) const {
  std::fill_n(starts, start_count, 0.0f);
  const Index first = task.group * t.channels + task.channel;
  for (Index c = 0; t.problem.bias && c < task.channels; ++c) {
    starts[c] = load_value(bias, t.problem.type, first + c);
  }
}

}  // namespace phaseconv::cpu
