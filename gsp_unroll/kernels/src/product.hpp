// Single products with a lattice, on signals as users hold them: (nodes, channels), channels last.
//
// A register holds consecutive numbers of a row, channels and all; the weights of its nodes are
// spread over the channels by a shuffle. The neighbours that a row has are listed once, and only the
// ends of a row ask where the border is.
#pragma once
#include "stencil.hpp"

namespace gsp {

// One neighbour of the nodes of a row: `x` and `w` are such that x[i C + c] is its signal and w[i]
// the weight of the edge to it, for the columns i that have it.
template <class T> struct Neighbour {
  const T *x, *w;
  long begin, end;
};

template <class T>
void list_neighbours(const Layout<T>& g, const T* x, const T* w, long N, long C, long row,
                     std::vector<Neighbour<T>>& near) {
  near.clear();
  for (long o = 0; o < g.K; o++) {
    const long dr = g.dr[o], dx = g.dx[o];
    if (g.holds(row + dr))
      near.push_back({x + (g.source[row + dr] * g.width + dx) * C,
                      w + o * N + g.source[row] * g.width, std::max(0L, -dx),
                      std::min(g.width, g.width - dx)});
    if (g.holds(row - dr))
      near.push_back({x + (g.source[row - dr] * g.width - dx) * C,
                      w + o * N + g.source[row - dr] * g.width - dx, std::max(0L, dx),
                      std::min(g.width, g.width + dx)});
  }
}

// Register k of C covers numbers k L .. k L + L - 1 of L nodes; its lane l is node (k L + l) / C.
template <class T> struct Spread {
  static constexpr long most = 16;
  Mask<T> node[most];
  explicit Spread(long C) {
    for (long k = 0; k < std::min(C, most); k++)
      for (long l = 0; l < lanes<T>; l++) node[k][l] = (k * lanes<T> + l) / C;
  }
};

// Registers k .. k + R - 1 of y = sum of w (x_i - x_j), for the L nodes from i on.
template <int R, class T>
inline void product_registers(const std::vector<Neighbour<T>>& near, const T* x, T* y, long C,
                              long i, long k, const Spread<T>& spread) {
  const long a = i * C + k * lanes<T>;
  Vec<T> here[R], sum[R];
  for (int r = 0; r < R; r++) {
    here[r] = load(x + a + r * lanes<T>);
    sum[r] = Vec<T>{};
  }
  for (const Neighbour<T>& n : near) {
    const Vec<T> w = load(n.w + i);
    for (int r = 0; r < R; r++) {
      const Vec<T> weight = C == 1 ? w : __builtin_shuffle(w, spread.node[k + r]);
      sum[r] += weight * (here[r] - load(n.x + a + r * lanes<T>));
    }
  }
  for (int r = 0; r < R; r++) store(y + a + r * lanes<T>, sum[r]);
}

// One node, any number of channels.
template <class T>
inline void product_node(const std::vector<Neighbour<T>>& near, const T* x, T* y, long C, long i) {
  T* to = y + i * C;
  std::fill(to, to + C, T(0));
  for (const Neighbour<T>& n : near) {
    if (i < n.begin || i >= n.end) continue;
    const T w = n.w[i], *here = x + i * C, *there = n.x + i * C;
    for (long c = 0; c < C; c++) to[c] += w * (here[c] - there[c]);
  }
}

template <class T>
void product_row(const Layout<T>& g, const std::vector<Neighbour<T>>& near, const T* x, T* y,
                 long C, const Spread<T>& spread) {
  const long L = lanes<T>;
  long lo = 0, hi = g.width;
  for (const Neighbour<T>& n : near) {
    lo = std::max(lo, n.begin);
    hi = std::min(hi, n.end);
  }
  if (hi - lo < L || C > Spread<T>::most) lo = hi = g.width;
  for (long i = 0; i < lo; i++) product_node(near, x, y, C, i);
  for (long i = lo; i < hi; i = i + L > hi - L && i + L < hi ? hi - L : i + L)
    for (long k = 0; k < C;) {
      if (C - k >= 4) product_registers<4>(near, x, y, C, i, k, spread), k += 4;
      else if (C - k == 3) product_registers<3>(near, x, y, C, i, k, spread), k += 3;
      else if (C - k == 2) product_registers<2>(near, x, y, C, i, k, spread), k += 2;
      else product_registers<1>(near, x, y, C, i, k, spread), k += 1;
    }
  for (long i = hi; i < g.width; i++) product_node(near, x, y, C, i);
}

// e = (grad x)(grad z) summed over channels, for the edges of one offset that leave a row.
template <int G, class T>
void energy_columns(const T* x, const T* z, const T* x_to, const T* z_to, T* e, long C, long begin,
                    long end) {
  const long channels = G ? G : C;
  for (long i = begin; i < end; i++) {
    T sum = 0;
    for (long c = 0; c < channels; c++) {
      const long a = i * channels + c;
      sum += (x_to[a] - x[a]) * (z_to[a] - z[a]);
    }
    e[i] = sum;
  }
}

template <class T>
void energy_row(const Layout<T>& g, const T* x, const T* z, T* e, long N, long C, long row) {
  for (long o = 0; o < g.K; o++) {
    T* to = e + o * N + g.source[row] * g.width;
    const long begin = std::max(0L, -g.dx[o]), end = std::min(g.width, g.width - g.dx[o]);
    std::fill(to, to + g.width, T(0));
    if (!g.holds(row + g.dr[o])) continue;
    const long here = g.source[row] * g.width * C;
    const long there = (g.source[row + g.dr[o]] * g.width + g.dx[o]) * C;
    const auto run = [&](auto G) {
      energy_columns<G>(x + here, z + here, x + there, z + there, to, C, begin, end);
    };
    if (C == 1) run(std::integral_constant<int, 1>{});
    else if (C == 2) run(std::integral_constant<int, 2>{});
    else if (C == 3) run(std::integral_constant<int, 3>{});
    else if (C == 4) run(std::integral_constant<int, 4>{});
    else run(std::integral_constant<int, 0>{});
  }
}

// y = (sum of z over the edges that arrive) + SIGN (over those that leave), a row's channels and all:
// the sum over incident edges, or the divergence.
template <int SIGN, class T>
void incident_row(const Layout<T>& g, const T* z, T* y, long N, long C, long row) {
  T* to = y + g.source[row] * g.width * C;
  std::fill(to, to + g.width * C, T(0));
  for (long o = 0; o < g.K; o++) {
    const long dr = g.dr[o], dx = g.dx[o];
    if (g.holds(row + dr)) {
      const T* leaving = z + (o * N + g.source[row] * g.width) * C;
      const long begin = std::max(0L, -dx) * C, end = std::min(g.width, g.width - dx) * C;
      for (long i = begin; i < end; i++) to[i] += SIGN * leaving[i];
    }
    if (g.holds(row - dr)) {
      const T* arriving = z + (o * N + g.source[row - dr] * g.width - dx) * C;
      const long begin = std::max(0L, dx) * C, end = std::min(g.width, g.width + dx) * C;
      for (long i = begin; i < end; i++) to[i] += arriving[i];
    }
  }
}

// z = x_head + SIGN x_tail, and 0 on slots without an edge: the adjoint.
template <int SIGN, class T>
void ends_row(const Layout<T>& g, const T* x, T* z, long N, long C, long row) {
  const T* here = x + g.source[row] * g.width * C;
  for (long o = 0; o < g.K; o++) {
    T* to = z + (o * N + g.source[row] * g.width) * C;
    const bool held = g.holds(row + g.dr[o]);
    const long begin = held ? std::max(0L, -g.dx[o]) * C : 0;
    const long end = held ? std::max(begin, std::min(g.width, g.width - g.dx[o]) * C) : 0;
    std::fill(to, to + std::min(begin, g.width * C), T(0));
    if (held) {
      const T* there = x + (g.source[row + g.dr[o]] * g.width + g.dx[o]) * C;
      for (long i = begin; i < end; i++) to[i] = there[i] + SIGN * here[i];
    }
    std::fill(to + std::min(end, g.width * C), to + g.width * C, T(0));
  }
}

}  // namespace gsp
