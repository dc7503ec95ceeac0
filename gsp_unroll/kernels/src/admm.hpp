// Steps of plain ADMM between two looks at its gap: all with the same numbers, over-relaxed.
//
//   s = a grad x + (1 - a) z + u,   u <- clip(s, tau),   z <- s - u
//   r = h (y - x) + rho div(w (z - u - grad x)),   then J steps of the linear solve, as block.hpp
//
// One number per edge and channel carries the state: s, of which u and z are parts.
#pragma once
#include "block.hpp"

namespace gsp {

template <int NORM, class T> struct RelaxedEdges {
  const Block<T>& b;
  T* state;
  T tau, relaxation;

  // For the norm across channels: what clips s before and after this step, on every edge of a row.
  void operator()(long row) const {
    if (NORM != L2) return;
    const T* s = state + b.edge(row, 0, 0);
    for (long o = 0; o < b.g.K; o++)
      for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
        Vec<T> square = {}, square_next = {};
        for (long c = 0; c < b.C(); c++) {
          const Vec<T> before = load(s + (o * b.C() + c) * b.g.stride + i);
          square += before * before;
        }
        const Vec<T> clips = shrinkage(square);
        for (long c = 0; c < b.C(); c++) {
          const T* x = b.x + b.at(row, c) + i;
          const Vec<T> before = load(s + (o * b.C() + c) * b.g.stride + i);
          const Vec<T> next = relaxed(load(x + b.head[o]) - load(x), before, clips * before);
          square_next += next * next;
        }
        store(b.scale + o * b.g.stride + i, clips);
        store(b.scale + (b.g.K + o) * b.g.stride + i, shrinkage(square_next));
      }
  }

  template <class Group> void operator()(long row, Group, long c0) const {
    constexpr int G = Group::value;
    const long S = b.g.stride, K = b.g.K, CS = b.C() * S, last = b.g.vectors - 1;
    const long* head = b.head.data();
    const T *x = b.x + b.at(row, c0), *w = b.w + b.edge(row, 0), *scale = b.scale;
    T *ring = b.ring_row(row) + c0 * S, *r = b.r + b.at(row, c0), *s = state + b.edge(row, 0, c0);
    Mask<T> inside = first<T>(lanes<T>);
    for (long v = 0, i = 0; v <= last; v++, i += lanes<T>) {
      if (v == last) inside = b.g.tail;
      Vec<T> here[G], leaving[G];
      for (int c = 0; c < G; c++) {
        here[c] = load(x + c * S + i);
        leaving[c] = Vec<T>{};
      }
      for (long o = 0, e = i; o < K; o++, e += CS) {
        const Vec<T> weight = load(w + o * S + i);
        const T* there = x + head[o] + i;
        Vec<T> clips = {}, clips_next = {};
        if (NORM == L2) {
          clips = load(scale + o * S + i);
          clips_next = load(scale + (K + o) * S + i);
        }
        for (int c = 0; c < G; c++) {
          const Vec<T> before = load(s + e + c * S), difference = load(there + c * S) - here[c];
          const Vec<T> u = NORM == L1 ? clip<T>(before, fill<T>(tau)) : clips * before;
          const Vec<T> next = only<T>(inside, relaxed(difference, before, u));
          const Vec<T> u_next = NORM == L1 ? clip<T>(next, fill<T>(tau)) : clips_next * next;
          const Vec<T> q = only<T>(inside, weight * (next - u_next - u_next - difference));
          store(s + e + c * S, next);
          store(ring + e + c * S, q);
          leaving[c] += q;
        }
      }
      for (int c = 0; c < G; c++) store(r + c * S + i, -leaving[c]);
    }
  }

 private:
  Vec<T> relaxed(Vec<T> difference, Vec<T> before, Vec<T> u) const {
    return relaxation * difference + (1 - relaxation) * (before - u) + u;
  }

  Vec<T> shrinkage(Vec<T> square) const {
    Vec<T> s;
    for (long l = 0; l < lanes<T>; l++)
      s[l] = square[l] > tau * tau ? tau / std::sqrt(square[l]) : T(1);
    return s;
  }
};

// f(number of a user's edge signal (edges, channels), its place in padded rows)
template <class T, class F>
void for_edge_numbers(const Layout<T>& g, const Operand<T>& of, long p, long C, long N, F f) {
  for_slots(g, [&](long row, long o, long begin, long end) {
    for (long c = 0; c < C; c++) {
      T* user = of.data + of.plane[p] + (o * N + g.source[row] * g.width) * of.node + c * of.channel;
      const long place = ((row * g.K + o) * C + c) * g.stride;
      for (long i = begin; i < end; i++) f(user[i * of.node], place + i);
    }
  });
}

template <int NORM, class T>
void admm_plane(const Layout<T>& g, const Options& o, const Coefficients<T>& k, T relaxation,
                const Inputs<T>& in, const Operand<T>& state_in, const Operand<T>& x_out,
                const Operand<T>& state_out, long p, long N) {
  Workspace& space = workspace();
  const long C = o.channels;
  space.reserve(block_bytes(g, o) + 2 * Workspace::bytes_for<T>(g.size(C)) +
                Workspace::bytes_for<T>(g.size(g.K * C)));
  Planes<T> of{g, space};
  Block<T> b = open_block(g, o, k, of);
  T* direction[2] = {of.rows(C), of.rows(C)};
  T* state = of.rows(g.K * C);
  read_plane(b, in, p, N);
  for_edge_numbers(g, state_in, p, C, N, [&](T& user, long place) { state[place] = user; });
  const RelaxedEdges<NORM, T> edges{b, state, k.tau[0], relaxation};
  for (long t = 0; t < o.iterations; t++)
    iterate_edges(b, 0, edges, [&](long j) { return direction[j % 2]; });
  write_signal(g, b.x, p, C, x_out);
  for_edge_numbers(g, state_out, p, C, N, [&](T& user, long place) { user = state[place]; });
  space.release();
}

}  // namespace gsp
