// phaseconv verify: results against the float64 reference, by the precision contract.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "check/check.h"
#include "tools/command.h"
#include "tools/prepare_ahead.h"
#include "tools/progress.h"

namespace phaseconv::tools {
namespace {

using Json = nlohmann::ordered_json;

struct VerifyOptions {
  ProblemList problems;
  bool exact = false;
  bool special = false;
  std::uint64_t seed = 1;
  int runs = 2;

  check::Fill fill() const {
    return exact ? check::Fill::integers : special ? check::Fill::special : check::Fill::random;
  }
};

struct Verdict {
  check::Outcome outcome;
  bool unsupported = false;
};

/// One problem; whatever goes wrong is its verdict, so that the next one is still checked.
Verdict check_one(const Problem& problem, const Device& device, const Options& options,
                  const VerifyOptions& arguments) {
  Verdict verdict;
  std::string& reason = verdict.outcome.result.reason;
  const std::string prefix = to_string(problem) + ": ";
  try {
    check_memory(problem);
    verdict.outcome = check::verify(problem, device, options, arguments.fill(), arguments.seed,
                                    arguments.exact, arguments.runs);
  } catch (const Unsupported& error) {
    verdict.unsupported = true;
    reason = prefix + "unsupported: " + error.what();
  } catch (const std::bad_alloc&) {
    verdict.unsupported = true;
    reason = prefix + "unsupported: not enough memory";
  } catch (const std::exception& error) {
    reason = prefix + error.what();
  }
  return verdict;
}

Json to_json(const Problem& problem, const Device& device, const Verdict& verdict) {
  const check::Result& result = verdict.outcome.result;
  return {{"problem", to_string(problem)},
          {"device", to_string(device)},
          {"backend", verdict.outcome.backend},
          {"plan", verdict.outcome.plan},
          {"pass", result.pass},
          {"max_error_over_bound", result.max_error_over_bound},
          {"rms_error", result.rms_error},
          {"rms_over_plain", result.rms_over_plain},
          {"wrong", result.wrong},
          {"unsupported", verdict.unsupported},
          {"reason", result.reason}};
}

void print_line(const Problem& problem, const Verdict& verdict) {
  const check::Result& result = verdict.outcome.result;
  if (!result.pass) {
    std::cout << bad("FAIL") << "  " << result.reason << std::endl;
    return;
  }
  char error[40];
  std::snprintf(error, sizeof error, "  error/bound %.3f  ", result.max_error_over_bound);
  std::cout << good("pass") << error << to_string(problem) << "  " << verdict.outcome.plan
            << std::endl;
}

int verify(const Invocation& invocation, const VerifyOptions& arguments) {
  const std::vector<Problem> problems = arguments.problems.read();
  const Options options = invocation.common.library();
  const Device device = invocation.common.find_device(options);
  std::size_t passed = 0;
  std::size_t unsupported_ones = 0;
  Json results = Json::array();
  Progress progress(problems.size());
  const PrepareAhead ahead(problems, device, options);
  for (const Problem& problem : problems) {
    progress.show(to_string(problem));
    const Verdict verdict = check_one(problem, device, options, arguments);
    passed += verdict.outcome.result.pass ? 1 : 0;
    unsupported_ones += verdict.unsupported ? 1 : 0;
    results.push_back(to_json(problem, device, verdict));
    progress.clear();
    if (!invocation.common.json) print_line(problem, verdict);
  }

  const std::size_t failed = problems.size() - passed - unsupported_ones;
  if (invocation.common.json) {
    Json document = json_document(invocation);
    document["seed"] = arguments.seed;
    document["exact"] = arguments.exact;
    document["special"] = arguments.special;
    document["runs"] = arguments.runs;
    document["summary"] = {{"checked", problems.size()},
                           {"passed", passed},
                           {"failed", failed},
                           {"unsupported", unsupported_ones}};
    document["results"] = std::move(results);
    print_json(document);
  } else {
    std::cout << problems.size() << " checked on " << to_string(device) << ": " << passed
              << " passed, " << failed << " failed, " << unsupported_ones << " unsupported\n";
  }
  if (failed > 0) return check_failed;
  return unsupported_ones > 0 ? unsupported : done;
}

}  // namespace

void add_verify(CLI::App& program, Invocation& invocation) {
  const auto arguments = std::make_shared<VerifyOptions>();
  CLI::App* command =
      add_command(program, invocation, "verify", "check results against the float64 reference",
                  "  phaseconv verify n1,ic8,oc8,i16x16x16,k3,s2,p1 ic3,oc7,i9,k5,f16,cl\n"
                  "  phaseconv verify --suite shapes/edge.txt --exact --device cpu --json",
                  [&invocation, arguments] { return verify(invocation, *arguments); });
  arguments->problems.add_to(*command);
  CLI::Option* exact =
      command->add_flag("--exact", arguments->exact, "small integers, equal to the last bit");
  command->add_flag("--special", arguments->special, "NaN, Inf and huge values among random ones")
      ->excludes(exact);
  command->add_option("--seed", arguments->seed, "of the data")
      ->capture_default_str()
      ->check([](const std::string& text) {
        return std::string(text.starts_with('-') ? "must be 0 or more" : "");
      });
  command->add_option("--runs", arguments->runs, "of each problem: all must give the same bits")
      ->capture_default_str()
      ->check(CLI::Range(2, 1000000));
}

}  // namespace phaseconv::tools
