// The derivative of a whole solve (block.hpp), iteration by iteration in reverse.
//
// Names: g_ is the gradient of the loss by what follows. With r_{j+1} = r_j - alpha A p_j and
// p_{j+1} = r_{j+1} / D + beta p_j, reversed,
//
//   g_r += g_p / D;   g_p <- beta g_p + alpha (g_x - A g_r);   g_w -= alpha rho (grad g_r)(grad p)
//
// and through the edges, e = grad g_r of the first residual,
//
//   g_u' = g_u - 2 rho w e;   g_t = g_u' where |t| <= tau;   g_u <- ratio (rho w e + g_t)
//   g_x += div(g_t) - h g_r.
#pragma once
#include "block.hpp"

namespace gsp {

// Gradients of one plane in padded storage.
template <class T> struct Reverse {
  T *x, *y, *p, *r[2], *w, *degree;
  const T* u_in;
  T* u_out;
  // sums over the plane, of one iteration
  Sum<T> tau, rho, ratio;
  std::vector<Sum<T>> alpha, beta;
};

// The last move of an iteration, x += alpha p.
template <class T>
void last_move_reverse_row(const Block<T>& b, Reverse<T>& g, T* g_r, const T* p, const T* p_before,
                           T rho, T alpha, T beta_before, long j, long row) {
  const long S = b.g.stride;
  Vec<T> by_alpha = {}, by_rho = {};
  for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
    Vec<T> by_D = {};
    for (long c = 0; c < b.C(); c++) {
      const long a = b.at(row, c) + i;
      const Vec<T> here = load(p + a), g_x = load(g.x + a), g_p = alpha * g_x;
      const Vec<T> inv = load(b.inv + a);
      const Vec<T> z = p_before ? here - beta_before * load(p_before + a) : here;
      by_D -= inv * z * g_p;
      by_alpha += g_x * here;
      store(g.p + a, g_p);
      store(g_r + a, inv * g_p);
    }
    by_rho += by_D * load(b.d + row * S + i);
    store(g.degree + row * S + i, load(g.degree + row * S + i) + rho * by_D);
  }
  g.alpha[j].add_row(by_alpha);
  if (b.o.scaled) g.rho.add_row(by_rho);
}

// One step of the linear solve in reverse. Every group of channels adds its part of g_w.
template <int G, class T>
void cg_reverse_row(const Block<T>& b, Reverse<T>& g, const T* r_in, T* r_out, const T* p,
                    const T* p_before, T rho, T alpha, T beta, T beta_before, long j, long row,
                    long c0) {
  const long S = b.g.stride, K = b.g.K, last = b.g.vectors - 1, a0 = b.at(row, c0);
  const long *head = b.head.data(), *arriving = b.arriving.data();
  const T *w = b.w + b.edge(row, 0), *gr = r_in + a0, *pr = p + a0, *d_row = b.d + row * S;
  T *g_w = g.w + b.edge(row, 0), *g_degree = g.degree + row * S;
  Vec<T> by_rho = {}, by_alpha = {}, by_beta = {};
  const Vec<T> step = fill<T>(-alpha * rho);
  for (long v = 0, i = 0; v <= last; v++, i += lanes<T>) {
    Vec<T> from_later[G], from_earlier[G], gr_here[G], p_here[G], energy_sum = {};
    for (int c = 0; c < G; c++) {
      from_later[c] = from_earlier[c] = Vec<T>{};
      gr_here[c] = load(gr + c * S + i);
      p_here[c] = load(pr + c * S + i);
    }
    for (long o = 0; o < K; o++) {
      const Vec<T> forth = load(w + o * S + i), back = load(w + arriving[o] + i);
      const T *later = gr + i + head[o], *earlier = gr + i - head[o], *p_later = pr + i + head[o];
      Vec<T> energy = {};
      for (int c = 0; c < G; c++) {
        const Vec<T> gr_there = load(later + c * S);
        from_later[c] += forth * gr_there;
        from_earlier[c] += back * load(earlier + c * S);
        energy += (gr_there - gr_here[c]) * (load(p_later + c * S) - p_here[c]);
      }
      store(g_w + o * S + i, load(g_w + o * S + i) + step * energy);
      energy_sum += forth * energy;
    }
    by_rho -= alpha * energy_sum;
    const Vec<T> d = load(d_row + i);
    Vec<T> by_D = {};
    for (int c = 0; c < G; c++) {
      const long a = a0 + c * S + i;
      Vec<T> A_gr = rho * (d * gr_here[c] - (from_later[c] + from_earlier[c]));
      if (!b.o.hard) A_gr += load(b.m + a) * gr_here[c];
      const Vec<T> g_p_after = load(g.p + a), inv = load(b.inv + a), slope = load(g.x + a) - A_gr;
      const Vec<T> g_p = beta * g_p_after + alpha * slope;
      const Vec<T> z = p_before ? p_here[c] - beta_before * load(p_before + a) : p_here[c];
      by_alpha += slope * p_here[c];
      by_beta += g_p_after * p_here[c];
      by_D -= inv * z * g_p;
      Vec<T> g_r = gr_here[c] + inv * g_p;
      if (v == last) g_r = only<T>(b.g.tail, g_r);
      store(g.p + a, g_p);
      store(r_out + a, g_r);
    }
    if (b.o.scaled) {
      by_rho += by_D * d;
      store(g_degree + i, load(g_degree + i) + rho * by_D);
    }
  }
  g.rho.add_row(by_rho);
  g.alpha[j].add_row(by_alpha);
  g.beta[j].add_row(by_beta);
}

