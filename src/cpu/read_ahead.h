// Brings the next plane of input into the second-level cache while the arithmetic runs on this one:
// a few lines after every call of the multiplication. Where channels are planes, what a task stages
// lies scattered in short stretches, which the machine does not read ahead by itself.
#pragma once

#include "cpu/stage.h"

namespace phaseconv::cpu {

class ReadAhead {
 public:
  /// `input` will be staged after about so many vector multiply-adds.
  void expect(const InputRuns& input, Index multiply_adds) {
    input_ = input;
    next_ = 0;
    count_ = input.count();
    interval_ = multiply_adds / std::max(count_, Index{1});
    due_ = 0;
  }

  /// So many have been done.
  void worked(Index multiply_adds) {
    due_ += multiply_adds;
    for (; next_ < count_ && due_ >= interval_; due_ -= interval_) input_.prefetch(next_++);
  }

 private:
  InputRuns input_;
  Index next_ = 0, count_ = 0;  ///< pieces of the input
  Index interval_ = 0, due_ = 0;
};

}  // namespace phaseconv::cpu
