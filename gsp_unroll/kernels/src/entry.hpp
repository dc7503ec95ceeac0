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

// Runs f(p, rows) for runs of rows that make up every plane: whole planes while there is one for each
// thread, and else as many runs of `shortest` rows or more as it takes.
template <class T, class F>
int for_runs(const Layout<T>& g, int64_t planes, int threads, long shortest, F f) {
  const long some = std::max<int64_t>(1, planes), wanted = (threads + some - 1) / some;
  const long pieces = std::max(1L, std::min(wanted, g.rows / std::max(1L, shortest)));
  const long rows = (g.rows + pieces - 1) / pieces;
  return for_planes(planes * pieces, threads, [&](int64_t t) {
    const long first = t % pieces * rows;
    if (first < g.rows) f(t / pieces, Run{first, std::min(g.rows, first + rows)});
  });
}

// The coefficients of set s.
template <class T> Coefficients<T> set_of(const Coefficients<T>& k, const Options& o, long s) {
  const long T_ = o.iterations, J = o.cg_steps;
  return {k.tau + s * T_, k.rho + s * T_, k.ratio + s * T_, k.alpha + s * T_ * J,
          k.beta + s * T_ * (J - 1)};
}

}  // namespace gsp
