// A whole solve (block.hpp) on any graph: the same algebra, in sweeps over all nodes.
//
// Every edge is stored at both of its ends, so that a stage is one sweep in which each row of
// neighbours reads what it needs and writes its own node only: nothing is scattered, rows may go to
// different threads, and no sum depends on which. What lives on edges, u and its gradient, is held
// at both ends as well, each seen from its own row, one the negative of the other to the last bit.
//
//   signal  [node][record]        weights  [entry]        edge signals  [entry][record]
#pragma once
#include "block.hpp"
#include "csr.hpp"

namespace gsp {
namespace csr {

// As Python hands it over: nodes in an order of the plan's own, `order` their numbers outside. Row
// i has the entries start[i] to start[i + 1]; those from later[i] on lead to later nodes, so that
// every edge is once among them. `edge` is the number of an entry's edge outside.
struct Rows {
  int64_t nodes, entries;
  const int32_t *order, *start, *later, *neighbour, *edge;
};

// Rows are dealt out in parts of about as many entries, the same for any number of threads: a sum
// over nodes is a sum over parts in their order.
struct Parts {
  std::vector<long> bounds;
  int threads;

  Parts(const Rows& g, int threads_) : threads(threads_) {
    const long work = g.entries + g.nodes, count = std::min(256L, work / part_size + 1);
    for (long part = 0, row = 0; part <= count; part++) {
      const long goal = work * part / count;
      while (row < g.nodes && g.start[row] + row < goal) row++;
      bounds.push_back(row);
    }
    bounds.back() = g.nodes;
    if (count == 1) threads = 1;
  }
  long count() const { return long(bounds.size()) - 1; }

