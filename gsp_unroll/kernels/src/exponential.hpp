// exp in registers, the same for every lane and instruction set.
#pragma once
#include "lanes.hpp"

namespace gsp {

template <class T> struct ExpConstants;
template <> struct ExpConstants<float> {
  static constexpr int degree = 7, mantissa = 23, bias = 127;
  static constexpr float high = 0x1.62e4p-1f, low = 0x1.7f7d1cp-20f, shift = 0x1.8p23f;
};
template <> struct ExpConstants<double> {
  static constexpr int degree = 13, mantissa = 52, bias = 1023;
  static constexpr double high = 0x1.62e42fefa38p-1, low = 0x1.ef35793c7673p-45, shift = 0x1.8p52;
};

// exp(x) for |x| of 80 at most: 2^n exp(r) with n the integer next to x / log 2, r = x - n log 2 and
// Taylor's series of exp. NaN stays NaN.
template <class T> inline Vec<T> exponential(Vec<T> x) {
  using K = ExpConstants<T>;
  // adding the shift leaves no place for a fraction, and n in the last bits
  const Vec<T> shifted = x * T(0x1.71547652b82fep0) + K::shift, n = shifted - K::shift;
  const Vec<T> r = x - n * K::high - n * K::low;
  Vec<T> sum = fill<T>(1);
  for (int k = K::degree; k > 0; k--) sum = 1 + r / T(k) * sum;
  const Mask<T> power = (reinterpret_cast<Mask<T>>(shifted) << K::mantissa) +
                        (Mask<T>{} + (typename Kind<T>::Bits(K::bias) << K::mantissa));
  return sum * reinterpret_cast<Vec<T>>(power);
}

}  // namespace gsp
