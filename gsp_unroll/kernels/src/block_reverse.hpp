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

// Gradients of one plane in padded storage; `*_in` and `*_out` of g_r change places at every step.
template <class T> struct Reverse {
  T *x, *y, *p, *r_in, *r_out, *u, *w, *degree;
  // sums over the plane, of one iteration
  Sum<T> tau, rho, ratio, alpha, beta;
};

// g_D, by node: into the gradient of the degree, and of rho.
template <class T>
inline void scaling_gradient(const Block<T>& b, Reverse<T>& g, Vec<T> by_D, T rho, long row,
                             long i) {
  T* degree = g.degree + row * b.g.stride + i;
  store(degree, load(degree) + rho * by_D);
  g.rho.add(by_D * load(b.d + row * b.g.stride + i));
}

// The last move of an iteration, x += alpha p.
template <class T>
void last_move_reverse_row(const Block<T>& b, Reverse<T>& g, const T* p, const T* p_before, T rho,
                           T alpha, T beta_before, long row) {
  for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
    Vec<T> by_D = {};
    for (long c = 0; c < b.C(); c++) {
      const long a = b.at(row, c) + i;
      const Vec<T> here = load(p + a), g_x = load(g.x + a), g_p = alpha * g_x;
      const Vec<T> inv = load(b.inv + a);
      const Vec<T> z = p_before ? here - beta_before * load(p_before + a) : here;
      by_D -= inv * z * g_p;
      g.alpha.add(g_x * here);
      store(g.p + a, g_p);
      store(g.r_out + a, inv * g_p);
    }
    if (b.o.scaled) scaling_gradient(b, g, by_D, rho, row, i);
  }
}

// One step of the linear solve in reverse. Every group of channels adds its part of g_w.
template <int G, class T>
void cg_reverse_row(const Block<T>& b, Reverse<T>& g, const T* p, const T* p_before, T rho, T alpha,
                    T beta, T beta_before, long row, long c0) {
  const long S = b.g.stride, K = b.g.K, last = b.g.vectors - 1, a0 = b.at(row, c0);
  const long *head = b.head.data(), *arriving = b.arriving.data();
  const T *w = b.w + b.edge(row, 0), *gr = g.r_in + a0, *pr = p + a0, *d_row = b.d + row * S;
  T* g_w = g.w + b.edge(row, 0);
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
      store(g.r_out + a, g_r);
    }
    if (b.o.scaled) scaling_gradient(b, g, by_D, rho, row, i);
  }
  g.rho.add(by_rho);
  g.alpha.add(by_alpha);
  g.beta.add(by_beta);
}

// For the norm across channels: s as in the forward pass, and k with g_t = s (g_u' - k t).
template <class T>
void group_reverse_row(const Block<T>& b, Reverse<T>& g, const T* x, const T* u, T tau, T rho,
                       T ratio, long row) {
  for (long o = 0; o < b.g.K; o++)
    for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
      const Vec<T> w = load(b.w + b.edge(row, o) + i);
      Vec<T> square = {}, dot = {};
      for (long c = 0; c < b.C(); c++) {
        const long a = b.at(row, c) + i, h = b.head[o], e = b.edge(row, o, c) + i;
        const Vec<T> t = load(x + a + h) - load(x + a) + ratio * load(u + e);
        const Vec<T> slope = rho * w * (load(g.r_in + a + h) - load(g.r_in + a));
        square += t * t;
        dot += t * (load(g.u + e) - slope - slope);
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
      g.tau.add(by_tau);
      store(b.scale + o * b.g.stride + i, s);
      store(b.scale + (b.g.K + o) * b.g.stride + i, k);
    }
}

// The edges that leave `row`, in reverse; g_t goes to the ring.
template <int NORM, int G, class T>
void edge_reverse_row(const Block<T>& b, Reverse<T>& g, const T* x, const T* u_before,
                      const T* u_after, T tau, T rho, T ratio, long row, long c0) {
  const long S = b.g.stride, K = b.g.K, CS = b.C() * S, last = b.g.vectors - 1, a0 = b.at(row, c0);
  const long* head = b.head.data();
  const T *w = b.w + b.edge(row, 0), *gr = g.r_in + a0, *s_row = b.scale, *k_row = b.scale + K * S;
  T *ring = b.ring_row(row) + c0 * S, *r = b.r + a0, *g_w = g.w + b.edge(row, 0);
  T* g_u = g.u + b.edge(row, 0, c0);
  x += a0;
  u_before += b.edge(row, 0, c0);
  u_after += b.edge(row, 0, c0);
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
          const Vec<T> before = load(u_before + j), u = ratio * before, t = difference + u;
          const Vec<T> u_new = load(u_after + j), g_q = rho_w * e;
          const Vec<T> g_u_new = load(g_u + j) - g_q - g_q;
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
          store(g_u + j, ratio * g_before);
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
  g.tau.add(by_tau);
  g.rho.add(by_rho);
  g.ratio.add(by_ratio);
}

