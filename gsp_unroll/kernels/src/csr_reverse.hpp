// The derivative of a whole solve on any graph: block_reverse.hpp in sweeps over all nodes.
//
// An edge is seen from both of its ends; what is summed over edges, or kept once per edge, is taken
// from the entry that leads to the later node.
#pragma once
#include "block_reverse.hpp"
#include "csr_block.hpp"

namespace gsp {
namespace csr {

// Sums over one part.
struct Totals {
  double tau = 0, rho = 0, ratio = 0, alpha = 0, beta = 0;
  Totals& operator+=(const Totals& other) {
    tau += other.tau, rho += other.rho, ratio += other.ratio;
    alpha += other.alpha, beta += other.beta;
    return *this;
  }
};

// A long sum: G numbers within a few rows, double across.
template <class T, int G> struct LongSum {
  double& value;
  Pack<T, G> few = {};
  explicit LongSum(double& v) : value(v) {}
  ~LongSum() { flush(); }
  void add(Pack<T, G> v) { few += v; }
  void flush() { value += sum_of<G, T>(few), few = Pack<T, G>{}; }
};
constexpr long few_rows = 32;

// Gradients of one plane; r_in and r_out change places at every step. `w` is by entry.
template <class T> struct Adjoint {
  T *x, *y, *p, *r_in, *r_out, *w, *degree;
  T* dot;  // t . g_u by entry, beside `Solve::square`
  std::vector<Totals> parts;

  Totals total() {
    Totals sum;
    for (Totals& part : parts) sum += part, part = Totals{};
    return sum;
  }
};

// g_D, by node: into the gradient of the degree, and of rho.
template <int G, class T>
inline void scaling_gradient(const Solve<T>& b, const Adjoint<T>& g, Pack<T, G> by_D, T rho, long i,
                             LongSum<T, G>& by_rho) {
  g.degree[i] += rho * sum_of<G, T>(by_D);
  by_rho.add(by_D * b.d[i]);
}

// The last move of an iteration, x += alpha p.
template <int G, class T>
GSP_SWEEP
void last_move_reverse_rows(const Solve<T>& b, Adjoint<T>& g, const T* p, const T* p_before, T rho,
                            T alpha, T beta_before, long c, long part, long first, long end) {
  typedef Pack<T, G> V;
  LongSum<T, G> by_rho(g.parts[part].rho), by_alpha(g.parts[part].alpha);
  for (long i = first; i < end; i++) {
    const long a = i * b.size + c;
    const V here = get<G>(p + a), g_x = get<G>(g.x + a), g_p = alpha * g_x;
    const V inv = scaling<G, T>(b, rho, i, get<G>(b.m + a));
    V z = here;
    if (p_before) z -= beta_before * get<G>(p_before + a);
    by_alpha.add(g_x * here);
    put<G>(b.inv + a, inv);
    put<G>(g.p + a, g_p);
    put<G>(g.r_out + a, V(inv * g_p));
    if (b.o.scaled) scaling_gradient<G, T>(b, g, -(inv * z * g_p), rho, i, by_rho);
    if (i % few_rows == 0) by_rho.flush(), by_alpha.flush();
  }
}

// One step of the linear solve in reverse. Every group of channels adds its part of g_w.
template <int G, class T>
GSP_SWEEP
void cg_reverse_rows(const Solve<T>& b, Adjoint<T>& g, const T* p, const T* p_before, T rho,
                     T alpha, T beta, T beta_before, long c, long part, long first, long end) {
  typedef Pack<T, G> V;
  const long S = b.size;
  Totals& sums = g.parts[part];
  LongSum<T, G> by_rho(sums.rho), by_alpha(sums.alpha), by_beta(sums.beta);
  const T *gr = g.r_in + c, *pr = p + c;
  const T step = -alpha * rho;
  for (long i = first; i < end; i++) {
    const V gr_here = get<G>(gr + i * S), p_here = get<G>(pr + i * S);
    V A_gr = rho * laplacian_row<G>(b, gr, gr_here, i);
    V energy_sum{};
    for (long k = b.g.later[i]; k < b.g.start[i + 1]; k++) {
      const long there = b.g.neighbour[k] * S;
      const V energy = (get<G>(gr + there) - gr_here) * (get<G>(pr + there) - p_here);
      g.w[k] += step * sum_of<G, T>(energy);
      energy_sum += b.w[k] * energy;
    }
    by_rho.add(-alpha * energy_sum);
    const long a = i * S + c;
    if (!b.o.hard) A_gr += get<G>(b.m + a) * gr_here;
    const V g_p_after = get<G>(g.p + a), inv = get<G>(b.inv + a), slope = get<G>(g.x + a) - A_gr;
    const V g_p = beta * g_p_after + alpha * slope;
    V z = p_here;
    if (p_before) z -= beta_before * get<G>(p_before + a);
    by_alpha.add(slope * p_here);
    by_beta.add(g_p_after * p_here);
    put<G>(g.p + a, g_p);
    put<G>(g.r_out + a, V(gr_here + inv * g_p));
    if (b.o.scaled) scaling_gradient<G, T>(b, g, -(inv * z * g_p), rho, i, by_rho);
    if (i % few_rows == 0) by_rho.flush(), by_alpha.flush(), by_beta.flush();
  }
}

// t . g_u' by entry, beside |t|^2 (`square_rows`).
template <class T>
GSP_SWEEP
void dot_rows(const Solve<T>& b, const Adjoint<T>& g, const T* x, const T* u, const T* g_u, T rho,
              T ratio, long first, long end) {
  by_groups<T>(b.o.channels, [&](auto group, long c) {
    constexpr int G = decltype(group)::value;
    typedef Pack<T, G> V;
    const long S = b.size;
    for (long i = first; i < end; i++) {
      const V here = get<G>(x + i * S + c), gr_here = get<G>(g.r_in + i * S + c);
      for (long k = b.g.start[i]; k < b.g.start[i + 1]; k++) {
        const long there = b.g.neighbour[k] * S + c, j = k * S + c;
        V t = get<G>(x + there) - here, by_u{};
        if (u) t += ratio * get<G>(u + j);
        const V slope = rho * b.w[k] * (get<G>(g.r_in + there) - gr_here);
        if (g_u) by_u = get<G>(g_u + j);
        const T sum = sum_of<G, T>(t * (by_u - slope - slope));
        g.dot[k] = c ? g.dot[k] + sum : sum;
      }
    }
  });
}

// What the edges of some rows hand back, g_x += div(g_t) - h g_r and g_y += h g_r. The gradient by
// u takes the place of u, `g_u` is the one by the next u. Without u it is zero and nobody asks for
// its gradient; without g_u there is no next u.
template <int NORM, int G, class T>
GSP_SWEEP
void edge_reverse_rows(const Solve<T>& b, Adjoint<T>& g, const T* x, T* u, const T* g_u, T tau,
                       T rho, T ratio, long c, long part, long first, long end) {
  typedef Pack<T, G> V;
  const long S = b.size;
  Totals& sums = g.parts[part];
  LongSum<T, G> by_tau(sums.tau), by_rho(sums.rho), by_ratio(sums.ratio);
  const T *gr = g.r_in + c, *square = b.square;
  x += c;
  if (u) u += c;
  if (g_u) g_u += c;
  for (long i = first; i < end; i++) {
    const V x_here = get<G>(x + i * S), gr_here = get<G>(gr + i * S);
    V div{};
    const auto entry = [&](auto is_later, long k) {
      constexpr bool once = decltype(is_later)::value;
      const long there = b.g.neighbour[k] * S;
      const V e = get<G>(gr + there) - gr_here, difference = get<G>(x + there) - x_here;
      const T weight = b.w[k];
      const V g_q = rho * weight * e;
      V q;  // of which the gradient by the weight is made
      if (NORM == NONE) {
        q = -difference;
        div += g_q;
      } else {
        V before{}, g_u_new{};
        if (u) before = get<G>(u + k * S);
        if (g_u) g_u_new = get<G>(g_u + k * S);
        const V scaled = ratio * before, t = difference + scaled;
        g_u_new -= g_q + g_q;
        V g_t, u_new;
        if (NORM == L1) {
          const V high = V{} + tau;
          u_new = clipped<T, V>(t, tau);
          g_t = t > high ? V{} : (t < -high ? V{} : g_u_new);
          if (once) by_tau.add((t > high ? g_u_new : V{}) - (t < -high ? g_u_new : V{}));
        } else {
          const T norm2 = square ? square[k] : sum_of<G, T>(t * t);
          const T dot = square ? g.dot[k] : sum_of<G, T>(t * g_u_new);
          u_new = t, g_t = g_u_new;
          if (norm2 > tau * tau) {
            const T norm = std::sqrt(norm2), s = tau / norm;
            u_new = s * t;
            g_t = s * (g_u_new - dot / norm2 * t);
            if (once && c == 0) sums.tau += dot / norm;
          }
        }
        if (u) {
          const V g_before = g_q + g_t;
          put<G>(u + k * S, V(ratio * g_before));
          if (once) by_ratio.add(g_before * before);
        }
        q = scaled - u_new - u_new;
        div -= g_t;
      }
      if (once) {
        const V q_e = q * e;
        g.w[k] += rho * sum_of<G, T>(q_e);
        by_rho.add(weight * q_e);
      }
    };
    const long middle = b.g.later[i], last = b.g.start[i + 1];
    for (long k = b.g.start[i]; k < middle; k++) entry(std::false_type{}, k);
    for (long k = middle; k < last; k++) entry(std::true_type{}, k);
    const long a = i * S + c;
    V h_gr{};
    if (!b.o.hard) h_gr = get<G>(b.m + a) * gr_here;
    put<G>(g.x + a, V(get<G>(g.x + a) + div - h_gr));
    put<G>(g.y + a, V(get<G>(g.y + a) + h_gr));
    if (i % few_rows == 0) by_tau.flush(), by_rho.flush(), by_ratio.flush();
  }
}

// Iteration t in reverse. `p(j)` are its directions, x and u what it started from.
template <int NORM, class T, class Directions>
void iterate_reverse(const Solve<T>& b, Adjoint<T>& g, long t, const T* x, T* u, const T* g_u,
                     Directions p, const Coefficients<T>& out) {
  const long J = b.steps();
  const T tau = b.k.tau[t], rho = b.k.rho[t], ratio = b.k.ratio[t];
  const T *alpha = b.k.alpha + t * J, *beta = b.k.beta + t * (J - 1);
  Totals sums;
  b.sweep([&](auto group, long c, long part, long first, long end) {
    last_move_reverse_rows<decltype(group)::value>(b, g, p(J - 1), J > 1 ? p(J - 2) : nullptr, rho,
                                                   alpha[J - 1], J > 1 ? beta[J - 2] : T(0), c,
                                                   part, first, end);
  });
  sums = g.total();
  double by_rho = sums.rho;
  out.alpha[t * J + J - 1] = T(sums.alpha);
  for (long j = J - 2; j >= 0; j--) {
    std::swap(g.r_in, g.r_out);
    b.sweep([&](auto group, long c, long part, long first, long end) {
      cg_reverse_rows<decltype(group)::value>(b, g, p(j), j ? p(j - 1) : nullptr, rho, alpha[j],
                                              beta[j], j ? beta[j - 1] : T(0), c, part, first, end);
    });
    sums = g.total();
    by_rho += sums.rho;
    out.alpha[t * J + j] = T(sums.alpha);
    out.beta[t * (J - 1) + j] = T(sums.beta);
  }
  std::swap(g.r_in, g.r_out);
  b.parts.each([&](long part, long first, long end) {
    if (NORM == L2 && b.square) {
      square_rows<T>(b, x, u, ratio, first, end);
      dot_rows<T>(b, g, x, u, g_u, rho, ratio, first, end);
    }
    by_groups<T>(b.o.channels, [&](auto group, long c) {
      edge_reverse_rows<NORM, decltype(group)::value>(b, g, x, u, g_u, tau, rho, ratio, c, part,
                                                      first, end);
    });
  });
  sums = g.total();
  out.tau[t] = T(sums.tau);
  out.rho[t] = T(by_rho + sums.rho);
  out.ratio[t] = T(sums.ratio);
}

template <class T>
void write_weights(const Solve<T>& b, const Adjoint<T>& g, long p, const Operand<T>& to) {
  T* out = to.data + to.plane[p];
  b.parts.each([&](long, long first, long end) {
    for (long i = first; i < end; i++)
      for (long k = b.g.later[i]; k < b.g.start[i + 1]; k++) {
        T sum = g.w[k];
        if (b.o.scaled) sum += g.degree[i] + g.degree[b.g.neighbour[k]];
        out[b.g.edge[k]] = sum;
      }
  });
}

template <int NORM, class T>
void reverse_plane(const Rows& g, const Options& o, const Coefficients<T>& k, const Inputs<T>& in,
                   const Operand<T>& g_out, const Gradients<T>& to, const Coefficients<T>& by,
                   long p, const Parts& parts) {
  Workspace& space = workspace();
  Solve<T> b{g, o, k, parts, record_size<T>(o.channels)};
  Adjoint<T> grad{};
  grad.parts.resize(parts.count());
  const long T_ = o.iterations, J = o.cg_steps;
  const size_t signal = g.nodes * b.size, on_edges = NORM == NONE ? 0 : g.entries * b.size;
  // x and u as an iteration finds them; the first one finds u = 0
  std::vector<T*> x(T_), u(T_ + 1, nullptr), directions(T_ * J);
  lay_out(space, [&](Layer& of) {
    take_solve<NORM>(b, of);
    for (T*& kept : x) kept = of.take<T>(signal);
    for (long t = 1; t < T_; t++) u[t] = of.take<T>(on_edges);
    for (T*& direction : directions) direction = of.take<T>(signal);
    for (T** v : {&grad.x, &grad.y, &grad.p, &grad.r_in, &grad.r_out}) *v = of.take<T>(signal);
    grad.w = of.take<T>(g.entries);
    grad.degree = of.take<T>(g.nodes);
    grad.dot = NORM == L2 && b.several_groups() ? of.take<T>(g.entries) : nullptr;
  });
  read_plane(b, in, p);
  for (long t = 0; t < T_; t++) {
    std::memcpy(x[t], b.x, signal * sizeof(T));
    iterate<NORM>(b, t, u[t], u[t + 1], [&](long j) { return directions[t * J + j]; });
  }

  read_records(g_out, p, g.order, g.nodes, o.channels, grad.x, b.size);
  std::memset(grad.y, 0, signal * sizeof(T));
  std::memset(grad.w, 0, g.entries * sizeof(T));
  std::memset(grad.degree, 0, g.nodes * sizeof(T));
  for (long t = T_ - 1; t >= 0; t--)
    iterate_reverse<NORM>(b, grad, t, x[t], u[t], u[t + 1],
                          [&](long j) { return directions[t * J + j]; }, by);
  write_records(grad.x, b.size, p, g.order, g.nodes, o.channels, to.x);
  write_records(grad.y, b.size, p, g.order, g.nodes, o.channels, to.y);
  write_weights(b, grad, p, to.w);
  space.release();
}

}  // namespace csr
}  // namespace gsp
