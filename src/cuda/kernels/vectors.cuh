// Elements that lie together in memory, read and written as words of 32 bits, several at a time.
#pragma once

namespace phaseconv {

/// A pointer to memory that is worked out once: what lies around it is read and written by constant
/// distances, not by addresses of their own.
template <class T>
__device__ __forceinline__ T* anchored(T* pointer) {
  auto address = __cvta_generic_to_global(pointer);
  asm volatile("" : "+l"(address));
  return static_cast<T*>(__cvta_global_to_generic(address));
}

template <int bytes>
__device__ __forceinline__ unsigned load_word(const void* from) {
  using Word = typename Choose<bytes == 4, unsigned, unsigned short>::Type;
  return __ldg(static_cast<const Word*>(from));
}

/// Reads `count` words of `bytes`/4 each time (2: a word is one element of 16 bits).
template <int bytes, int count>
__device__ __forceinline__ void load_words(const void* from, unsigned (&to)[count]) {
  if constexpr (bytes == 16) {
#pragma unroll
    for (int i = 0; i < count; i += 4) {
      const uint4 four = __ldg(static_cast<const uint4*>(from) + i / 4);
      to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
    }
  } else if constexpr (bytes == 8) {
#pragma unroll
    for (int i = 0; i < count; i += 2) {
      const uint2 two = __ldg(static_cast<const uint2*>(from) + i / 2);
      to[i] = two.x, to[i + 1] = two.y;
    }
  } else {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      to[i] = load_word<bytes>(static_cast<const unsigned char*>(from) + i * bytes);
    }
  }
}

template <int bytes, int count>
__device__ __forceinline__ void store_words(void* to, const unsigned (&from)[count]) {
  if constexpr (bytes == 16) {
#pragma unroll
    for (int i = 0; i < count; i += 4) {
      static_cast<uint4*>(to)[i / 4] = {from[i], from[i + 1], from[i + 2], from[i + 3]};
    }
  } else if constexpr (bytes == 8) {
#pragma unroll
    for (int i = 0; i < count; i += 2) static_cast<uint2*>(to)[i / 2] = {from[i], from[i + 1]};
  } else {
    using Word = typename Choose<bytes == 4, unsigned, unsigned short>::Type;
#pragma unroll
    for (int i = 0; i < count; ++i) static_cast<Word*>(to)[i] = Word(from[i]);
  }
}

/// How `count` neighbouring elements of a type lie in words, read `bytes` at a time.
template <class Element, int count, int bytes>
struct Words {
  using Stored = typename Element::Stored;
  static constexpr int per_word = sizeof(Stored) == 2 && bytes >= 4 ? 2 : 1;
  static constexpr int words = count / per_word;

  unsigned of[words];

  static __device__ __forceinline__ Stored stored(unsigned word, int half) {
    if constexpr (sizeof(Stored) == 4) {
      return __uint_as_float(word);
    } else {
      return Stored(half == 0 ? word : word >> 16);
    }
  }
  static __device__ __forceinline__ unsigned word(Stored element) {
    if constexpr (sizeof(Stored) == 4) {
      return __float_as_uint(element);
    } else {
      return element;
    }
  }
  __device__ __forceinline__ float operand(int i) const {
    return Element::operand(stored(of[i / per_word], i % per_word));
  }
  __device__ __forceinline__ void set(const float (&values)[count]) {
#pragma unroll
    for (int i = 0; i < words; ++i) {
      if constexpr (sizeof(Stored) == 4) {
        of[i] = __float_as_uint(Element::rounded(values[i]));
      } else if constexpr (per_word == 2) {
        of[i] = Element::rounded(values[2 * i], values[2 * i + 1]);
      } else {
        of[i] = Element::rounded(values[i]);
      }
    }
  }
};

}  // namespace phaseconv
