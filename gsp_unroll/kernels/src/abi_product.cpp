// The C entry points of single products; see native_product.py.
#include <type_traits>

#include "entry.hpp"
#include "product.hpp"

namespace gsp {

// f(plane, row) for all rows that hold nodes, a run of rows at a time
template <class T, class F>
void for_rows(const Layout<T>& g, int64_t planes, long per_node, int threads, F f) {
  const long per_task = std::max(1L, 65536 / std::max(1L, g.width * per_node));
  const long tasks = (g.rows + per_task - 1) / per_task;
#pragma omp parallel for schedule(static) num_threads(threads) if (planes * tasks > 1)
  for (int64_t t = 0; t < planes * tasks; t++) {
    const long first = t % tasks * per_task;
    for (long row = first; row < std::min(g.rows, first + per_task); row++)
      if (g.holds(row)) f(t / tasks, row);
  }
}

template <class T>
int product(const Lattice* lattice, const Operand<T>* w, const Operand<T>* x, T* y, int64_t C,
            int64_t planes, int64_t N, int threads) {
  const Layout<T> g(*lattice);
  const Spread<T> spread(C);
  for_rows(g, planes, g.K * C, threads, [&](long p, long row) {
    static thread_local std::vector<Neighbour<T>> near;
    const T* from = x->data + x->plane[p];
    const long here = g.source[row] * g.width * C;
    list_neighbours(g, from, w->data + w->plane[p], N, C, row, near);
    product_row(g, near, from + here, y + p * N * C + here, C, spread);
  });
  return 0;
}

template <class T>
int energy(const Lattice* lattice, const Operand<T>* x, const Operand<T>* z, T* e, int64_t C,
           int64_t planes, int64_t N, int threads) {
  const Layout<T> g(*lattice);
  for_rows(g, planes, g.K * C, threads, [&](long p, long row) {
    energy_row(g, x->data + x->plane[p], z->data + z->plane[p], e + p * g.K * N, N, C, row);
  });
  return 0;
}

template <int SIGN, class T>
int incident(const Lattice* lattice, const T* z, T* y, int64_t C, int64_t planes, int64_t N,
             int threads) {
  const Layout<T> g(*lattice);
  for_rows(g, planes, g.K * C, threads, [&](long p, long row) {
    incident_row<SIGN>(g, z + p * g.K * N * C, y + p * N * C, N, C, row);
  });
  return 0;
}

template <int SIGN, class T>
int ends(const Lattice* lattice, const T* x, T* z, int64_t C, int64_t planes, int64_t N,
         int threads) {
  const Layout<T> g(*lattice);
  for_rows(g, planes, g.K * C, threads, [&](long p, long row) {
    ends_row<SIGN>(g, x + p * N * C, z + p * g.K * N * C, N, C, row);
  });
  return 0;
}

}  // namespace gsp

#define GSP_PRODUCT(type, T)                                                                      \
  GSP_EXPORT(gsp_laplacian_##type)(                                                               \
      const gsp::Lattice* g, const gsp::Operand<T>* w, const gsp::Operand<T>* x, T* y, int64_t C, \
      int64_t planes, int64_t N, int threads) {                                                   \
    return gsp::product<T>(g, w, x, y, C, planes, N, threads);                                    \
  }                                                                                               \
  GSP_EXPORT(gsp_edge_energy_##type)(                                                             \
      const gsp::Lattice* g, const gsp::Operand<T>* x, const gsp::Operand<T>* z, T* e, int64_t C, \
      int64_t planes, int64_t N, int threads) {                                                   \
    return gsp::energy<T>(g, x, z, e, C, planes, N, threads);                                     \
  }                                                                                               \
  GSP_ENDS(incident_sum_##type, incident, 1, T)                                                   \
  GSP_ENDS(ends_sum_##type, ends, 1, T)                                                           \
  GSP_ENDS(divergence_##type, incident, -1, T)                                                    \
  GSP_ENDS(gradient_##type, ends, -1, T)

#define GSP_ENDS(name, kernel, sign, T)                                                           \
  GSP_EXPORT(gsp_##name)(                                                                         \
      const gsp::Lattice* g, const T* given, T* result, int64_t C, int64_t planes, int64_t N,     \
      int threads) {                                                                              \
    return gsp::kernel<sign, T>(g, given, result, C, planes, N, threads);                         \
  }

GSP_PRODUCT(float32, float)
GSP_PRODUCT(float64, double)
