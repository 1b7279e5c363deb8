// What a user of the installed package writes: upsample four numbers two times, linearly.
#include <phaseconv/convolution.h>

#include <cstdio>
#include <vector>

int main() {
  using namespace phaseconv;
  try {
    const Problem problem = parse("ic1,oc1,i4,k4,s2,p1");
    const std::vector<float> x{1, 2, 3, 4};
    const std::vector<float> w{0.25f, 0.75f, 0.75f, 0.25f};
    std::vector<float> y(static_cast<std::size_t>(problem.output_elements()));

    const TransposedConvolution conv = prepare(problem, Device::cpu());
    const PackedWeights weights = conv.pack(w.data());
    conv.run(x.data(), weights, nullptr, y.data());

    // The ends miss a neighbour, which counts as zero.
    const std::vector<float> expected{0.75f, 1.25f, 1.75f, 2.25f, 2.75f, 3.25f, 3.75f, 3.0f};
    for (const float value : y) std::printf("%g ", static_cast<double>(value));
    std::printf("from %s, plan %s\n", conv.backend().c_str(), conv.plan().c_str());
    return y == expected ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
