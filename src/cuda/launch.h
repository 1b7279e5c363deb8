// A cubin on a device, ready to launch.
#pragma once

#include <initializer_list>
#include <string>

#include "cuda/driver.h"
#include "cuda/source.h"
#include "phaseconv/convolution.h"

namespace phaseconv::cuda {

/// A loaded cubin. Must outlive the work that its kernels have on the device.
class Module {
 public:
  /// Throws `Unsupported` where the driver refuses it.
  Module(const Context& context, const std::string& cubin);
  ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  const Context& context() const { return context_; }
  CUfunction function(const std::string& name) const;

 private:
  const Context& context_;
  CUmodule module_ = nullptr;
};

/// One kernel of a module and its grid. Everything that can take time or fail for good is done when
/// it is made; a launch only launches.
class Kernel {
 public:
  Kernel(const Module& module, LaunchShape shape);

  /// Asynchronous on `stream`; allocates nothing, waits for nothing. The parameters are the
  /// kernel's, pointers all of them.
  void launch(Stream stream, std::initializer_list<const void*> parameters) const;

 private:
  const Context& context_;
  LaunchShape shape_;
  CUfunction function_ = nullptr;
};

}  // namespace phaseconv::cuda
