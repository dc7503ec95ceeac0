// The C entry points; see native.py.
#include "block_reverse.hpp"
#include "entry.hpp"

namespace gsp {

template <class T>
int block_forward(const Lattice* lattice, const Options* o, const Coefficients<T>* k, int64_t sets,
                  const Inputs<T>* in, const Operand<T>* out, int64_t planes, int64_t nodes,
                  int threads) {
  const Layout<T> g(*lattice);
  // a run computes again what it sees of the rows beside: three times as long pays with two threads
  return for_runs(g, planes, threads, 3 * rows_seen(g, *o), [&](int64_t p, Run run) {
    const Coefficients<T> mine = set_of(*k, *o, p % sets);
    if (o->norm == NONE) forward_rows<NONE>(g, *o, mine, *in, *out, p, nodes, run);
    if (o->norm == L1) forward_rows<L1>(g, *o, mine, *in, *out, p, nodes, run);
    if (o->norm == L2) forward_rows<L2>(g, *o, mine, *in, *out, p, nodes, run);
  });
}

// `by` holds one set of parameter gradients per plane.
template <class T>
int block_reverse(const Lattice* lattice, const Options* o, const Coefficients<T>* k, int64_t sets,
                  const Inputs<T>* in, const Operand<T>* g_out, const Gradients<T>* to,
                  const Coefficients<T>* by, int64_t planes, int64_t nodes, int threads) {
  const Layout<T> g(*lattice);
  return for_planes(planes, threads, [&](int64_t p) {
    const Coefficients<T> mine = set_of(*k, *o, p % sets), theirs = set_of(*by, *o, p);
    if (o->norm == NONE) reverse_plane<NONE>(g, *o, mine, *in, *g_out, *to, theirs, p, nodes);
    if (o->norm == L1) reverse_plane<L1>(g, *o, mine, *in, *g_out, *to, theirs, p, nodes);
    if (o->norm == L2) reverse_plane<L2>(g, *o, mine, *in, *g_out, *to, theirs, p, nodes);
  });
}

}  // namespace gsp

#define GSP_BLOCK(type, T)                                                                        \
  GSP_EXPORT(gsp_block_forward_##type)                                                            \
  (const gsp::Lattice* g, const gsp::Options* o, const gsp::Coefficients<T>* k,       \
   int64_t sets, const gsp::Inputs<T>* in, const gsp::Operand<T>* out, int64_t planes,    \
   int64_t nodes, int threads) {                                                                  \
    return gsp::block_forward<T>(g, o, k, sets, in, out, planes, nodes, threads);             \
  }                                                                                               \
  GSP_EXPORT(gsp_block_reverse_##type)                                                            \
  (const gsp::Lattice* g, const gsp::Options* o, const gsp::Coefficients<T>* k,       \
   int64_t sets, const gsp::Inputs<T>* in, const gsp::Operand<T>* g_out,                  \
   const gsp::Gradients<T>* to, const gsp::Coefficients<T>* by, int64_t planes,           \
   int64_t nodes, int threads) {                                                                  \
    return gsp::block_reverse<T>(g, o, k, sets, in, g_out, to, by, planes, nodes, threads);   \
  }

GSP_BLOCK(float32, float)
GSP_BLOCK(float64, double)
