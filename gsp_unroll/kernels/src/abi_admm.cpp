// The C entry points of plain ADMM; see native_admm.py.
#include "admm.hpp"
#include "entry.hpp"

namespace gsp {

// One set of coefficients for each plane, and one entry in it for all iterations.
template <class T>
int admm(const Lattice* lattice, const Options* o, const Coefficients<T>* k, double relaxation,
         const Inputs<T>* in, const Operand<T>* state_in, const Operand<T>* x_out,
         const Operand<T>* state_out, int64_t planes, int64_t nodes, int threads) {
  const Layout<T> g(*lattice);
  const T a = T(relaxation);
  Options one = *o;
  one.iterations = 1;
  return for_planes(planes, threads, [&](int64_t p) {
    const Coefficients<T> mine = set_of(*k, one, p);
    if (o->norm == L1)
      admm_plane<L1>(g, *o, mine, a, *in, *state_in, *x_out, *state_out, p, nodes);
    if (o->norm == L2)
      admm_plane<L2>(g, *o, mine, a, *in, *state_in, *x_out, *state_out, p, nodes);
  });
}

}  // namespace gsp

#define GSP_ADMM(type, T)                                                                          \
  GSP_EXPORT(gsp_admm_##type)(                                                                      \
      const gsp::Lattice* g, const gsp::Options* o, const gsp::Coefficients<T>* k,                 \
      double relaxation, const gsp::Inputs<T>* in, const gsp::Operand<T>* state_in,                \
      const gsp::Operand<T>* x_out, const gsp::Operand<T>* state_out, int64_t planes,              \
      int64_t nodes, int threads) {                                                                \
    return gsp::admm<T>(g, o, k, relaxation, in, state_in, x_out, state_out, planes, nodes,        \
                        threads);                                                                  \
  }

GSP_ADMM(float32, float)
GSP_ADMM(float64, double)
