// Steps of plain ADMM (admm.hpp) on any graph: the state s = z + u at both ends of an edge, each seen
// from its own row.
#pragma once
#include "csr_block.hpp"

namespace gsp {
namespace csr {

// As Python hands it over; `tail` is where an edge starts, by the numbers that it has outside.
struct Directed {
  Rows rows;
  const int32_t* tail;
};

template <class T> inline T shrinkage(T square, T tau) {
  return square > tau * tau ? tau / std::sqrt(square) : T(1);
}

template <class V, class T> inline V relaxed(V difference, V before, V u, T relaxation) {
  return relaxation * difference + (1 - relaxation) * (before - u) + u;
}

// What clips the state of an entry before and after this step, where no single group has all
// channels.
template <class T>
GSP_SWEEP
void shrink_rows(const Solve<T>& b, const T* state, T* shrink, T tau, T relaxation, long first,
                 long end) {
  const long C = b.o.channels;
  for (long i = first; i < end; i++)
    for (long k = b.g.start[i]; k < b.g.start[i + 1]; k++) {
      const T *here = b.x + i * b.size, *there = b.x + b.g.neighbour[k] * b.size;
      const T* s = state + k * b.size;
      T square = 0, square_next = 0;
      for (long c = 0; c < C; c++) square += s[c] * s[c];
      const T clips = shrinkage(square, tau);
      for (long c = 0; c < C; c++) {
        const T next = relaxed<T, T>(there[c] - here[c], s[c], clips * s[c], relaxation);
        square_next += next * next;
      }
      shrink[2 * k] = clips;
      shrink[2 * k + 1] = shrinkage(square_next, tau);
    }
}

// The edges of some rows: the next state, r and the first direction.
template <int NORM, int G, class T>
GSP_SWEEP
void relaxed_rows(const Solve<T>& b, T* state, const T* shrink, T* p, T tau, T rho, T relaxation,
                  long c, long first, long end) {
  typedef Pack<T, G> V;
  const long S = b.size;
  const int32_t *start = b.g.start, *neighbour = b.g.neighbour;
  const T *x = b.x + c, *w = b.w;
  T* s = state + c;
  for (long i = first; i < end; i++) {
    const V here = get<G>(x + i * S);
    V div{};
    for (long k = start[i]; k < start[i + 1]; k++) {
      const V difference = get<G>(x + neighbour[k] * S) - here, before = get<G>(s + k * S);
      V u, next, u_next;
      if (NORM == L1) {
        u = clipped<T, V>(before, tau);
        next = relaxed<V, T>(difference, before, u, relaxation);
        u_next = clipped<T, V>(next, tau);
      } else {
        const T f = shrink ? shrink[2 * k] : shrinkage(sum_of<G, T>(before * before), tau);
        u = f * before;
        next = relaxed<V, T>(difference, before, u, relaxation);
        u_next = (shrink ? shrink[2 * k + 1] : shrinkage(sum_of<G, T>(next * next), tau)) * next;
      }
      put<G>(s + k * S, next);
      div -= w[k] * (next - u_next - u_next - difference);
    }
    first_direction<G>(b, p, rho, i, c, here, div);
  }
}

template <int NORM, class T>
void admm_plane(const Directed& graph, const Options& o, const Coefficients<T>& k, T relaxation,
                const Inputs<T>& in, const Operand<T>& state_in, const Operand<T>& x_out,
                const Operand<T>& state_out, long plane, const Parts& parts) {
  const Rows& g = graph.rows;
  Workspace& space = workspace();
  Solve<T> b{g, o, k, parts, record_size<T>(o.channels)};
  T *direction[2], *state, *shrink = nullptr;
  const bool several = NORM == L2 && b.several_groups();
  lay_out(space, [&](Layer& of) {
    take_solve<L1>(b, of);
    for (T*& d : direction) d = of.take<T>(g.nodes * b.size);
    state = of.take<T>(g.entries * b.size);
    if (several) shrink = of.take<T>(2 * g.entries);
  });
  read_plane(b, in, plane);
  // f(number of a user's edge signal, the same in the row where the edge starts or ends, its sign)
  const auto for_states = [&](const Operand<T>& of, auto f) {
    parts.each([&](long, long first, long end) {
      for (long i = first; i < end; i++)
        for (long e = g.start[i]; e < g.start[i + 1]; e++) {
          const T sign = graph.tail[g.edge[e]] == g.order[i] ? 1 : -1;
          for (long c = 0; c < o.channels; c++)
            f(of.data[of.plane[plane] + g.edge[e] * of.node + c * of.channel],
              state[e * b.size + c], sign);
        }
    });
  };
  std::memset(state, 0, g.entries * b.size * sizeof(T));
  for_states(state_in, [](T& user, T& mine, T sign) { mine = sign * user; });
  const auto edges = [&](long first, long end) {
    if (several) shrink_rows(b, state, shrink, k.tau[0], relaxation, first, end);
    by_groups<T>(o.channels, [&](auto group, long c) {
      relaxed_rows<NORM, decltype(group)::value>(b, state, shrink, direction[0], k.tau[0], k.rho[0],
                                                 relaxation, c, first, end);
    });
  };
  for (long t = 0; t < o.iterations; t++)
    iterate_edges(b, 0, edges, [&](long j) { return direction[j % 2]; });
  write_records(b.x, b.size, plane, g.order, g.nodes, o.channels, x_out);
  for_states(state_out, [](T& user, T& mine, T sign) {
    if (sign > 0) user = mine;
  });
  space.release();
}

}  // namespace csr
}  // namespace gsp