  // f(part, its first row, end)
  template <class F> void each(F f) const {
    const long n = count();
    if (threads == 1) {
      for (long part = 0; part < n; part++) f(part, bounds[part], bounds[part + 1]);
      return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (long part = 0; part < n; part++) f(part, bounds[part], bounds[part + 1]);
  }

 private:
  static constexpr long part_size = 1 << 15;
};

template <class T> struct Solve {
  const Rows& g;
  const Options& o;
  Coefficients<T> k;
  const Parts& parts;
  long size;  // of a record
  // signals of one plane: start (becomes the result), observation, mask; degree; weights by entry
  T *x, *y, *m, *d, *w;
  T *r, *inv;
  T* square;  // |t|^2 by entry, for the norm across channels of several groups

  long steps() const { return o.cg_steps; }
  bool several_groups() const { return group_size<T>(o.channels) < size; }

  // f(group, first channel, part, first row, end)
  template <class F> void sweep(F f) const {
    parts.each([&](long part, long first, long end) {
      by_groups<T>(o.channels, [&](auto group, long c) { f(group, c, part, first, end); });
    });
  }
};

template <class T, class V> inline V clipped(V v, T bound) {
  const V high = V{} + bound;
  v = v < -high ? -high : v;
  return v > high ? high : v;
}

// 1 / D, and 0 where D vanishes or the node is not free to move
template <int G, class T>
inline Pack<T, G> scaling(const Solve<T>& b, T rho, long row, Pack<T, G> m) {
  typedef Pack<T, G> V;
  const T tiny = sizeof(T) == 4 ? T(1.0842022e-19) : T(1.4916681462400413e-154);
  V s = V{} + T(1);
  if (b.o.scaled) {
    V D = V{} + rho * b.d[row];
    if (!b.o.hard) D += m;
    s = D > V{} + tiny ? s / D : V{};
  }
  if (b.o.hard) s = m == V{} ? s : V{};
  return s;
}

// |t|^2 of the entries of some rows, where no single group has all channels.
template <class T>
GSP_SWEEP
void square_rows(const Solve<T>& b, const T* x, const T* u, T ratio, long first, long end) {
  by_groups<T>(b.o.channels, [&](auto group, long c) {
    constexpr int G = decltype(group)::value;
    typedef Pack<T, G> V;
    for (long i = first; i < end; i++) {
      const V here = get<G>(x + i * b.size + c);
      for (long k = b.g.start[i]; k < b.g.start[i + 1]; k++) {
        V t = get<G>(x + b.g.neighbour[k] * b.size + c) - here;
        if (u) t += ratio * get<G>(u + k * b.size + c);
        const T sum = sum_of<G, T>(t * t);
        b.square[k] = c ? b.square[k] + sum : sum;
      }
    }
  });
}

// r = h (y - x) + rho div of one row, and the first direction p = r / D.
template <int G, class T>
inline void first_direction(const Solve<T>& b, T* p, T rho, long row, long c, Pack<T, G> x,
                            Pack<T, G> div) {
  typedef Pack<T, G> V;
  const long a = row * b.size + c;
  const V m = get<G>(b.m + a), inv = scaling<G, T>(b, rho, row, m);
  V r = rho * div;
  if (!b.o.hard) r += m * (get<G>(b.y + a) - x);
  V direction = inv * r;
  if (b.o.hard) direction = m == V{} ? direction : V{};
  put<G>(b.inv + a, inv);
  put<G>(b.r + a, r);
  put<G>(p + a, direction);
}

// The edges of some rows: u from t, r = h (y - x) + rho div(w (u_old - 2 u_new)), and the first
// direction p = r / D. Without u_in it is zero; without u_out nobody will ask for it.
template <int NORM, int G, class T>
GSP_SWEEP
void edge_rows(const Solve<T>& b, const T* u_in, T* u_out, T* p, T tau, T rho, T ratio, long c,
               long first, long end) {
  typedef Pack<T, G> V;
  const long S = b.size;
  const int32_t *start = b.g.start, *neighbour = b.g.neighbour;
  const T *x = b.x + c, *w = b.w, *square = b.square;
  if (u_in) u_in += c;
  if (u_out) u_out += c;
  for (long i = first; i < end; i++) {
    const V here = get<G>(x + i * S);
    V div{};
    for (long k = start[i]; k < start[i + 1]; k++) {
      const V difference = get<G>(x + neighbour[k] * S) - here;
      if (NORM == NONE) {
        div += w[k] * difference;
      } else {
        V u{};
        if (u_in) u = ratio * get<G>(u_in + k * S);
        const V t = difference + u;
        V u_new;
        if (NORM == L1) {
          u_new = clipped<T, V>(t, tau);
        } else {
          const T norm = square ? square[k] : sum_of<G, T>(t * t);
          u_new = norm > tau * tau ? tau / std::sqrt(norm) * t : t;
        }
        if (u_out) put<G>(u_out + k * S, u_new);
        div -= w[k] * (u - u_new - u_new);
      }
    }
    first_direction<G>(b, p, rho, i, c, here, div);
  }
}

// (A p) of a row but for rho and h: two sums, so that one addition need not wait for the other.
template <int G, class T>
inline Pack<T, G> laplacian_row(const Solve<T>& b, const T* p, Pack<T, G> here, long i) {
  typedef Pack<T, G> V;
  const long S = b.size, end = b.g.start[i + 1];
  const int32_t* neighbour = b.g.neighbour;
  const T* w = b.w;
  V even{}, odd{};
  long k = b.g.start[i];
  for (; k + 2 <= end; k += 2) {
    even += w[k] * (here - get<G>(p + neighbour[k] * S));
    odd += w[k + 1] * (here - get<G>(p + neighbour[k + 1] * S));
  }
  if (k < end) even += w[k] * (here - get<G>(p + neighbour[k] * S));
  return even + odd;
}

// x += alpha p;  r -= alpha A p;  p_new = r / D + beta p;  after the last product the last move.
template <int G, class T>
GSP_SWEEP
void cg_rows(const Solve<T>& b, const T* p, T* p_new, T rho, T alpha, T beta, T last_alpha, long c,
             long first, long end) {
  typedef Pack<T, G> V;
  for (long i = first; i < end; i++) {
    const long a = i * b.size + c;
    const V here = get<G>(p + a), m = get<G>(b.m + a);
    V Ap = rho * laplacian_row<G>(b, p + c, here, i);
    if (!b.o.hard) Ap += m * here;
    const V r = get<G>(b.r + a) - alpha * Ap;
    V direction = get<G>(b.inv + a) * r + beta * here;
    if (b.o.hard) direction = m == V{} ? direction : V{};
    put<G>(b.r + a, r);
    put<G>(p_new + a, direction);
    put<G>(b.x + a, V(get<G>(b.x + a) + alpha * here + last_alpha * direction));
  }
}

// One iteration t. `edges(first, end)` makes, for some rows, r and the direction p(0) from what lives
// on edges; `p(j)` is the buffer of the j-th direction.
template <class T, class Edges, class Directions>
void iterate_edges(const Solve<T>& b, long t, Edges edges, Directions p) {
  const long J = b.steps();
  const T rho = b.k.rho[t];
  const T *alpha = b.k.alpha + t * J, *beta = b.k.beta + t * (J - 1);
  b.parts.each([&](long, long first, long end) { edges(first, end); });
  if (J == 1)
    b.parts.each([&](long, long first, long end) {
      for (long a = first * b.size; a < end * b.size; a++) b.x[a] += alpha[0] * p(0)[a];
    });
  for (long j = 0; j + 1 < J; j++) {
    const T last = j + 2 == J ? alpha[J - 1] : T(0);
    b.sweep([&](auto group, long c, long, long first, long end) {
      cg_rows<decltype(group)::value>(b, p(j), p(j + 1), rho, alpha[j], beta[j], last, c, first,
                                      end);
    });
  }
}

// One iteration t of a block; u_in may be u_out.
template <int NORM, class T, class Directions>
void iterate(const Solve<T>& b, long t, const T* u_in, T* u_out, Directions p) {
  const T tau = b.k.tau[t], rho = b.k.rho[t], ratio = b.k.ratio[t];
  const auto edges = [&](long first, long end) {
    if (NORM == L2 && b.square) square_rows(b, b.x, u_in, ratio, first, end);
    by_groups<T>(b.o.channels, [&](auto group, long c) {
      edge_rows<NORM, decltype(group)::value>(b, u_in, u_out, p(0), tau, rho, ratio, c, first, end);
    });
  };
  iterate_edges(b, t, edges, p);
}

// ---- memory -------------------------------------------------------------------------------------

// Counts first what a plane will take, then hands it out: `lay_out` runs once with either.
class Layer {
 public:
  explicit Layer(Workspace* space) : space_(space) {}
  template <class T> T* take(size_t count) {
    bytes_ += Workspace::bytes_for<T>(count);
    return space_ ? space_->take<T>(count) : nullptr;
  }
  size_t bytes() const { return bytes_; }

