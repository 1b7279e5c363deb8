// What the commands of the program share: options, exit codes, and how a result is printed.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "phaseconv/convolution.h"

namespace CLI {
class App;
}

namespace phaseconv::tools {

enum ExitCode { done = 0, check_failed = 1, bad_usage = 2, unsupported = 3, file_trouble = 4 };

/// The options that every command understands, laid over those of the environment.
struct CommonOptions {
  std::string device = "auto";
  std::string plan;
  std::string instruction_set;
  int threads = 0;  ///< 0: as the environment says
  bool json = false;

  Options library() const;
  /// The device asked for. Throws `Unsupported` where there is no such device.
  Device find_device(const Options& options) const;
};

/// What the command line asked for: filled while it is read, run afterwards.
struct Invocation {
  std::string command;
  CommonOptions common;
  std::function<int()> action;
};

/// Adds a command with the common options. `action` runs once everything is read.
CLI::App* add_command(CLI::App& program, Invocation& invocation, const std::string& name,
                      const std::string& summary, const std::string& examples,
                      std::function<int()> action);

void add_run(CLI::App& program, Invocation& invocation);
void add_verify(CLI::App& program, Invocation& invocation);
void add_bench(CLI::App& program, Invocation& invocation);
void add_explain(CLI::App& program, Invocation& invocation);
void add_compile(CLI::App& program, Invocation& invocation);
void add_cache(CLI::App& program, Invocation& invocation);
void add_doctor(CLI::App& program, Invocation& invocation);

/// Problems named on the command line, or by a suite file.
struct ProblemList {
  std::vector<std::string> strings;
  std::string suite;

  void add_to(CLI::App& command);
  std::vector<Problem> read() const;  ///< throws `Invalid` where there is none
};

/// Throws `Unsupported` where the arrays of a problem can't fit in this machine's memory: better
/// than to be ended by the system half way.
void check_memory(const Problem& problem);

/// The beginning of every JSON document; print_json writes one to standard output.
nlohmann::ordered_json json_document(const Invocation& invocation);
void print_json(const nlohmann::ordered_json& document);

/// The whole program. Returns the exit code; throws nothing.
int run_program(int argc, const char* const* argv);

}  // namespace phaseconv::tools