// For the norm across channels: s as in the forward pass, and k with g_t = s (g_u' - k t).
template <class T>
void group_reverse_row(const Block<T>& b, Reverse<T>& g, const T* g_r, const T* x, const T* u, T tau,
                       T rho, T ratio, long row) {
  const T* g_u = b.u_row(g.u_in, row);
  u = b.u_row(u, row);
  for (long o = 0; o < b.g.K; o++)
    for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
      const Vec<T> w = load(b.w + b.edge(row, o) + i);
      Vec<T> square = {}, dot = {};
      for (long c = 0; c < b.C(); c++) {
        const long a = b.at(row, c) + i, h = b.head[o], e = (o * b.C() + c) * b.g.stride + i;
        const Vec<T> t = load(x + a + h) - load(x + a) + ratio * load(u + e);
        const Vec<T> slope = rho * w * (load(g_r + a + h) - load(g_r + a));
        square += t * t;
        dot += t * (load(g_u + e) - slope - slope);
      }
      Vec<T> s, k, by_tau;
      for (long l = 0; l < lanes<T>; l++) {
        const bool outside = square[l] > tau * tau;
        const T norm = outside ? std::sqrt(square[l]) : T(1);
        s[l] = outside ? tau / norm : T(1);
        k[l] = outside ? dot[l] / square[l] : T(0);
        by_tau[l] = outside ? dot[l] / norm : T(0);
      }
      if (v == b.g.vectors - 1) by_tau = only<T>(b.g.tail, by_tau);
      g.tau.add_row(by_tau);
      store(b.scale + o * b.g.stride + i, s);
      store(b.scale + (b.g.K + o) * b.g.stride + i, k);
    }
}

