// A whole solve in one sweep per iteration: T steps of ADMM, each with J steps of the linear solve.
//
//   t = grad x + u,  u <- clip(t, tau)                  (z = t - u, so it is never stored)
//   r = h (y - x) + rho div(w (u_old - 2 u))            (= b - A x, with no product of its own)
//   p = r / D;   x += alpha p;   r -= alpha A p;   p = r / D + beta p
//
// with A = h + rho L. Fixed coefficients need no inner product, so every stage may follow the one
// before by `lag` rows: one pass over memory does a whole iteration, and p and r stay in cache.
// Without a norm (`NONE`) there are no u and one iteration: r = h (y - x) - rho L x, the Laplacian-
// regularised solve.
//
// Under a hard constraint (`hard`) h is 0 and observed nodes are never moved. Constants: see
// `Options`. The backward pass runs the forward again, this time keeping u and p, one plane at a
// time; nothing is stored in between but the inputs.
#pragma once
#include <cmath>
#include <type_traits>

#include "stencil.hpp"

namespace gsp {

enum Norm { NONE = 0, L1 = 1, L2 = 2 };

struct Options {
  int64_t channels, iterations, cg_steps, norm, hard, scaled;
};

// Per iteration, and per iteration and step: what the layer has learned. `ratio` rescales u when
// rho changes. Set s of parameters serves the planes p with p % sets == s.
template <class T> struct Coefficients {
  T *tau, *rho, *ratio, *alpha, *beta;
};

template <class T> struct Block {
  const Layout<T>& g;
  const Options& o;
  Coefficients<T> k;
  // signals of one plane: start (becomes the result), observation, mask; degree; weights
  T *x, *y, *m, *d, *w;
  T *r, *inv, *ring, *scale, *zero_u, *spare_u;
  // per offset: where the neighbour stands in a signal, the slot of the edge that arrives from the
  // other side, and the ring row that holds it
  std::vector<long> head, arriving;
  std::vector<const T*> ring_from;

  long C() const { return o.channels; }
  long steps() const { return o.cg_steps; }
  long at(long row, long c = 0) const { return (row * o.channels + c) * g.stride; }
  long edge(long row, long off) const { return (row * g.K + off) * g.stride; }
  long edge(long row, long off, long c) const { return ((row * g.K + off) * C() + c) * g.stride; }
  // the last lag + 1 rows of an edge signal
  // A dual that is zero, and one that nobody will read, is one row for all rows: it stays in cache.
  template <class U> U* u_row(U* u, long row, long c0 = 0) const {
    return u + (u == zero_u || u == spare_u ? c0 * g.stride : edge(row, 0, c0));
  }
  T* ring_row(long row) const {
    return ring + ((row + g.lag) % (g.lag + 1)) * g.K * C() * g.stride;
  }
  size_t ring_size() const { return ((g.lag + 1) * g.K * C()) * g.stride + 2 * g.margin(); }
  void clear_ring_row(long row) {
    std::memset(ring_row(row), 0, g.K * C() * g.stride * sizeof(T));
  }
  void find_ring_rows(long row) {
    for (long off = 0; off < g.K; off++)
      ring_from[off] = ring_row(row - g.dr[off]) + off * C() * g.stride - g.dx[off];
  }
};

// f(channel group, first channel) over groups of at most four, which share each load of a weight
template <class F> void by_channels(long C, F f) {
  for (long c = 0; c < C;) {
    const long n = std::min(4L, C - c);
    if (n == 4) f(std::integral_constant<int, 4>{}, c);
    if (n == 3) f(std::integral_constant<int, 3>{}, c);
    if (n == 2) f(std::integral_constant<int, 2>{}, c);
    if (n == 1) f(std::integral_constant<int, 1>{}, c);
    c += n;
  }
}

template <class T> void degree_row(const Block<T>& b, long row) {
  for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
    Vec<T> sum = {};
    const T* w = b.w + b.edge(row, 0) + i;
    for (long o = 0; o < b.g.K; o++) sum += load(w + o * b.g.stride) + load(w + b.arriving[o]);
    store(b.d + row * b.g.stride + i, sum);
  }
}

// 1 / D, and 0 where D vanishes or the node is not free to move
template <class T> void scaling_row(const Block<T>& b, T rho, long row) {
  const Vec<T> tiny = fill<T>(sizeof(T) == 4 ? T(1.0842022e-19) : T(1.4916681462400413e-154));
  for (long c = 0; c < b.C(); c++)
    for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
      const Vec<T> m = load(b.m + b.at(row, c) + i);
      Vec<T> s = fill<T>(1);
      if (b.o.scaled) {
        Vec<T> D = fill<T>(rho) * load(b.d + row * b.g.stride + i);
        if (!b.o.hard) D += m;
        s = only<T>(D > tiny, s / D);
      }
      if (b.o.hard) s = only<T>(m == Vec<T>{}, s);
      store(b.inv + b.at(row, c) + i, s);
    }
}

