// The vector code by itself, of every instruction set that this machine can run: conversions, and
// rows on their way to the output.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "element.h"

namespace phaseconv {
namespace {

// The compiled-in name is no proof that the code behind it differs: vectors of another length are.
TEST(CpuInstructionSet, KernelsAreThoseOfTheirTarget) {
  for (const std::string& set : cpu::instruction_sets()) {
    const cpu::Kernels& k = cpu::kernels(set);
    const Index expected = set.starts_with("AVX3") ? 16
                           : set == "AVX2"         ? 8
                           : set == "SCALAR"       ? 1
                                                   : 4;
    EXPECT_EQ(k.lanes, expected) << set;
    // A product over one vector of columns touches exactly that many sums.
    std::vector<float> sums(64, 0.0f);
    const std::vector<float> vectors(64, 2.0f);
    const float scalar = 3;
    cpu::Product product;
    product.scalars = &scalar;
    product.vectors = vectors.data();
    product.sums = sums.data();
    const cpu::Tap tap{0, 0};
    product.taps = &tap;
    product.tap_count = 1;
    k.multiply[0][0](product);
    for (Index i = 0; i < 64; ++i) {
      EXPECT_EQ(sums[static_cast<std::size_t>(i)], i < k.lanes ? 6.0f : 0.0f) << set;
    }
  }
}

// Conversions against the scalar ones of element.h: all 16-bit patterns, and around every tie.
TEST(CpuConversion, AgreesWithTheScalarOne) {
  std::vector<std::uint16_t> halves(65536);
  std::vector<float> floats;
  for (std::uint32_t i = 0; i < 65536; ++i) {
    halves[i] = static_cast<std::uint16_t>(i);
    for (const std::uint32_t low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u}) {
      floats.push_back(std::bit_cast<float>((i << 16) | low));
    }
  }
  // One more bit of a half's mantissa lies above these 16: shift the patterns there.
  for (std::uint32_t i = 0; i < 65536; ++i) {
    for (const std::uint32_t low : {0u, 0xfffu, 0x1000u, 0x1001u}) {
      floats.push_back(std::bit_cast<float>(0x33000000u + (i << 13) + low));
    }
  }
  const auto same = [](float a, float b) {
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
           (std::isnan(a) && std::isnan(b));
  };
  for (const std::string& set : cpu::instruction_sets()) {
    const cpu::Kernels& k = cpu::kernels(set);
    for (const DataType type : {DataType::f16, DataType::bf16}) {
      std::vector<float> loaded(halves.size());
      k.load(type, halves.data(), loaded.data(), {1, static_cast<Index>(halves.size()), 0, 0});
      for (std::size_t i = 0; i < halves.size(); ++i) {
        ASSERT_TRUE(same(loaded[i], load_operand(halves.data(), type, static_cast<Index>(i))))
            << set << " " << name(type) << " pattern " << i;
      }
      std::vector<std::uint16_t> stored(floats.size());
      k.store(type, floats.data(), stored.data(), {1, static_cast<Index>(floats.size()), 0, 0});
      std::vector<std::uint16_t> expected(floats.size());
      for (std::size_t i = 0; i < floats.size(); ++i) {
        const auto at = static_cast<Index>(i);
        store_value(expected.data(), type, at, floats[i]);
        ASSERT_TRUE(
            same(load_operand(stored.data(), type, at), load_operand(expected.data(), type, at)))
            << set << " " << name(type) << " value " << floats[i];
      }
    }
    std::vector<float> rounded(floats.size());
    k.load(DataType::tf32, floats.data(), rounded.data(),
           {1, static_cast<Index>(floats.size()), 0, 0});
    for (std::size_t i = 0; i < floats.size(); ++i) {
      ASSERT_TRUE(same(rounded[i], round_to_tf32(floats[i]))) << set << " value " << floats[i];
    }
  }
}

// Rows of every length from every place, one after the other or not, of any number of planes:
// nothing missing, nothing beyond.
TEST(CpuRows, WriteWhatTheyAreGiven) {
  constexpr Index around = 32, rows = 5, pitch = 70 + 2 * around;  // of a plane, what may be read
  for (const std::string& set : cpu::instruction_sets()) {
    const cpu::Kernels& k = cpu::kernels(set);
    for (Index planes : {1, 2, 3, 4, 5, 8}) {
      std::vector<float> from(static_cast<std::size_t>(rows * planes * pitch));
      for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
      for (Index length = 0; length < 70; length += length < 20 ? 1 : 7) {
        for (Index gap : {0, 1, 16}) {
          for (const bool past_caches : {false, true}) {
            std::vector<float> to(rows * 90 + 20, -1.0f), expected = to;
            cpu::PendingLine pending;
            for (Index row = 0; row < rows; ++row) {
              const Index first = row % (planes + 1), at = 3 + row * (length + gap);
              const float* plane = from.data() + row * planes * pitch + around;
              for (Index i = 0; i < length; ++i) {
                const Index value = first + i;
                expected[static_cast<std::size_t>(at + i)] =
                    plane[value % planes * pitch + value / planes];
              }
              if (past_caches) {
                k.stream({plane, pitch, planes}, first, length, to.data() + at, pending);
              } else {
                k.write({plane, pitch, planes}, first, length, to.data() + at);
              }
            }
            k.flush(pending);
            EXPECT_EQ(to, expected) << set << " planes " << planes << " length " << length
                                    << " gap " << gap << (past_caches ? " past the caches" : "");
          }
        }
      }
    }
  }
}

TEST(CpuRows, TransposeEverySize) {
  for (const std::string& set : cpu::instruction_sets()) {
    const cpu::Kernels& k = cpu::kernels(set);
    for (Index rows = 0; rows < 40; ++rows) {
      for (Index columns : {0, 1, 3, 4, 5, 8, 18}) {
        const Index from_pitch = columns + 3, to_pitch = rows + 2;
        std::vector<float> from(static_cast<std::size_t>(rows * from_pitch));
        for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
        std::vector<float> to(static_cast<std::size_t>(columns * to_pitch), -1.0f), expected = to;
        for (Index r = 0; r < rows; ++r) {
          for (Index c = 0; c < columns; ++c) {
            expected[static_cast<std::size_t>(c * to_pitch + r)] =
                from[static_cast<std::size_t>(r * from_pitch + c)];
          }
        }
        k.transpose(from.data(), rows, columns, from_pitch, to.data(), to_pitch);
        EXPECT_EQ(to, expected) << set << " " << rows << " x " << columns;
      }
    }
  }
}

}  // namespace
}  // namespace phaseconv