// g_x += div(g_t) - h g_r and g_y += h g_r, once the ring holds g_t.
template <int G, class T>
void residual_reverse_row(const Block<T>& b, Reverse<T>& g, long row, long c0) {
  for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) {
    Vec<T> div[G];
    for (int c = 0; c < G; c++) div[c] = load(b.r + b.at(row, c0 + c) + i);
    arriving_sum<G>(b, c0, i, div);
    for (int c = 0; c < G; c++) {
      const long a = b.at(row, c0 + c) + i;
      Vec<T> h_gr = {};
      if (!b.o.hard) h_gr = load(b.m + a) * load(g.r_in + a);
      store(g.x + a, load(g.x + a) + div[c] - h_gr);
      store(g.y + a, load(g.y + a) + h_gr);
    }
  }
}

// Iteration t in reverse. `p(j)` are its directions, x and u_before what it started from.
template <int NORM, class T, class Directions>
void iterate_reverse(Block<T>& b, Reverse<T>& g, long t, const T* x, const T* u_before,
                     const T* u_after, Directions p, const Coefficients<T>& out) {
  const long J = b.steps();
  const T tau = b.k.tau[t], rho = b.k.rho[t], ratio = b.k.ratio[t];
  const T *alpha = b.k.alpha + t * J, *beta = b.k.beta + t * (J - 1);
  auto each_row = [&](auto f) {
    for (long row = 0; row < b.g.rows; row++) {
      if (b.g.holds(row))
        f(row);
      else
        b.clear_ring_row(row);
      for (Sum<T>* s : {&g.tau, &g.rho, &g.ratio, &g.alpha, &g.beta}) s->end_row();
    }
  };
  g.tau = g.rho = g.ratio = g.alpha = g.beta = Sum<T>{};
  each_row([&](long row) {
    scaling_row(b, rho, row);
    last_move_reverse_row(b, g, p(J - 1), J > 1 ? p(J - 2) : nullptr, rho, alpha[J - 1],
                          J > 1 ? beta[J - 2] : T(0), row);
  });
  out.alpha[t * J + J - 1] = T(g.alpha.value);
  for (long j = J - 2; j >= 0; j--) {
    std::swap(g.r_in, g.r_out);
    g.alpha = g.beta = Sum<T>{};
    each_row([&](long row) {
      by_channels(b.C(), [&](auto G, long c0) {
        cg_reverse_row<G>(b, g, p(j), j ? p(j - 1) : nullptr, rho, alpha[j], beta[j],
                          j ? beta[j - 1] : T(0), row, c0);
      });
    });
    out.alpha[t * J + j] = T(g.alpha.value);
    out.beta[t * (J - 1) + j] = T(g.beta.value);
  }
  std::swap(g.r_in, g.r_out);
  std::memset(b.ring - b.g.margin(), 0, b.ring_size() * sizeof(T));
  each_row([&](long row) {
    b.find_ring_rows(row);
    if (NORM == L2) group_reverse_row(b, g, x, u_before, tau, rho, ratio, row);
    by_channels(b.C(), [&](auto G, long c0) {
      edge_reverse_row<NORM, G>(b, g, x, u_before, u_after, tau, rho, ratio, row, c0);
      residual_reverse_row<G>(b, g, row, c0);
    });
  });
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
  const long C = o.channels, edges = NORM == NONE ? 0 : g.K * C, T_ = o.iterations, J = o.cg_steps;
  const auto bytes = [&](long per_row) { return Workspace::bytes_for<T>(g.size(per_row)); };
  space.reserve(block_bytes(g, o) + (T_ * (J + 1) + 5) * bytes(C) + (T_ + 2) * bytes(edges) +
                bytes(g.K) + bytes(1));
  Planes<T> of{g, space};
  Block<T> b = open_block(g, o, k, of);
  read_plane(b, in, p, N);

  std::vector<T*> x, u{of.rows(edges)}, directions;
  for (long t = 0; t < T_; t++) {
    x.push_back(of.rows(C, false));
    u.push_back(of.rows(edges));
    for (long j = 0; j < J; j++) directions.push_back(of.rows(C));
    std::memcpy(x[t] - g.lag * C * g.stride - g.margin(),
                b.x - g.lag * C * g.stride - g.margin(), g.size(C) * sizeof(T));
    iterate<NORM>(b, t, u[t], u[t + 1], [&](long j) { return directions[t * J + j]; });
  }

  Reverse<T> grad{};
  grad.x = of.rows(C), grad.y = of.rows(C), grad.p = of.rows(C);
  grad.r_in = of.rows(C), grad.r_out = of.rows(C);
  grad.u = of.rows(edges), grad.w = of.rows(g.K), grad.degree = of.rows(1);
  read_signal(g, g_out, p, C, grad.x);
  for (long t = T_ - 1; t >= 0; t--)
    iterate_reverse<NORM>(b, grad, t, x[t], u[t], u[t + 1],
                          [&](long j) { return directions[t * J + j]; }, by);
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