 private:
  Workspace* space_;
  size_t bytes_ = 0;
};

template <class F> void lay_out(Workspace& space, F f) {
  Layer count(nullptr);
  f(count);
  space.reserve(count.bytes());
  Layer give(&space);
  f(give);
}

template <int NORM, class T> void take_solve(Solve<T>& b, Layer& of) {
  const size_t signal = b.g.nodes * b.size;
  for (T** buffer : {&b.x, &b.y, &b.m, &b.r, &b.inv}) *buffer = of.take<T>(signal);
  b.d = of.take<T>(b.g.nodes);
  b.w = of.take<T>(b.g.entries);
  b.square = NORM == L2 && b.several_groups() ? of.take<T>(b.g.entries) : nullptr;
}

template <class T> GSP_SWEEP void read_plane(const Solve<T>& b, const Inputs<T>& in, long p) {
  const Rows& g = b.g;
  read_records(in.x, p, g.order, g.nodes, b.o.channels, b.x, b.size);
  read_records(in.y, p, g.order, g.nodes, b.o.channels, b.y, b.size);
  read_records(in.m, p, g.order, g.nodes, b.o.channels, b.m, b.size);
  const T* w = in.w.data + in.w.plane[p];
  b.parts.each([&](long, long first, long end) {
    for (long i = first; i < end; i++) {
      T degree = 0;
      for (long k = g.start[i]; k < g.start[i + 1]; k++) {
        ask_for(w + g.edge[std::min<long>(k + ahead, g.entries - 1)]);
        b.w[k] = w[g.edge[k]];
        degree += b.w[k];
      }
      b.d[i] = degree;
    }
  });
}

template <int NORM, class T>
void forward_plane(const Rows& g, const Options& o, const Coefficients<T>& k, const Inputs<T>& in,
                   const Operand<T>& out, long p, const Parts& parts) {
  Workspace& space = workspace();
  Solve<T> b{g, o, k, parts, record_size<T>(o.channels)};
  T *direction[2], *u;
  lay_out(space, [&](Layer& of) {
    take_solve<NORM>(b, of);
    for (T*& d : direction) d = of.take<T>(g.nodes * b.size);
    u = NORM != NONE && o.iterations > 1 ? of.take<T>(g.entries * b.size) : nullptr;
  });
  read_plane(b, in, p);
  for (long t = 0; t < o.iterations; t++)
    iterate<NORM>(b, t, t ? u : nullptr, t + 1 < o.iterations ? u : nullptr,
                  [&](long j) { return direction[j % 2]; });
  write_records(b.x, b.size, p, g.order, g.nodes, o.channels, out);
  space.release();
}

}  // namespace csr
}  // namespace gsp
