// What the C entry points share.
#pragma once
#include "block.hpp"

#define GSP_EXPORT(name) extern "C" __attribute__((visibility("default"))) int name

namespace gsp {

// Runs f(p) for every plane and says whether all went well; an exception must not leave OpenMP.
template <class F> int for_planes(int64_t planes, int threads, F f) {
  int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(threads) reduction(| : failed)
  for (int64_t p = 0; p < planes; p++) {
    try {
      f(p);
    } catch (...) {
      failed |= 1;
    }
  }
  return failed;
}

// The coefficients of set s.
template <class T> Coefficients<T> set_of(const Coefficients<T>& k, const Options& o, long s) {
  const long T_ = o.iterations, J = o.cg_steps;
  return {k.tau + s * T_, k.rho + s * T_, k.ratio + s * T_, k.alpha + s * T_ * J,
          k.beta + s * T_ * (J - 1)};
}

}  // namespace gsp
