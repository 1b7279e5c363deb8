#include "check/device_array.h"

#include <algorithm>

#include "backend.h"

namespace phaseconv::check {

// Empty arrays get a byte: a pointer that is not null says that the array was given.
DeviceArray::DeviceArray(const Device& device, std::size_t bytes)
    : device_(device),
      bytes_(bytes),
      memory_(backend(device.kind).allocate(device, std::max<std::size_t>(bytes, 1))) {}

DeviceArray::DeviceArray(const Device& device, const std::vector<std::byte>& host)
    : DeviceArray(device, host.size()) {
  copy_from(0, host);
}

void DeviceArray::fill(std::size_t begin, std::size_t count, unsigned char value) const {
  if (count > 0) backend(device_.kind).fill(device_, data() + begin, value, count);
}

void DeviceArray::copy_from(std::size_t begin, const std::vector<std::byte>& host) const {
  if (host.empty()) return;
  backend(device_.kind).copy_to_device(device_, data() + begin, host.data(), host.size());
}

std::vector<std::byte> DeviceArray::to_host() const {
  std::vector<std::byte> host(bytes_);
  if (bytes_ > 0) backend(device_.kind).copy_to_host(device_, host.data(), data(), bytes_);
  return host;
}

}  // namespace phaseconv::check
