// The C entry points of conjugate gradients; see native_cg.py.
#include "cg.hpp"
#include "entry.hpp"

namespace gsp {

// Planes side by side where there are enough of them, rows side by side otherwise.
template <class T>
int conjugate_gradient(const Lattice* lattice, const System<T>* s, const Stopping* stop,
                       const Operand<T>* out, int64_t* steps, int64_t C, int64_t planes, int64_t N,
                       int threads) {
  const Layout<T> g(*lattice);
  const bool inside = planes < threads;
  return for_planes(planes, inside ? 1 : threads, [&](int64_t p) {
    steps[p] = solve_plane(g, C, *s, *stop, *out, p, N, inside ? threads : 1);
  });
}

}  // namespace gsp

#define GSP_CG(type, T)                                                                            \
  GSP_EXPORT(gsp_cg_##type)(                                                                        \
      const gsp::Lattice* g, const gsp::System<T>* s, const gsp::Stopping* stop,                   \
      const gsp::Operand<T>* out, int64_t* steps, int64_t C, int64_t planes, int64_t N,            \
      int threads) {                                                                               \
    return gsp::conjugate_gradient<T>(g, s, stop, out, steps, C, planes, N, threads);              \
  }

GSP_CG(float32, float)
GSP_CG(float64, double)
