// phaseconv bench: how long a convolution takes, beside the least time that the machine could take.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "backend.h"
#include "check/check.h"
#include "check/device_array.h"
#include "tools/command.h"
#include "tools/progress.h"

namespace phaseconv::tools {
namespace {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  ProblemList problems;
  int repeats = 0;  ///< 0: as many as fit in about a second
  int plans = 1;    ///< of each problem
};

struct Measurement {
  Problem problem;
  std::string plan, backend;
  double prepare_ms = 0;
  double predicted_ms = 0;
  std::vector<double> times_ms;  ///< sorted
  Ceilings ceilings;

  double quantile(double share) const {
    const auto last = static_cast<double>(times_ms.size() - 1);
    return times_ms[static_cast<std::size_t>(std::ceil(share * last))];
  }
  double floor_ms() const {
    return 1e3 * floor_seconds(problem, ceilings.copy_bytes_per_second, ceilings.flops_per_second);
  }
  double floor_share() const { return quantile(0.5) > 0 ? floor_ms() / quantile(0.5) : 0; }
};

/// A problem's arrays on the device, for as many plans as are to be timed on them.
class Arrays {
 public:
  Arrays(const Problem& problem, const Device& device)
      : data_(check::make_data(problem, check::Fill::random, 1)),
        weight_(device, data_.weight),
        bias_(device, data_.bias),
        input_(device, data_.input),
        output_(device,
                static_cast<std::size_t>(problem.output_elements()) * element_size(problem.type)) {}

  std::vector<double> time(const TransposedConvolution& conv, int repeats) const {
    const PackedWeights packed = conv.pack(weight_.data());
    const auto work = [&] {
      conv.run(input_.data(), packed, conv.problem().bias ? bias_.data() : nullptr, output_.data());
    };
    const Backend& on = backend(conv.device().kind);
    if (repeats == 0) {
      const double once = on.time(conv.device(), work, 1).front();
      repeats = static_cast<int>(std::clamp(1e3 / std::max(once, 1e-3), 5.0, 200.0));
    }
    std::vector<double> times = on.time(conv.device(), work, repeats);
    std::ranges::sort(times);
    return times;
  }

