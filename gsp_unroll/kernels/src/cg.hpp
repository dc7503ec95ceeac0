// Conjugate gradients to convergence, one system per plane and channel:
//
//   (h + rho L) x = b,   preconditioned by inv = 1 / diagonal,
//
// with x fixed wherever inv is 0; see `cg_step`, whose recurrence this is. The caller has made the
// first residual and says below which square a residual, and below which energy <r, r / D> its
// rounding, ends a system. Three sweeps a step: one multiplies, one subtracts, one moves. Sums are
// taken row by row and then in the order of rows, so that they do not depend on the number of
// threads.
#pragma once
#include <cmath>
#include <limits>

#include "block.hpp"

namespace gsp {

// What ends a system, (planes, channels) each, and how many steps all of them may take.
struct Stopping {
  const double *square, *energy;
  int64_t max_steps;
};

template <class T> struct System {
  Operand<T> x, r, h, inv, w;
  const T* rho;  // (planes, channels)
};

// f(row) for all rows that hold nodes, in parallel where that pays; nothing depends on the order
template <class T, class F> void sweep(const Layout<T>& g, int threads, F f) {
  const long per_task = std::max(1L, 16384 / g.stride);
  const long tasks = (g.rows + per_task - 1) / per_task;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && tasks > 1)
  for (long t = 0; t < tasks; t++)
    for (long row = t * per_task; row < std::min(g.rows, (t + 1) * per_task); row++)
      if (g.holds(row)) f(row);
}

// One double per row and channel, added up in the order of rows.
class RowSums {
 public:
  RowSums(long rows, long C) : C_(C), of_row_(rows * C) {}
  double& at(long row, long c) { return of_row_[row * C_ + c]; }
  std::vector<double> totals() const {
    std::vector<double> sum(C_);
    for (size_t i = 0; i < of_row_.size(); i++) sum[i % C_] += of_row_[i];
    return sum;
  }

 private:
  long C_;
  std::vector<double> of_row_;
};

// Ap = h p + rho L p in difference form at U vectors from column i on; adds to <p, Ap>.
template <int G, int U, class T>
inline void system_columns(const Block<T>& b, const T* p, T* Ap, const T* rho, long row, long c0,
                           long i, Mask<T> inside, Vec<T> (&energy)[G]) {
  const long S = b.g.stride, K = b.g.K, a0 = b.at(row, c0) + i;
  const long *head = b.head.data(), *arriving = b.arriving.data();
  const T *w = b.w + b.edge(row, 0) + i, *leaving = w, *channel[G];
  Vec<T> here[U][G], later[U][G] = {}, earlier[U][G] = {};
  for (int c = 0; c < G; c++) {
    channel[c] = p + a0 + c * S;
    for (int u = 0; u < U; u++) here[u][c] = load(channel[c] + u * lanes<T>);
  }
  for (long o = 0; o < K; o++, leaving += S) {
    const long h = head[o], a = arriving[o];
    for (int u = 0; u < U; u++) {
      const Vec<T> forth = load(leaving + u * lanes<T>), back = load(w + a + u * lanes<T>);
      for (int c = 0; c < G; c++) {
        later[u][c] += forth * (here[u][c] - load(channel[c] + h + u * lanes<T>));
        earlier[u][c] += back * (here[u][c] - load(channel[c] - h + u * lanes<T>));
      }
    }
  }
  for (int u = 0; u < U; u++)
    for (int c = 0; c < G; c++) {
      const long a = a0 + c * S + u * lanes<T>;
      Vec<T> product = load(b.m + a) * here[u][c] + rho[c0 + c] * (later[u][c] + earlier[u][c]);
      if (u == U - 1) product = only<T>(inside, product);
      store(Ap + a, product);
      energy[c] += here[u][c] * product;
    }
}

// One row of Ap, and its part of <p, Ap>.
template <int G, class T>
void system_row(const Block<T>& b, const T* p, T* Ap, const T* rho, RowSums& pAp, long row,
                long c0) {
  constexpr int U = G == 1 ? 4 : 1;
  const Mask<T> all = first<T>(lanes<T>);
  Vec<T> energy[G] = {};
  long v = 0;
  for (; v + U < b.g.vectors; v += U)
    system_columns<G, U>(b, p, Ap, rho, row, c0, v * lanes<T>, all, energy);
  for (; v < b.g.vectors; v++)
    system_columns<G, 1>(b, p, Ap, rho, row, c0, v * lanes<T>,
                         v == b.g.vectors - 1 ? b.g.tail : all, energy);
  for (int c = 0; c < G; c++) pAp.at(row, c0 + c) = total<T>(energy[c]);
}