// The edges that leave `row`, in reverse; g_t goes to the ring.
template <int NORM, int G, class T>
void edge_reverse_row(const Block<T>& b, Reverse<T>& g, const T* g_r, const T* x, const T* u_in,
                      T tau, T rho, T ratio, long row, long c0) {
  const long S = b.g.stride, K = b.g.K, CS = b.C() * S, last = b.g.vectors - 1, a0 = b.at(row, c0);
  const long* head = b.head.data();
  const T *w = b.w + b.edge(row, 0), *gr = g_r + a0, *s_row = b.scale, *k_row = b.scale + K * S;
  T *ring = b.ring_row(row) + c0 * S, *r = b.r + a0, *g_w = g.w + b.edge(row, 0);
  const T* g_u_in = b.u_row(g.u_in, row, c0);
  T* g_u_out = b.u_row(g.u_out, row, c0);
  x += a0;
  u_in = b.u_row(u_in, row, c0);
  Vec<T> by_tau = {}, by_rho = {}, by_ratio = {};
  Mask<T> inside = first<T>(lanes<T>);
  for (long v = 0, i = 0; v <= last; v++, i += lanes<T>) {
    if (v == last) inside = b.g.tail;
    Vec<T> x_here[G], gr_here[G], leaving[G];
    for (int c = 0; c < G; c++) {
      x_here[c] = load(x + c * S + i);
      gr_here[c] = load(gr + c * S + i);
      leaving[c] = Vec<T>{};
    }
    for (long o = 0, e0 = i; o < K; o++, e0 += CS) {
      const Vec<T> weight = load(w + o * S + i), rho_w = rho * weight;
      const T *x_there = x + i + head[o], *gr_there = gr + i + head[o];
      Vec<T> s = {}, k = {}, q_e = {};
      if (NORM == L2) {
        s = load(s_row + o * S + i);
        k = load(k_row + o * S + i);
      }
      for (int c = 0; c < G; c++) {
        const Vec<T> e = load(gr_there + c * S) - gr_here[c];
        const Vec<T> difference = load(x_there + c * S) - x_here[c];
        Vec<T> g_t;
        if (NORM == NONE) {
          q_e -= difference * e;
          g_t = -rho_w * e;
        } else {
          const long j = e0 + c * S;
          const Vec<T> before = load(u_in + j), u = ratio * before, t = difference + u;
          const Vec<T> u_new = NORM == L1 ? clip<T>(t, fill<T>(tau)) : s * t, g_q = rho_w * e;
          const Vec<T> g_u_new = load(g_u_in + j) - g_q - g_q;
          q_e += (u - u_new - u_new) * e;
          if (NORM == L1) {
            const Mask<T> above = t > fill<T>(tau), below = t < fill<T>(-tau);
            g_t = only<T>(~(above | below), g_u_new);
            by_tau += only<T>(above, g_u_new) - only<T>(below, g_u_new);
          } else {
            g_t = s * (g_u_new - k * t);
          }
          const Vec<T> g_before = g_q + g_t;
          by_ratio += g_before * before;
          store(g_u_out + j, ratio * g_before);
        }
        g_t = only<T>(inside, g_t);
        store(ring + e0 + c * S, g_t);
        leaving[c] += g_t;
      }
      store(g_w + o * S + i, load(g_w + o * S + i) + rho * q_e);
      by_rho += weight * q_e;
    }
    for (int c = 0; c < G; c++) store(r + c * S + i, -leaving[c]);
  }
  g.tau.add_row(by_tau);
  g.rho.add_row(by_rho);
  g.ratio.add_row(by_ratio);
}

// g_x += div(g_t) - h g_r and g_y += h g_r, once the ring holds g_t.
template <int G, class T>
void residual_reverse_row(const Block<T>& b, Reverse<T>& g, const T* g_r, long row, long c0) {
  for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
    Vec<T> div[G];
    for (int c = 0; c < G; c++) div[c] = load(b.r + b.at(row, c0 + c) + i);
    arriving_sum<G>(b, c0, i, div);
    for (int c = 0; c < G; c++) {
      const long a = b.at(row, c0 + c) + i;
      Vec<T> h_gr = {};
      if (!b.o.hard) h_gr = load(b.m + a) * load(g_r + a);
      store(g.x + a, load(g.x + a) + div[c] - h_gr);
      store(g.y + a, load(g.y + a) + h_gr);
    }
  }
}

