#include "tools/command.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "backend.h"
#include "check/check.h"
#include "tools/files.h"

namespace phaseconv::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* json_flag = "--json";

std::string gibibytes(double bytes) {
  char text[40];
  std::snprintf(text, sizeof text, "%.3g GiB", bytes / 0x1p30);
  return text;
}

/// Says what went wrong: on standard error, and as the document where one was asked for.
int report(const Invocation& invocation, const char* kind, const std::string& message, int code) {
  std::cerr << "phaseconv: " << message << '\n';
  if (invocation.common.json) {
    Json document = json_document(invocation);
    document["error"] = {{"kind", kind}, {"message", message}};
    print_json(document);
  }
  return code;
}

/// "A subcommand is required" alone would hide a misspelt one.
std::string misuse(const CLI::App& program, const CLI::ParseError& error) {
  std::string words;
  for (const std::string& word : program.remaining(true)) {
    if (word != json_flag) words += (words.empty() ? "'" : ", '") + word + "'";
  }
  const std::string what = words.empty() ? std::string(error.what()) : words + " is not understood";
  return what + "; see phaseconv --help, or phaseconv COMMAND --help";
}

int run_action(const Invocation& invocation) {
  try {
    return invocation.action();
  } catch (const Invalid& error) {
    return report(invocation, "invalid", error.what(), bad_usage);
  } catch (const Unsupported& error) {
    return report(invocation, "unsupported", error.what(), unsupported);
  } catch (const FileError& error) {
    return report(invocation, "file", error.what(), file_trouble);
  } catch (const std::bad_alloc&) {
    return report(invocation, "unsupported", "not enough memory for this", unsupported);
  } catch (const std::exception& error) {
    return report(invocation, "failure", error.what(), check_failed);
  }
}

}  // namespace

Options CommonOptions::library() const {
  Options options = Options::from_environment();
  if (!plan.empty()) options.plan = plan;
  if (!instruction_set.empty()) options.instruction_set = instruction_set;
  if (threads > 0) options.threads = threads;
  return options;
}

Device CommonOptions::find_device(const Options& options) const {
  const Device found = Device::parse(device, options);
  std::string reason;
  const Backend& owner = backend(found.kind);
  const int count = owner.device_count(options, reason);
  if (count > 0 && found.ordinal >= count) {
    throw Unsupported("there is no device " + device + "; the last one is " +
                      to_string(Device{found.kind, count - 1}));
  }
  if (count == 0 || !owner.usable(found.ordinal, options, reason)) {
    throw Unsupported("device " + device + " can't be used: " + reason);
  }
  return found;
}

CLI::App* add_command(CLI::App& program, Invocation& invocation, const std::string& name,
                      const std::string& summary, const std::string& examples,
                      std::function<int()> action) {
  CLI::App* command = program.add_subcommand(name, summary);
  CommonOptions& common = invocation.common;
  command->add_option("--device", common.device, "auto, cpu, cuda or cuda:N")
      ->capture_default_str();
  command->add_flag(json_flag, common.json, "print one JSON document to standard output");
  command->add_option("--plan", common.plan, "only plans whose text starts with this");
  command->add_option("--threads", common.threads, "CPU threads to use (default: all)")
      ->check(CLI::Range(1, 65536));
  command->add_option("--instruction-set", common.instruction_set,
                      "CPU instruction set to use, for example AVX2 (default: the best)");
  command->footer("Examples:\n" + examples);
  command->callback([&invocation, name, action = std::move(action)] {
    invocation.command = name;
    invocation.action = action;
  });
  return command;
}

void ProblemList::add_to(CLI::App& command) {
  CLI::Option* list =
      command.add_option("problem", strings, "problem strings")->type_name("PROBLEM");
  command.add_option("--suite", suite, "file with one problem string a line, '#' for comments")
      ->type_name("FILE")
      ->excludes(list);
}

std::vector<Problem> ProblemList::read() const {
  std::vector<Problem> problems;
  if (!suite.empty()) {
    problems = check::read_suite(read_text(suite), suite);
    if (problems.empty()) throw Invalid(suite + " has no problem in it");
  }
  for (const std::string& string : strings) problems.push_back(parse(string));
  if (problems.empty()) {
    throw Invalid(
        "no problem given; name some, for example n1,ic8,oc8,i16x16x16,k3,s2,p1, or "
        "--suite FILE");
  }
  return problems;
}

void check_memory(const Problem& problem) {
  const double there =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (problem.bytes() > there) {
    throw Unsupported(to_string(problem) + " needs " + gibibytes(problem.bytes()) +
                      " of memory, this machine has " + gibibytes(there));
  }
}

Json json_document(const Invocation& invocation) {
  return {{"schema_version", 1}, {"version", version()}, {"command", invocation.command}};
}

void print_json(const Json& document) {
  // Texts may hold bytes of a damaged command line or file: never let them spoil the document.
  std::cout << document.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

int run_program(int argc, const char* const* argv) {
  Invocation invocation;
  CLI::App program("Transposed convolution for inference.", "phaseconv");
  program.set_version_flag("--version", "phaseconv " + std::string(version()));
  program.require_subcommand(1);
  program.footer(
      "Examples:\n"
      "  phaseconv verify n1,ic8,oc8,i16x16x16,k3,s2,p1\n"
      "  phaseconv bench n4,ic32,oc32,g4,i32x64x128,k3,s2,p1 --device cuda --json\n"
      "  phaseconv COMMAND --help\n"
      "Exit codes: 0 done, 1 a check failed, 2 bad usage or an invalid problem,\n"
      "3 no such device or an unsupported problem, 4 file trouble.");
  for (const auto add :
       {add_run, add_verify, add_bench, add_explain, add_compile, add_cache, add_doctor}) {
    add(program, invocation);
  }
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // help, or the version
    for (const CLI::App* command : program.get_subcommands()) {
      invocation.command = command->get_name();
    }
    invocation.common.json |=
        std::ranges::count(std::span(argv, argc), std::string_view(json_flag)) > 0;
    return report(invocation, "invalid", misuse(program, error), bad_usage);
  }
  const int code = run_action(invocation);
  std::cout.flush();
  if (!std::cout) {
    std::cerr << "phaseconv: can't write to standard output\n";
    return file_trouble;
  }
  return code;
}

}  // namespace phaseconv::tools
