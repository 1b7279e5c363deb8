// phaseconv cache: the folder of compiled kernels.
#include "cuda/cache.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tools/command.h"

namespace phaseconv::tools {
namespace {

using Json = nlohmann::ordered_json;

int show_path(const Invocation& invocation, const cuda::DiskCache& cache, Json& document) {
  if (!invocation.common.json) {
    std::cout << (cache.folder().empty() ? "off" : cache.folder()) << '\n';
  }
  document["enabled"] = !cache.folder().empty();
  return done;
}

int list(const Invocation& invocation, const cuda::DiskCache& cache, Json& document) {
  std::uint64_t bytes = 0;
  document["entries"] = Json::array();
  for (const cuda::DiskCache::Entry& entry : cache.list()) {
    bytes += entry.bytes;
    document["entries"].push_back(
        {{"file", entry.file}, {"bytes", entry.bytes}, {"modified", entry.modified}});
    if (!invocation.common.json) std::cout << entry.bytes << "  " << entry.file << '\n';
  }
  document["bytes"] = bytes;
  if (!invocation.common.json) {
    std::cout << document["entries"].size() << " kernels, " << bytes << " bytes\n";
  }
  return done;
}

int clear(const Invocation& invocation, const cuda::DiskCache& cache, Json& document) {
  const int removed = cache.clear();
  document["removed"] = removed;
  if (!invocation.common.json) std::cout << removed << " kernels removed\n";
  return done;
}

struct Action {
  const char* name;
  const char* summary;
  int (*run)(const Invocation&, const cuda::DiskCache&, Json&);
};
constexpr Action actions[] = {{"path", "print the folder", show_path},
                              {"list", "list the entries", list},
                              {"clear", "remove the entries", clear}};

int run_cache(const Invocation& invocation, const CLI::App& command) {
  const cuda::DiskCache cache(invocation.common.library().cache_folder);
  Json document = json_document(invocation);
  document["path"] = cache.folder();
  if (const std::string reason = cache.unused_reason(); !reason.empty()) {
    std::cerr << "phaseconv: no kernel cache: " << reason << '\n';
    document["unused"] = reason;
  }
  int code = done;
  for (const Action& action : actions) {
    if (!command.got_subcommand(action.name)) continue;
    document["action"] = action.name;
    code = action.run(invocation, cache, document);
  }
  if (invocation.common.json) print_json(document);
  return code;
}

}  // namespace

void add_cache(CLI::App& program, Invocation& invocation) {
  CLI::App* command =
      add_command(program, invocation, "cache", "the folder of compiled kernels",
                  "  phaseconv cache path\n"
                  "  phaseconv cache clear\n"
                  "PHASECONV_CACHE names another folder, or is 'off'.",
                  [&] { return run_cache(invocation, *program.get_subcommand("cache")); });
  command->require_subcommand(1, 1);
  // The options of `cache` may stand behind the action too.
  for (const Action& action : actions) {
    command->add_subcommand(action.name, action.summary)->fallthrough();
  }
}

}  // namespace phaseconv::tools