// For the norm across channels: what u is scaled by on every edge that leaves `row`.
template <class T> void group_scale_row(const Block<T>& b, const T* u, T tau, T ratio, long row) {
  u = b.u_row(u, row);
  for (long o = 0; o < b.g.K; o++)
    for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
      Vec<T> square = {};
      for (long c = 0; c < b.C(); c++) {
        const T* x = b.x + b.at(row, c) + i;
        const Vec<T> t = load(x + b.head[o]) - load(x) + ratio * load(u + (o * b.C() + c) * b.g.stride + i);
        square += t * t;
      }
      Vec<T> s;
      for (long l = 0; l < lanes<T>; l++)
        s[l] = square[l] > tau * tau ? tau / std::sqrt(square[l]) : T(1);
      store(b.scale + o * b.g.stride + i, s);
    }
}

// The edges that leave `row`: u from t, and q = w (u_old - 2 u_new) into the ring.
template <int NORM, int G, class T>
void edge_row(const Block<T>& b, const T* u_in, T* u_out, T tau, T ratio, long row, long c0) {
  // names of our own for what the loops read: the compiler cannot know that a store leaves it alone
  const long S = b.g.stride, K = b.g.K, CS = b.C() * S, last = b.g.vectors - 1;
  const long* head = b.head.data();
  const T *x = b.x + b.at(row, c0), *w = b.w + b.edge(row, 0), *scale = b.scale;
  T *ring = b.ring_row(row) + c0 * S, *r = b.r + b.at(row, c0);
  u_in = b.u_row(u_in, row, c0);
  u_out = b.u_row(u_out, row, c0);
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
      Vec<T> s = {};
      if (NORM == L2) s = load(scale + o * S + i);
      for (int c = 0; c < G; c++) {
        const Vec<T> difference = load(there + c * S) - here[c];
        Vec<T> q;
        if (NORM == NONE) {
          q = -weight * difference;
        } else {
          const Vec<T> u = ratio * load(u_in + e + c * S), t = difference + u;
          const Vec<T> u_new = NORM == L1 ? clip<T>(t, fill<T>(tau)) : s * t;
          store(u_out + e + c * S, u_new);
          q = weight * (u - u_new - u_new);
        }
        q = only<T>(inside, q);
        store(ring + e + c * S, q);
        leaving[c] += q;
      }
    }
    for (int c = 0; c < G; c++) store(r + c * S + i, -leaving[c]);
  }
}

// The sum, over the edges that arrive at column i, of what the ring holds (`find_ring_rows` first).
template <int G, class T>
inline void arriving_sum(const Block<T>& b, long c0, long i, Vec<T> (&sum)[G]) {
  const long S = b.g.stride;
  for (long o = 0; o < b.g.K; o++) {
    const T* from = b.ring_from[o] + c0 * S + i;
    for (int c = 0; c < G; c++) sum[c] += load(from + c * S);
  }
}

// r = h (y - x) + rho div(q) once the ring holds q, and the first direction p = r / D.
template <int G, class T>
void residual_row(const Block<T>& b, T* p, T rho, long row, long c0) {
  for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
    Vec<T> div[G];
    for (int c = 0; c < G; c++) div[c] = load(b.r + b.at(row, c0 + c) + i);
    arriving_sum<G>(b, c0, i, div);
    for (int c = 0; c < G; c++) {
      const long a = b.at(row, c0 + c) + i;
      Vec<T> r = rho * div[c];
      if (!b.o.hard) r += load(b.m + a) * (load(b.y + a) - load(b.x + a));
      Vec<T> direction = load(b.inv + a) * r;
      if (b.o.hard) direction = only<T>(load(b.m + a) == Vec<T>{}, direction);
      if (v == b.g.vectors - 1) direction = only<T>(b.g.tail, direction);
      store(b.r + a, r);
      store(p + a, direction);
    }
  }
}