 private:
  check::Data data_;
  check::DeviceArray weight_, bias_, input_, output_;
};

/// Of the legal candidates `count`, from the cheapest to three times its prediction, denser among
/// the cheap ones; one: the planner's choice.
std::vector<std::string> plans_to_time(const Problem& problem, const Device& device,
                                       const Options& options, int count) {
  if (count == 1) return {options.plan};
  const Backend& on = backend(device.kind);
  const Machine machine = on.machine(device, options);
  const double best = on.decide(problem, machine, options).seconds();
  std::vector<std::string> legal;
  for (const Candidate& candidate : candidates(problem, machine, on.families())) {
    if (!candidate.refusal.empty() || candidate.seconds > 3 * best) break;
    std::string text = to_string(candidate.plan);
    if (text.starts_with(options.plan)) legal.push_back(std::move(text));
  }
  const std::size_t wanted = std::min(legal.size(), static_cast<std::size_t>(count));
  std::vector<std::string> chosen;
  std::size_t next = 0;
  for (std::size_t i = 0; i < wanted; ++i, ++next) {
    next = std::max(next, i * i * legal.size() / (wanted * wanted));
    chosen.push_back(legal[next]);
  }
  return chosen;
}

struct Prepared {
  TransposedConvolution conv;
  double milliseconds = 0;
};

Prepared prepare_timed(const Problem& problem, const Device& device, Options options,
                       const std::string& plan) {
  options.plan = plan;
  const auto start = std::chrono::steady_clock::now();
  TransposedConvolution conv = prepare(problem, device, options);
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  return {std::move(conv), elapsed.count()};
}

/// One plan is prepared alone, so that the time of it counts; of several as many together as there
/// are threads: compilers take their time.
std::vector<Prepared> prepare_all(const Problem& problem, const Device& device,
                                  const Options& options, const std::vector<std::string>& plans) {
  const std::size_t together = std::max(1u, std::thread::hardware_concurrency());
  std::vector<Prepared> prepared;
  for (std::size_t begin = 0; begin < plans.size(); begin += together) {
    std::vector<std::future<Prepared>> batch;
    for (std::size_t i = begin; i < std::min(begin + together, plans.size()); ++i) {
      batch.push_back(std::async(std::launch::async, prepare_timed, std::cref(problem),
                                 std::cref(device), options, std::cref(plans[i])));
    }
    for (auto& one : batch) prepared.push_back(one.get());
  }
  return prepared;
}

std::vector<Measurement> measure(const Problem& problem, const Device& device,
                                 const Options& options, const BenchOptions& arguments) {
  check_memory(problem);
  const std::vector<Prepared> prepared = prepare_all(
      problem, device, options, plans_to_time(problem, device, options, arguments.plans));
  const Arrays arrays(problem, device);
  std::vector<Measurement> results;
  for (const auto& [conv, milliseconds] : prepared) {
    results.push_back({problem,
                       conv.plan(),
                       conv.backend(),
                       milliseconds,
                       1e3 * conv.predicted_seconds(),
                       arrays.time(conv, arguments.repeats),
                       {}});
  }
  return results;
}

Json to_json(const Measurement& result, const Device& device) {
  return {{"problem", to_string(result.problem)},
          {"device", to_string(device)},
          {"backend", result.backend},
          {"plan", result.plan},
          {"median_ms", result.quantile(0.5)},
          {"min_ms", result.times_ms.front()},
          {"p95_ms", result.quantile(0.95)},
          {"repeats", result.times_ms.size()},
          {"prepare_ms", result.prepare_ms},
          {"predicted_ms", result.predicted_ms},
          {"bytes", result.problem.bytes()},
          {"flops", result.problem.flops()},
          {"floor_ms", result.floor_ms()},
          {"floor_share", result.floor_share()},
          {"ceilings",
           {{"copy_bytes_per_second", result.ceilings.copy_bytes_per_second},
            {"flops_per_second", result.ceilings.flops_per_second},
            {"method", result.ceilings.method}}}};
}

void print_row(const Measurement& result) {
  char row[200];
  std::snprintf(row, sizeof row, "%10.4f %10.4f %10.4f %10.4f %6.1f%% %9.1f  ",
                result.quantile(0.5), result.times_ms.front(), result.quantile(0.95),
                result.floor_ms(), 100 * result.floor_share(), result.prepare_ms);
  std::cout << row << to_string(result.problem) << "  " << result.plan << std::endl;
}

int bench(const Invocation& invocation, const BenchOptions& arguments) {
  const std::vector<Problem> problems = arguments.problems.read();
  const Options options = invocation.common.library();
  const Device device = invocation.common.find_device(options);
  std::map<DataType, Ceilings> ceilings;
  Json results = Json::array();
  Json failures = Json::array();
  int code = done;
  Progress progress(problems.size());
  if (!invocation.common.json) {
    std::cout << " median ms     min ms     p95 ms   floor ms  share   prepare  problem, plan on "
              << to_string(device) << std::endl;
  }
  for (const Problem& problem : problems) {
    progress.show(to_string(problem));
    try {
      if (!ceilings.contains(problem.type)) {
        ceilings[problem.type] = backend(device.kind).ceilings(device, problem.type, options);
      }
      for (Measurement& result : measure(problem, device, options, arguments)) {
        result.ceilings = ceilings[problem.type];
        progress.clear();
        results.push_back(to_json(result, device));
        if (!invocation.common.json) print_row(result);
      }
    } catch (const Unsupported& error) {
      progress.clear();
      std::cerr << "phaseconv: " << error.what() << '\n';
      failures.push_back({{"problem", to_string(problem)}, {"reason", error.what()}});
      code = unsupported;
    }
  }
  if (invocation.common.json) {
    Json document = json_document(invocation);
    document["results"] = std::move(results);
    document["unsupported"] = std::move(failures);
    print_json(document);
  }
  return code;
}

}  // namespace

void add_bench(CLI::App& program, Invocation& invocation) {
  const auto arguments = std::make_shared<BenchOptions>();
  CLI::App* command = add_command(
      program, invocation, "bench", "time convolutions beside the floor of the machine",
      "  phaseconv bench n4,ic32,oc32,g4,i32x64x128,k3,s2,p1\n"
      "  phaseconv bench --suite shapes/perf.txt --device cuda --json\n"
      "The floor is the larger of bytes and operations over the rates that this machine reaches,\n"
      "measured in the same run.",
      [&invocation, arguments] { return bench(invocation, *arguments); });
  arguments->problems.add_to(*command);
  command->add_option("--repeats", arguments->repeats, "timed runs (default: about a second)")
      ->check(CLI::Range(1, 1000000));
  command
      ->add_option("--plans", arguments->plans,
                   "plans of each problem: the cheapest and others, spread over predicted times")
      ->check(CLI::Range(1, 1000));
}

}  // namespace phaseconv::tools
