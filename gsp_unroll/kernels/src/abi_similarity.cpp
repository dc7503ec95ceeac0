// The C entry points of learned weights; see native_similarity.py.
#include "entry.hpp"
#include "similarity.hpp"

namespace gsp {

template <class T>
int similarity(const Lattice* lattice, const Operand<T>* x, T cut, T* w, int64_t C, int64_t planes,
               int64_t N, int threads) {
  const Layout<T> g(*lattice);
  return for_runs(g, planes, threads, 1, [&](long p, Run run) {
    similarity_rows(g, *x, cut, w + p * g.K * N, C, N, p, run);
  });
}

template <class T>
int similarity_reverse(const Lattice* lattice, const Operand<T>* x, T floor, const T* w,
                       const T* grad, T* to, int64_t C, int64_t planes, int64_t N, int threads) {
  const Layout<T> g(*lattice);
  return for_runs(g, planes, threads, 1, [&](long p, Run run) {
    similarity_reverse_rows(g, *x, floor, w + p * g.K * N, grad + p * g.K * N, to + p * N * C, C, N,
                            p, run);
  });
}

template <class T>
int over_degrees(const Lattice* lattice, const T* w, T smallest, T* to, int64_t planes, int64_t N,
           int threads) {
  const Layout<T> g(*lattice);
  return for_runs(g, planes, threads, 1, [&](long p, Run run) {
    over_degrees_rows(g, w + p * g.K * N, smallest, to + p * g.K * N, N, run);
  });
}

template <class T>
int over_degrees_reverse(const Lattice* lattice, const T* w, const T* grad, T smallest, T* to,
                   int64_t planes, int64_t N, int threads) {
  const Layout<T> g(*lattice);
  return for_runs(g, planes, threads, 1, [&](long p, Run run) {
    over_degrees_reverse_rows(g, w + p * g.K * N, grad + p * g.K * N, smallest, to + p * g.K * N, N, run);
  });
}

}  // namespace gsp

#define GSP_SIMILARITY(type, T)                                                                   \
  GSP_EXPORT(gsp_similarity_##type)(                                                              \
      const gsp::Lattice* g, const gsp::Operand<T>* x, double cut, T* w, int64_t C,               \
      int64_t planes, int64_t N, int threads) {                                                   \
    return gsp::similarity<T>(g, x, T(cut), w, C, planes, N, threads);                            \
  }                                                                                               \
  GSP_EXPORT(gsp_similarity_reverse_##type)(                                                      \
      const gsp::Lattice* g, const gsp::Operand<T>* x, double floor, const T* w, const T* grad,   \
      T* to, int64_t C, int64_t planes, int64_t N, int threads) {                                 \
    return gsp::similarity_reverse<T>(g, x, T(floor), w, grad, to, C, planes, N, threads);        \
  }                                                                                               \
  GSP_EXPORT(gsp_over_degrees_##type)(                                                                  \
      const gsp::Lattice* g, const T* w, double smallest, T* to, int64_t planes, int64_t N,       \
      int threads) {                                                                              \
    return gsp::over_degrees<T>(g, w, T(smallest), to, planes, N, threads);                             \
  }                                                                                               \
  GSP_EXPORT(gsp_over_degrees_reverse_##type)(                                                          \
      const gsp::Lattice* g, const T* w, const T* grad, double smallest, T* to, int64_t planes,   \
      int64_t N, int threads) {                                                                   \
    return gsp::over_degrees_reverse<T>(g, w, grad, T(smallest), to, planes, N, threads);               \
  }

GSP_SIMILARITY(float32, float)
GSP_SIMILARITY(float64, double)