// W p at U vectors from p on, where w is the row's first weight there. Two sums for each, so that
// one addition need not wait for the other.
template <int G, int U, class T>
inline void neighbour_sum(const Block<T>& b, const T* p, const T* w, Vec<T> (&sum)[U][G]) {
  const long S = b.g.stride, K = b.g.K;
  const long *head = b.head.data(), *arriving = b.arriving.data();
  // one base for each channel: a neighbour is then one index for all of them
  const T* channel[G];
  for (int c = 0; c < G; c++) channel[c] = p + c * S;
  Vec<T> from_later[U][G] = {}, from_earlier[U][G] = {};
  const T* leaving = w;
  for (long o = 0; o < K; o++, leaving += S) {
    const long h = head[o], a = arriving[o];
    for (int u = 0; u < U; u++) {
      const Vec<T> forth = load(leaving + u * lanes<T>);
      for (int c = 0; c < G; c++)
        from_later[u][c] += forth * load(channel[c] + h + u * lanes<T>);
    }
    for (int u = 0; u < U; u++) {
      const Vec<T> back = load(w + a + u * lanes<T>);
      for (int c = 0; c < G; c++)
        from_earlier[u][c] += back * load(channel[c] - h + u * lanes<T>);
    }
  }
  for (int u = 0; u < U; u++)
    for (int c = 0; c < G; c++) sum[u][c] = from_later[u][c] + from_earlier[u][c];
}

// x += alpha p;  r -= alpha A p;  p_new = r / D + beta p;  and after the last product the last move.
template <int G, int U, class T>
inline void cg_columns(const Block<T>& b, const T* p, T* p_new, T rho, T alpha, T beta,
                       T last_alpha, long row, long c0, long i, Mask<T> inside) {
  const long S = b.g.stride, a0 = b.at(row, c0) + i;
  Vec<T> sum[U][G];
  neighbour_sum<G, U>(b, p + a0, b.w + b.edge(row, 0) + i, sum);
  for (int u = 0; u < U; u++) {
    const Vec<T> d = load(b.d + row * S + i + u * lanes<T>);
    for (int c = 0; c < G; c++) {
      const long a = a0 + c * S + u * lanes<T>;
      const Vec<T> here = load(p + a), m = load(b.m + a);
      Vec<T> Ap = rho * (d * here - sum[u][c]);
      if (!b.o.hard) Ap += m * here;
      const Vec<T> r = load(b.r + a) - alpha * Ap;
      Vec<T> direction = load(b.inv + a) * r + beta * here;
      if (b.o.hard) direction = only<T>(m == Vec<T>{}, direction);
      if (u == U - 1) direction = only<T>(inside, direction);
      store(b.r + a, r);
      store(p_new + a, direction);
      store(b.x + a, load(b.x + a) + alpha * here + last_alpha * direction);
    }
  }
}

template <int G, class T>
void cg_row(const Block<T>& b, const T* p, T* p_new, T rho, T alpha, T beta, T last_alpha, long row,
            long c0) {
  const Mask<T> all = first<T>(lanes<T>);
  constexpr int U = G < 4 ? 2 : 1;
  long v = 0;
  for (; v + U < b.g.vectors; v += U)
    cg_columns<G, U>(b, p, p_new, rho, alpha, beta, last_alpha, row, c0, v * lanes<T>, all);
  for (; v < b.g.vectors; v++)
    cg_columns<G, 1>(b, p, p_new, rho, alpha, beta, last_alpha, row, c0, v * lanes<T>,
                     v == b.g.vectors - 1 ? b.g.tail : all);
}

template <class T> void move_row(const Block<T>& b, const T* p, T alpha, long row) {
  for (long c = 0; c < b.C(); c++)
    for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
      const long a = b.at(row, c) + i;
      store(b.x + a, load(b.x + a) + alpha * load(p + a));
    }
}

// One iteration t. `p(j)` is the buffer of the j-th direction. `edges(row)` readies what the edges
// that leave a row have in common; `edges(row, G, c0)` fills their part of the ring and of r.
template <class T, class Edges, class Directions>
void iterate_edges(Block<T>& b, long t, Edges edges, Directions p) {
  const long J = b.steps();
  const T rho = b.k.rho[t];
  const T *alpha = b.k.alpha + t * J, *beta = b.k.beta + t * (J - 1);
  std::memset(b.ring - b.g.margin(), 0, b.ring_size() * sizeof(T));
  for (long now = 0; now < b.g.rows + J * b.g.lag; now++) {
    if (now < b.g.rows) {
      if (b.g.holds(now)) {
        scaling_row(b, rho, now);
        b.find_ring_rows(now);
        edges(now);
        by_channels(b.C(), [&](auto G, long c0) {
          edges(now, G, c0);
          residual_row<G>(b, p(0), rho, now, c0);
        });
        if (J == 1) move_row(b, p(0), alpha[0], now);
      } else {
        b.clear_ring_row(now);
      }
    }
    for (long j = 0; j + 1 < J; j++) {
      const long row = now - (j + 1) * b.g.lag;
      if (!b.g.holds(row)) continue;
      const T last = j + 2 == J ? alpha[J - 1] : T(0);
      by_channels(b.C(), [&](auto G, long c0) {
        cg_row<G>(b, p(j), p(j + 1), rho, alpha[j], beta[j], last, row, c0);
      });
    }
  }
}

