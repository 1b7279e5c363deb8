// Bytes in a device's memory, for programs that run on every kind of device.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "phaseconv/convolution.h"

namespace phaseconv::check {

class DeviceArray {
 public:
  DeviceArray(const Device& device, std::size_t bytes);
  DeviceArray(const Device& device, const std::vector<std::byte>& host);

  std::byte* data() const { return static_cast<std::byte*>(memory_.get()); }
  std::size_t bytes() const { return bytes_; }

  void fill(std::size_t begin, std::size_t count, unsigned char value) const;
  void copy_from(std::size_t begin, const std::vector<std::byte>& host) const;
  /// Waits for everything that writes here, then copies.
  std::vector<std::byte> to_host() const;

 private:
  Device device_;
  std::size_t bytes_;
  std::shared_ptr<void> memory_;
};

}  // namespace phaseconv::check