// f(place) for each vector of a row of one channel
template <class T, class F> inline void for_vectors(const Block<T>& b, long row, long c, F f) {
  for (long v = 0, i = 0; v < b.g.vectors; v++, i += lanes<T>) f(b.at(row, c) + i);
}

// r -= alpha Ap where x may move, and by row <r, r / D> and <r, r>.
template <class T>
void subtract_row(const Block<T>& b, const T* Ap, const std::vector<double>& alpha, RowSums& rz,
                  RowSums& rr, long row) {
  for (long c = 0; c < b.C(); c++) {
    const T step = T(alpha[c]);
    Vec<T> energy = {}, square = {};
    for_vectors(b, row, c, [&](long a) {
      const Vec<T> scale = load(b.inv + a);
      const Vec<T> left = only<T>(scale > Vec<T>{}, load(b.r + a) - step * load(Ap + a));
      store(b.r + a, left);
      energy += left * scale * left;
      square += left * left;
    });
    rz.at(row, c) = total<T>(energy);
    rr.at(row, c) = total<T>(square);
  }
}

// The solution for one plane; returns the number of steps.
template <class T>
long solve_plane(const Layout<T>& g, long C, const System<T>& s, const Stopping& stop,
                 const Operand<T>& out, long plane, long N, int threads) {
  Workspace& space = workspace();
  const Options options{C, 1, 1, NONE, 0, 0};
  space.reserve(block_bytes(g, options) + 2 * Workspace::bytes_for<T>(g.size(C)));
  Planes<T> of{g, space};
  Block<T> b = open_block(g, options, {}, of);
  T *p = of.rows(C), *Ap = of.rows(C);
  read_signal(g, s.x, plane, C, b.x);
  read_signal(g, s.r, plane, C, b.r);
  read_signal(g, s.h, plane, C, b.m);
  read_signal(g, s.inv, plane, C, b.inv);
  read_weights(g, s.w, plane, N, b.w);
  const T* rho = s.rho + plane * C;

  RowSums pAp(g.rows, C), rz(g.rows, C), rr(g.rows, C);
  std::vector<double> alpha(C), beta(C);
  const auto move = [&] {  // x += alpha p, p = r / D + beta p
    sweep(g, threads, [&](long row) {
      for (long c = 0; c < C; c++) {
        const T step = T(alpha[c]), turn = T(beta[c]);
        for_vectors(b, row, c, [&](long a) {
          const Vec<T> direction = load(p + a);
          store(b.x + a, load(b.x + a) + step * direction);
          store(p + a, load(b.inv + a) * load(b.r + a) + turn * direction);
        });
      }
    });
  };
  sweep(g, threads, [&](long row) { subtract_row(b, Ap, alpha, rz, rr, row); });
  move();
  std::vector<double> energy = rz.totals(), square = rr.totals();
  const auto going = [&](long c) {
    return square[c] > stop.square[plane * C + c] && energy[c] > stop.energy[plane * C + c];
  };
  long step = 0;
  for (; step < stop.max_steps; step++) {
    bool any = false;
    for (long c = 0; c < C; c++) any |= going(c);
    if (!any) break;
    sweep(g, threads, [&](long row) {
      by_channels(C, [&](auto G, long c0) { system_row<G>(b, p, Ap, rho, pAp, row, c0); });
    });
    const std::vector<double> curvature = pAp.totals();
    for (long c = 0; c < C; c++) {
      const bool steps = going(c) && curvature[c] > std::numeric_limits<T>::min();
      alpha[c] = steps ? energy[c] / curvature[c] : 0;
    }
    sweep(g, threads, [&](long row) { subtract_row(b, Ap, alpha, rz, rr, row); });
    const std::vector<double> fresh = rz.totals();
    square = rr.totals();
    for (long c = 0; c < C; c++) {
      beta[c] = alpha[c] > 0 ? fresh[c] / energy[c] : 0;
      energy[c] = alpha[c] > 0 ? fresh[c] : 0;  // a system that stands still has ended
    }
    move();
  }
  write_signal(g, b.x, plane, C, out);
  space.release();
  return step;
}

}  // namespace gsp
