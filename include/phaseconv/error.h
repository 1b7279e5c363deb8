// The two kinds of failure. They are never mixed: what no machine could do is `Invalid`, what this
// build or this device cannot do is `Unsupported`. A message names the argument, its value, what is
// allowed and, where one exists, the remedy.
#pragma once

#include <stdexcept>
#include <string>

namespace phaseconv {

class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// No machine could do it: a malformed problem string, an empty output, a null pointer.
class Invalid : public Error {
  using Error::Error;
};

/// This build or this device cannot do it; the message says what could.
class Unsupported : public Error {
  using Error::Error;
};

}  // namespace phaseconv
