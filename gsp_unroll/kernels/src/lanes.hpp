// Vectors of the width this file is compiled for, and sums over them.
//
// Every kernel is compiled once per instruction set, with GSP_BYTES the width of a register; the
// best that the processor has is chosen when the library is loaded (native.py).
#pragma once
#include <cstdint>
#include <cstring>

#ifndef GSP_BYTES
#define GSP_BYTES 16
#endif

namespace gsp {

typedef float Float __attribute__((vector_size(GSP_BYTES), aligned(4), may_alias));
typedef double Double __attribute__((vector_size(GSP_BYTES), aligned(8), may_alias));
typedef int32_t Int32 __attribute__((vector_size(GSP_BYTES), aligned(4), may_alias));
typedef int64_t Int64 __attribute__((vector_size(GSP_BYTES), aligned(8), may_alias));

template <class T> struct Kind;
template <> struct Kind<float> { typedef Float Vec; typedef Int32 Mask; typedef int32_t Bits; };
template <> struct Kind<double> { typedef Double Vec; typedef Int64 Mask; typedef int64_t Bits; };

template <class T> using Vec = typename Kind<T>::Vec;
template <class T> using Mask = typename Kind<T>::Mask;
template <class T> constexpr long lanes = GSP_BYTES / sizeof(T);

template <class T> inline Vec<T> load(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <class T> inline void store(T* p, Vec<T> v) { *reinterpret_cast<Vec<T>*>(p) = v; }
template <class T> inline Vec<T> fill(T value) { return Vec<T>{} + value; }

// `v` where the mask is set and +0 elsewhere, whatever `v` holds there: NaN times 0 would stay NaN
template <class T> inline Vec<T> only(Mask<T> mask, Vec<T> v) {
  return reinterpret_cast<Vec<T>>(reinterpret_cast<Mask<T>>(v) & mask);
}

// the first `count` lanes
template <class T> inline Mask<T> first(long count) {
  Mask<T> mask;
  for (long l = 0; l < lanes<T>; l++) mask[l] = l < count ? -1 : 0;
  return mask;
}

// the projection on [-bound, bound]; NaN stays NaN
template <class T> inline Vec<T> clip(Vec<T> v, Vec<T> bound) {
  v = v < -bound ? -bound : v;
  return v > bound ? bound : v;
}

template <class T> inline T total(Vec<T> v) {
  T sum = 0;
  for (long l = 0; l < lanes<T>; l++) sum += v[l];
  return sum;
}

// A long sum: lanes of T within a row, double across rows.
template <class T> struct Sum {
  double value = 0;
  void add_row(Vec<T> lanes_of_row) { value += total<T>(lanes_of_row); }
};

}  // namespace gsp