// One iteration t of a block; u_in may be u_out.
template <int NORM, class T> struct DualEdges {
  const Block<T>& b;
  const T* u_in;
  T* u_out;
  T tau, ratio;
  void operator()(long row) const {
    if (NORM == L2) group_scale_row(b, u_in, tau, ratio, row);
  }
  template <class G> void operator()(long row, G, long c0) const {
    edge_row<NORM, G::value>(b, u_in, u_out, tau, ratio, row, c0);
  }
};

template <int NORM, class T, class Directions>
void iterate(Block<T>& b, long t, const T* u_in, T* u_out, Directions p) {
  iterate_edges(b, t, DualEdges<NORM, T>{b, u_in, u_out, b.k.tau[t], b.k.ratio[t]}, p);
}

template <class T>
Block<T> open_block(const Layout<T>& g, const Options& o, const Coefficients<T>& k, Planes<T>& of) {
  Block<T> b{g, o, k};
  const long C = o.channels;
  b.x = of.rows(C), b.y = of.rows(C), b.m = of.rows(C), b.d = of.rows(1), b.w = of.rows(g.K);
  b.r = of.rows(C), b.inv = of.rows(C);
  b.ring = of.space.template take<T>(b.ring_size()) + g.margin();
  b.scale = of.space.template take<T>(2 * g.K * g.stride);
  const size_t edge_row = g.K * C * g.stride;
  b.zero_u = of.space.template take<T>(edge_row);
  b.spare_u = of.space.template take<T>(edge_row);
  std::memset(b.zero_u, 0, edge_row * sizeof(T));
  b.ring_from.resize(g.K);
  for (long off = 0; off < g.K; off++) {
    b.head.push_back(g.dr[off] * C * g.stride + g.dx[off]);
    b.arriving.push_back((off - g.dr[off] * g.K) * g.stride - g.dx[off]);
  }
  return b;
}

template <class T> size_t block_bytes(const Layout<T>& g, const Options& o) {
  const size_t C = o.channels;
  return 5 * Workspace::bytes_for<T>(g.size(C)) + Workspace::bytes_for<T>(g.size(1)) +
         Workspace::bytes_for<T>(g.size(g.K)) +
         Workspace::bytes_for<T>((g.lag + 1) * g.K * C * g.stride + 2 * g.margin()) +
         Workspace::bytes_for<T>(2 * g.K * g.stride) +
         2 * Workspace::bytes_for<T>(g.K * C * g.stride);
}

template <class T> struct Inputs {
  Operand<T> x, y, m, w;
};

template <class T> void read_plane(const Block<T>& b, const Inputs<T>& in, long p, long N) {
  read_signal(b.g, in.x, p, b.C(), b.x);
  read_signal(b.g, in.y, p, b.C(), b.y);
  read_signal(b.g, in.m, p, b.C(), b.m);
  read_weights(b.g, in.w, p, N, b.w);
  for (long row = 0; row < b.g.rows; row++)
    if (b.g.holds(row)) degree_row(b, row);
}

// How many rows away a solve looks: an edge at most at each of its products.
template <class T> long rows_seen(const Layout<T>& g, const Options& o) {
  return g.lag * (1 + o.iterations * (o.cg_steps + 1));
}

// The rows of `run`, from a lattice that ends as far from them as the solve looks: the values are
// those of the whole lattice, to the last bit.
template <int NORM, class T>
void forward_rows(const Layout<T>& whole, const Options& o, const Coefficients<T>& k,
                  const Inputs<T>& in, const Operand<T>& out, long p, long N, Run run) {
  const long seen = rows_seen(whole, o), begin = std::max(0L, run.first - seen);
  const Layout<T> g = whole.between(begin, std::min(whole.rows, run.end + seen));
  Workspace& space = workspace();
  const long edges = o.iterations > 1 ? g.K * o.channels : 0, last = o.iterations - 1;
  space.reserve(block_bytes(g, o) + 2 * Workspace::bytes_for<T>(g.size(o.channels)) +
                Workspace::bytes_for<T>(g.size(edges)));
  Planes<T> of{g, space};
  Block<T> b = open_block(g, o, k, of);
  T* direction[2] = {of.rows(o.channels), of.rows(o.channels)};
  T* u = of.rows(edges);
  read_plane(b, in, p, N);
  for (long t = 0; t < o.iterations; t++)
    iterate<NORM>(b, t, t ? u : b.zero_u, t < last ? u : b.spare_u,
                  [&](long j) { return direction[j % 2]; });
  write_signal(g, b.x, p, o.channels, out, {run.first - begin, run.end - begin});
  space.release();
}

}  // namespace gsp
