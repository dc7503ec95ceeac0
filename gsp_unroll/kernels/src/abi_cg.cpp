// The C entry points of conjugate gradients; see native_cg.py.
#include "cg.hpp"

namespace gsp {

// Planes side by side where there are enough of them, rows side by side otherwise.
template <class T>
int conjugate_gradient(const Lattice* lattice, const System<T>* s, const Stopping* stop,
                       const Operand<T>* out, int64_t* steps, int64_t C, int64_t planes, int64_t N,
                       int threads) {
  const Layout<T> g(*lattice);
  const bool inside = planes < threads;
  int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(threads) reduction(| : failed) if (!inside)
  for (int64_t p = 0; p < planes; p++) {
    try {
      steps[p] = solve_plane(g, C, *s, *stop, *out, p, N, inside ? threads : 1);
    } catch (...) {
      failed |= 1;
    }
  }
  return failed;
}

}  // namespace gsp

#define GSP_CG(type, T)                                                                            \
  extern "C" __attribute__((visibility("default"))) int gsp_cg_##type(                             \
      const gsp::Lattice* g, const gsp::System<T>* s, const gsp::Stopping* stop,                   \
      const gsp::Operand<T>* out, int64_t* steps, int64_t C, int64_t planes, int64_t N,            \
      int threads) {                                                                               \
    return gsp::conjugate_gradient<T>(g, s, stop, out, steps, C, planes, N, threads);              \
  }

GSP_CG(float32, float)
GSP_CG(float64, double)
