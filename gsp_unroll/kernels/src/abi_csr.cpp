// The C entry points for any graph; see native_csr.py.
#include "csr_admm.hpp"
#include "csr_reverse.hpp"
#include "entry.hpp"

namespace gsp {
namespace csr {

// Threads share the planes or, where these are fewer, the rows of each.
template <class F>
int for_planes_or_rows(const Rows& g, int64_t planes, int threads, F f) {
  const Parts alone(g, 1);
  if (planes >= threads || alone.count() == 1)
    return for_planes(planes, threads, [&](int64_t p) { f(p, alone); });
  const Parts shared(g, threads);
  return for_planes(planes, 1, [&](int64_t p) { f(p, shared); });
}

template <class T>
int block_forward(const Rows* g, const Options* o, const Coefficients<T>* k, int64_t sets,
                  const Inputs<T>* in, const Operand<T>* out, int64_t planes, int64_t,
                  int threads) {
  return for_planes_or_rows(*g, planes, threads, [&](int64_t p, const Parts& parts) {
    const Coefficients<T> mine = set_of(*k, *o, p % sets);
    if (o->norm == NONE) forward_plane<NONE>(*g, *o, mine, *in, *out, p, parts);
    if (o->norm == L1) forward_plane<L1>(*g, *o, mine, *in, *out, p, parts);
    if (o->norm == L2) forward_plane<L2>(*g, *o, mine, *in, *out, p, parts);
  });
}

// `by` holds one set of parameter gradients per plane.
template <class T>
int block_reverse(const Rows* g, const Options* o, const Coefficients<T>* k, int64_t sets,
                  const Inputs<T>* in, const Operand<T>* g_out, const Gradients<T>* to,
                  const Coefficients<T>* by, int64_t planes, int64_t, int threads) {
  return for_planes_or_rows(*g, planes, threads, [&](int64_t p, const Parts& parts) {
    const Coefficients<T> mine = set_of(*k, *o, p % sets), theirs = set_of(*by, *o, p);
    if (o->norm == NONE) reverse_plane<NONE>(*g, *o, mine, *in, *g_out, *to, theirs, p, parts);
    if (o->norm == L1) reverse_plane<L1>(*g, *o, mine, *in, *g_out, *to, theirs, p, parts);
    if (o->norm == L2) reverse_plane<L2>(*g, *o, mine, *in, *g_out, *to, theirs, p, parts);
  });
}

// One set of coefficients for each plane, and one entry in it for all iterations.
template <class T>
int admm(const Directed* g, const Options* o, const Coefficients<T>* k, double relaxation,
         const Inputs<T>* in, const Operand<T>* state_in, const Operand<T>* x_out,
         const Operand<T>* state_out, int64_t planes, int64_t, int threads) {
  const T a = T(relaxation);
  Options one = *o;
  one.iterations = 1;
  return for_planes_or_rows(g->rows, planes, threads, [&](int64_t p, const Parts& parts) {
    const Coefficients<T> mine = set_of(*k, one, p);
    if (o->norm == L1)
      admm_plane<L1>(*g, *o, mine, a, *in, *state_in, *x_out, *state_out, p, parts);
    if (o->norm == L2)
      admm_plane<L2>(*g, *o, mine, a, *in, *state_in, *x_out, *state_out, p, parts);
  });
}

}  // namespace csr
}  // namespace gsp

#define GSP_CSR(type, T)                                                                           \
  GSP_EXPORT(gsp_csr_laplacian_##type)                                                             \
  (const gsp::csr::Ends* g, int64_t channels, const gsp::Operand<T>* w, const gsp::Operand<T>* x,  \
   const gsp::Operand<T>* y, int64_t planes, int threads) {                                        \
    return gsp::for_planes(planes, threads, [&](int64_t p) {                                       \
      gsp::csr::laplacian_plane<T>(*g, channels, *w, *x, *y, p);                                   \
    });                                                                                            \
  }                                                                                                \
  GSP_EXPORT(gsp_csr_edge_energy_##type)                                                           \
  (const gsp::csr::Ends* g, int64_t channels, const gsp::Operand<T>* x, const gsp::Operand<T>* h,  \
   const gsp::Operand<T>* e, int64_t planes, int threads) {                                        \
    return gsp::for_planes(planes, threads, [&](int64_t p) {                                       \
      gsp::csr::edge_energy_plane<T>(*g, channels, *x, *h, *e, p);                                 \
    });                                                                                            \
  }                                                                                                \
  GSP_EXPORT(gsp_csr_block_forward_##type)                                                         \
  (const gsp::csr::Rows* g, const gsp::Options* o, const gsp::Coefficients<T>* k, int64_t sets,    \
   const gsp::Inputs<T>* in, const gsp::Operand<T>* out, int64_t planes, int64_t nodes,            \
   int threads) {                                                                                  \
    return gsp::csr::block_forward<T>(g, o, k, sets, in, out, planes, nodes, threads);             \
  }                                                                                                \
  GSP_EXPORT(gsp_csr_block_reverse_##type)                                                         \
  (const gsp::csr::Rows* g, const gsp::Options* o, const gsp::Coefficients<T>* k, int64_t sets,    \
   const gsp::Inputs<T>* in, const gsp::Operand<T>* g_out, const gsp::Gradients<T>* to,            \
   const gsp::Coefficients<T>* by, int64_t planes, int64_t nodes, int threads) {                   \
    return gsp::csr::block_reverse<T>(g, o, k, sets, in, g_out, to, by, planes, nodes, threads);   \
  }                                                                                                \
  GSP_EXPORT(gsp_csr_admm_##type)                                                                  \
  (const gsp::csr::Directed* g, const gsp::Options* o, const gsp::Coefficients<T>* k,              \
   double relaxation, const gsp::Inputs<T>* in, const gsp::Operand<T>* state_in,                   \
   const gsp::Operand<T>* x_out, const gsp::Operand<T>* state_out, int64_t planes, int64_t nodes,  \
   int threads) {                                                                                  \
    return gsp::csr::admm<T>(g, o, k, relaxation, in, state_in, x_out, state_out, planes, nodes,   \
                             threads);                                                             \
  }

GSP_CSR(float32, float)
GSP_CSR(float64, double)
