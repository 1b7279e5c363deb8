// Times oneDNN's deconvolution primitive itself, in the memory formats that it prefers; the
// reorders from and to plain channels first are timed apart. With Debian's libdnnl-dev, after a
// release build:
//
//   c++ -O2 -std=c++20 -Iinclude bench/onednn.cpp build/release/src/libphaseconv.a -ldnnl -lhwy
//   -ldl
//     -fopenmp -o build/onednn
//   OMP_NUM_THREADS=2 build/onednn ic64,oc32,i64x64x64,k2,s2 ic32,oc32,g4,i32x64x128,k3,s2,p1
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <dnnl.hpp>
#include <exception>
#include <vector>

#include "phaseconv/problem.h"

namespace {

using namespace phaseconv;
using Dims = dnnl::memory::dims;
using Memory = dnnl::memory;

/// Median milliseconds of some calls, after one that is not counted.
template <typename F>
double median_ms(F work) {
  work();
  std::vector<double> times;
  for (double total = 0; times.size() < 5 || (total < 500 && times.size() < 100);) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::milli> elapsed =
        std::chrono::steady_clock::now() - start;
    times.push_back(elapsed.count());
    total += elapsed.count();
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

Memory filled(const Memory::desc& desc, const dnnl::engine& engine) {
  Memory memory(desc, engine);
  std::fill_n(static_cast<float*>(memory.get_data_handle()), desc.get_size() / sizeof(float), 0.5f);
  return memory;
}

double reorder_ms(Memory from, Memory to, dnnl::stream& stream) {
  if (from.get_desc() == to.get_desc()) return 0;
  const dnnl::reorder reorder(from, to);
  return median_ms([&] {
    reorder.execute(stream, from, to);
    stream.wait();
  });
}

void measure(const char* text) {
  using Type = Memory::data_type;
  using Tag = Memory::format_tag;
  const Problem p = parse(text);
  Dims in{p.batch, p.in_channels}, out{p.batch, p.out_channels};
  Dims weights{p.out_channels / p.groups, p.in_channels / p.groups};
  if (p.groups > 1) weights.insert(weights.begin(), p.groups);
  Dims strides, dilations, begin, end;
  for (const Axis& axis : p.axes) {
    in.push_back(axis.input);
    out.push_back(axis.output());
    weights.push_back(axis.kernel);
    strides.push_back(axis.stride);
    dilations.push_back(axis.dilation - 1);
    begin.push_back(axis.padding);
    end.push_back(axis.padding - axis.output_padding);
  }
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto any = [](const Dims& dims) { return Memory::desc(dims, Type::f32, Tag::any); };
  const Memory::desc bias_desc(p.bias ? Dims{p.out_channels} : Dims{}, Type::f32,
                               p.bias ? Tag::a : Tag::undef);
  using Forward = dnnl::deconvolution_forward;
  const Forward::desc desc(
      dnnl::prop_kind::forward_inference, dnnl::algorithm::deconvolution_direct, any(in),
      any(weights), p.bias ? bias_desc : Memory::desc(), any(out), strides, dilations, begin, end);
  const Forward::primitive_desc primitive(desc, engine);
  const Memory x = filled(primitive.src_desc(), engine);
  const Memory w = filled(primitive.weights_desc(), engine);
  const Memory y = filled(primitive.dst_desc(), engine);
  std::unordered_map<int, Memory> arguments{
      {DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}};
  if (p.bias) arguments.emplace(DNNL_ARG_BIAS, filled(bias_desc, engine));
  const Forward forward(primitive);
  const double compute = median_ms([&] {
    forward.execute(stream, arguments);
    stream.wait();
  });
  const auto plain = [&](const Dims& dims) {
    return filled(Memory::desc(dims, Type::f32, Tag::abcde), engine);
  };
  const double before = reorder_ms(plain(in), x, stream);
  const double after = reorder_ms(y, plain(out), stream);
  std::printf("%10.4f %10.4f %10.4f  %s  %s\n", compute, before, after, text,
              primitive.impl_info_str());
}

}  // namespace

int main(int count, char** arguments) {
  std::printf("   compute  reorder x  reorder y  problem  implementation   (median ms)\n");
  for (int i = 1; i < count; ++i) {
    try {
      measure(arguments[i]);
    } catch (const std::exception& error) {
      std::printf("failed: %s  %s\n", arguments[i], error.what());
    }
  }
}
