# embed_text(target output.cpp name file [name file]...)
# Compiles text files into `target`: defines phaseconv::cuda::kernel_file(name) (kernel_files.h), so
# that the library needs none of its source files at run time.
function(embed_text target output)
  set(entries "")
  while(ARGN)
    list(POP_FRONT ARGN name path)
    get_filename_component(path ${path} ABSOLUTE)
    file(READ ${path} text)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    string(APPEND entries "    {\"${name}\", R\"~~~~(${text})~~~~\"},\n")
  endwhile()
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${output})
  file(CONFIGURE OUTPUT ${generated} @ONLY CONTENT [==[// Generated at configure time from the kernel files.
#include "cuda/kernel_files.h"

namespace phaseconv::cuda {

std::string_view kernel_file(std::string_view name) {
  struct File {
    std::string_view name, text;
  };
  static constexpr File files[] = {
@entries@  };
  for (const File& file : files) {
    if (file.name == name) return file.text;
  }
  return {};
}

}  // namespace phaseconv::cuda
]==])
  target_sources(${target} PRIVATE ${generated})
endfunction()
