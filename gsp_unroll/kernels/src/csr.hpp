// Any graph: signals of a plane as one record per node, and products over its list of edges.
//
// Channels lie side by side in a record, so that one load fetches all that an edge needs of a node:
// groups of a whole register, and for the rest the next power of two, filled up with zeros. The
// filling costs nothing and stays zero, since every stage is linear in each lane or masks it.
#pragma once
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "stencil.hpp"

namespace gsp {
namespace csr {

// A sweep is compiled once, and not again into each stage that calls it.
#define GSP_SWEEP __attribute__((noinline))

// G numbers that are worked on together; one alone is a plain number.
template <class T, int G> struct PackOf {
  typedef T type __attribute__((vector_size(G * sizeof(T))));
};
template <class T> struct PackOf<T, 1> { typedef T type; };
template <class T, int G> using Pack = typename PackOf<T, G>::type;

template <int G, class T> inline Pack<T, G> get(const T* p) {
  Pack<T, G> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
template <int G, class T> inline void put(T* p, Pack<T, G> v) { std::memcpy(p, &v, sizeof(v)); }

template <int G, class T> inline T sum_of(Pack<T, G> v) {
  T lane[G];
  std::memcpy(lane, &v, sizeof(v));
  // neighbours first: the order that half-register shuffles give
  for (int width = G / 2; width; width /= 2)
    for (int l = 0; l < width; l++) lane[l] += lane[l + width];
  return lane[0];
}

// numbers in the group of channels that starts where `left` channels are still to come
template <class T> constexpr long group_size(long left) {
  if (left >= lanes<T>) return lanes<T>;
  long size = 1;
  while (size < left) size *= 2;
  return size;
}

template <class T> constexpr long record_size(long channels) {
  long size = 0;
  while (size < channels) size += group_size<T>(channels - size);
  return size;
}

// f(size of the group, its first channel)
template <class T, class F> void by_groups(long channels, F f) {
  for (long c = 0; c < channels;) {
    const long size = group_size<T>(channels - c);
    if (size == 1) f(std::integral_constant<int, 1>{}, c);
    if (size == 2) f(std::integral_constant<int, 2>{}, c);
    if constexpr (lanes<T> >= 4)
      if (size == 4) f(std::integral_constant<int, 4>{}, c);
    if constexpr (lanes<T> >= 8)
      if (size == 8) f(std::integral_constant<int, 8>{}, c);
    if constexpr (lanes<T> >= 16)
      if (size == 16) f(std::integral_constant<int, 16>{}, c);
    c += size;
  }
}

// How far ahead of its use a number that lies anywhere is asked for.
constexpr long ahead = 64;

inline void ask_for(const void* p) { __builtin_prefetch(p); }

// f(number), as a constant where it is small: loops over so few channels cost more than their body
template <class F> void known_if_few(long number, F f) {
  if (number == 1) return f(std::integral_constant<long, 1>{});
  if (number == 2) return f(std::integral_constant<long, 2>{});
  if (number == 3) return f(std::integral_constant<long, 3>{});
  if (number == 4) return f(std::integral_constant<long, 4>{});
  f(number);
}

// Signals of plane p to records and back, `step` numbers apart; record k is node order[k], or node
// k without an order. The rest of a record is zeroed, and a second one behind it if `RECORDS` is 2.
template <int RECORDS = 1, class T>
void read_records(const Operand<T>& from, long p, const int32_t* order, long nodes, long channels,
                  T* to, long step) {
  const T* base = from.data + from.plane[p];
  const auto read = [&](auto known, auto stride) {
    const long count = known, size = RECORDS * record_size<T>(count);
    for (long k = 0; k < nodes; k++) {
      if (order) ask_for(base + order[std::min(k + ahead, nodes - 1)] * from.node);
      const T* s = base + (order ? order[k] : k) * from.node;
      T* d = to + k * step;
      for (long c = 0; c < count; c++) d[c] = s[c * stride];
      for (long c = count; c < size; c++) d[c] = 0;
    }
  };
  if (from.channel != 1) return read(channels, from.channel);
  known_if_few(channels, [&](auto known) { read(known, std::integral_constant<long, 1>{}); });
}

template <class T>
void write_records(const T* from, long step, long p, const int32_t* order, long nodes,
                   long channels, const Operand<T>& to) {
  T* base = to.data + to.plane[p];
  const auto write = [&](auto known, auto stride) {
    const long count = known;
    for (long k = 0; k < nodes; k++) {
      T* d = base + (order ? order[k] : k) * to.node;
      const T* s = from + k * step;
      for (long c = 0; c < count; c++) d[c * stride] = s[c];
    }
  };
  if (to.channel != 1) return write(channels, to.channel);
  known_if_few(channels, [&](auto known) { write(known, std::integral_constant<long, 1>{}); });
}

// ---- one product --------------------------------------------------------------------------------
//
// Nodes come in any order, so what a product costs is the places that it visits at random. In the
// order of the edges there is one per edge: the weights and the tails are read in a row (edges are
// usually sorted), and the two numbers that the other end needs lie side by side. Rows of
// neighbours would visit every edge twice, and the weights at random as well.

// The edges as Python hands them over.
struct Ends {
  int64_t nodes, edges;
  const int32_t *tail, *head;
};

// Two signals of a plane, one behind the other in each record.
template <class T> struct Pairs {
  const Ends& g;
  long size;
  T* data;

  Pairs(const Ends& ends, long channels)
      : g(ends), size(record_size<T>(channels)) {
    Workspace& space = workspace();
    space.reserve(Workspace::bytes_for<T>(2 * size * g.nodes));
    data = space.take<T>(2 * size * g.nodes);
  }
  ~Pairs() { workspace().release(); }

  // f(edge, record of its tail, record of its head, distance of the two signals) for the group of
  // channels that starts at c
  template <int G, class F> void for_edges(long c, F f) const {
    const int32_t *tail = g.tail, *head = g.head;
    T* const first = data + c;
    const long edges = g.edges, soon = edges - ahead;
    const auto run = [&](auto distance) {
      const long step = 2 * distance;
      for (long e = 0; e < edges; e++) {
        ask_for(first + step * head[e < soon ? e + ahead : e]);
        f(e, first + step * tail[e], first + step * head[e], distance);
      }
    };
    if (size == G) return run(std::integral_constant<long, G>{});
    run(size);
  }
};

// y = div(w grad x)
template <class T>
void laplacian_plane(const Ends& g, long channels, const Operand<T>& weights, const Operand<T>& x,
                     const Operand<T>& y, long p) {
  const Pairs<T> pairs(g, channels);
  const long size = pairs.size, step = 2 * size;
  read_records<2>(x, p, nullptr, g.nodes, channels, pairs.data, step);
  const T* w = weights.data + weights.plane[p];
  by_groups<T>(channels, [&](auto group, long c) {
    constexpr int G = decltype(group)::value;
    pairs.template for_edges<G>(c, [&](long e, T* tail, T* head, long to_sum) {
      const Pack<T, G> flow = w[e] * (get<G>(tail) - get<G>(head));
      put<G>(tail + to_sum, get<G>(tail + to_sum) + flow);
      put<G>(head + to_sum, get<G>(head + to_sum) - flow);
    });
  });
  write_records(pairs.data + size, step, p, nullptr, g.nodes, channels, y);
}

// e = sum over channels of (grad x)(grad h)
template <class T>
void edge_energy_plane(const Ends& g, long channels, const Operand<T>& x, const Operand<T>& h,
                       const Operand<T>& energy, long p) {
  const Pairs<T> pairs(g, channels);
  const long size = pairs.size, step = 2 * size;
  read_records(x, p, nullptr, g.nodes, channels, pairs.data, step);
  read_records(h, p, nullptr, g.nodes, channels, pairs.data + size, step);
  T* out = energy.data + energy.plane[p];
  by_groups<T>(channels, [&](auto group, long c) {
    constexpr int G = decltype(group)::value;
    pairs.template for_edges<G>(c, [&](long e, const T* tail, const T* head, long to_h) {
      const T sum = sum_of<G, T>((get<G>(tail) - get<G>(head)) *
                                 (get<G>(tail + to_h) - get<G>(head + to_h)));
      out[e] = c ? out[e] + sum : sum;
    });
  });
}

}  // namespace csr
}  // namespace gsp