// Iteration t in reverse, its stages one behind the other as in `iterate`. `p(j)` are its
// directions, x and u what it started from.
template <int NORM, class T, class Directions>
void iterate_reverse(Block<T>& b, Reverse<T>& g, long t, const T* x, const T* u, Directions p,
                     const Coefficients<T>& out) {
  const long J = b.steps();
  const T tau = b.k.tau[t], rho = b.k.rho[t], ratio = b.k.ratio[t];
  const T *alpha = b.k.alpha + t * J, *beta = b.k.beta + t * (J - 1);
  const auto before = [&](long j) { return j ? p(j - 1) : nullptr; };
  const auto beta_before = [&](long j) { return j ? beta[j - 1] : T(0); };
  g.tau = g.rho = g.ratio = Sum<T>{};
  g.alpha.assign(J, Sum<T>{});
  g.beta.assign(J, Sum<T>{});
  std::memset(b.ring - b.g.margin(), 0, b.ring_size() * sizeof(T));
  for (long now = 0; now < b.g.rows + J * b.g.lag; now++) {
    if (b.g.holds(now)) {
      scaling_row(b, rho, now);
      last_move_reverse_row(b, g, g.r[0], p(J - 1), before(J - 1), rho, alpha[J - 1],
                            beta_before(J - 1), J - 1, now);
    }
    for (long s = 1; s < J; s++) {
      const long row = now - s * b.g.lag, j = J - 1 - s;
      if (!b.g.holds(row)) continue;
      by_channels(b.C(), [&](auto G, long c0) {
        cg_reverse_row<G>(b, g, g.r[(s - 1) % 2], g.r[s % 2], p(j), before(j), rho, alpha[j],
                          beta[j], beta_before(j), j, row, c0);
      });
    }
    const long row = now - J * b.g.lag;
    const T* g_r = g.r[(J - 1) % 2];
    if (b.g.holds(row)) {
      b.find_ring_rows(row);
      if (NORM == L2) group_reverse_row(b, g, g_r, x, u, tau, rho, ratio, row);
      by_channels(b.C(), [&](auto G, long c0) {
        edge_reverse_row<NORM, G>(b, g, g_r, x, u, tau, rho, ratio, row, c0);
        residual_reverse_row<G>(b, g, g_r, row, c0);
      });
    } else if (row >= 0) {
      b.clear_ring_row(row);
    }
  }
  for (long j = 0; j < J; j++) out.alpha[t * J + j] = T(g.alpha[j].value);
  for (long j = 0; j + 1 < J; j++) out.beta[t * (J - 1) + j] = T(g.beta[j].value);
  out.tau[t] = T(g.tau.value);
  out.rho[t] = T(g.rho.value);
  out.ratio[t] = T(g.ratio.value);
}

template <class T> struct Gradients {
  Operand<T> x, y, w;
};

template <int NORM, class T>
void reverse_plane(const Layout<T>& g, const Options& o, const Coefficients<T>& k,
                   const Inputs<T>& in, const Operand<T>& g_out, const Gradients<T>& to,
                   const Coefficients<T>& by, long p, long N) {
  Workspace& space = workspace();
  const long C = o.channels, T_ = o.iterations, J = o.cg_steps, edges = T_ > 1 ? g.K * C : 0;
  const auto bytes = [&](long per_row) { return Workspace::bytes_for<T>(g.size(per_row)); };
  space.reserve(block_bytes(g, o) + (T_ * (J + 1) + 5) * bytes(C) + T_ * bytes(edges) +
                bytes(g.K) + bytes(1));
  Planes<T> of{g, space};
  Block<T> b = open_block(g, o, k, of);
  read_plane(b, in, p, N);

  // what each iteration starts from: x, and u, which is 0 before the first
  std::vector<T*> x, u{b.zero_u}, directions;
  const size_t before = g.lag * C * g.stride + g.margin();
  for (long t = 0; t < T_; t++) {
    x.push_back(of.rows(C, false));
    u.push_back(t + 1 < T_ ? of.rows(edges, false) : b.spare_u);
    for (long j = 0; j < J; j++) directions.push_back(of.rows(C));
    std::memcpy(x[t] - before, b.x - before, g.size(C) * sizeof(T));
    iterate<NORM>(b, t, u[t], u[t + 1], [&](long j) { return directions[t * J + j]; });
  }

  Reverse<T> grad{};
  grad.x = of.rows(C), grad.y = of.rows(C), grad.p = of.rows(C);
  grad.r[0] = of.rows(C), grad.r[1] = of.rows(C);
  grad.w = of.rows(g.K), grad.degree = of.rows(1);
  T* g_u = of.rows(edges, false);
  read_signal(g, g_out, p, C, grad.x);
  for (long t = T_ - 1; t >= 0; t--) {
    grad.u_in = t + 1 < T_ ? g_u : b.zero_u;
    grad.u_out = t ? g_u : b.spare_u;
    iterate_reverse<NORM>(b, grad, t, x[t], u[t], [&](long j) { return directions[t * J + j]; }, by);
  }
  if (o.scaled)
    for_slots(g, [&](long row, long off, long begin, long end) {
      const T *here = grad.degree + row * g.stride;
      const T *there = here + g.dr[off] * g.stride + g.dx[off];
      T* g_w = grad.w + b.edge(row, off);
      for (long i = begin; i < end; i++) g_w[i] += here[i] + there[i];
    });
  write_signal(g, grad.x, p, C, to.x);
  write_signal(g, grad.y, p, C, to.y);
  write_weights(g, grad.w, p, N, to.w);
  space.release();
}

}  // namespace gsp
