// From features to weights on a lattice: w = exp(-min(|x_i - x_j|^2, cut)), then divided by the
// degrees of either end, and both in reverse.
//
// A task is a run of rows. It works on rows of its own memory, as stencil.hpp keeps them, and
// computes again what it needs of the rows beside.
#pragma once
#include "exponential.hpp"
#include "product.hpp"

namespace gsp {

// Rows near a run, `per_row` planes each; all zero from `lag` rows before it to `lag` after it.
template <class T> T* rows_near(const Layout<T>& g, Workspace& space, Run run, long per_row) {
  T* at = g.origin(space.take<T>(g.size(per_row)), per_row);
  T* begin = at + (run.first - g.lag) * per_row * g.stride - g.margin();
  T* end = at + (std::min(g.rows, run.end) + g.lag) * per_row * g.stride + g.margin();
  std::fill(begin, end, T(0));
  return at;
}

template <class T> Run widened(const Layout<T>& g, Run run, long before, long after) {
  return {std::max(0L, run.first - before * g.lag), std::min(g.rows, run.end + after * g.lag)};
}

// f(where its edges start in user memory, where they lie in the row, first column, end) for each
// offset of a row that some edge takes; `none(where, begin, end)` for the slots without one.
template <class T, class F, class Z>
void for_leaving(const Layout<T>& g, long N, long row, F f, Z none) {
  for (long o = 0; o < g.K; o++) {
    const long at = o * N + g.source[row] * g.width;
    const long begin = std::min(g.width, std::max(0L, -g.dx[o]));
    const long end = std::max(begin, std::min(g.width, g.width - g.dx[o]));
    if (!g.holds(row + g.dr[o])) {
      none(at, 0L, g.width);
      continue;
    }
    none(at, 0L, begin);
    f(o, at, begin, end);
    none(at, end, g.width);
  }
}

// f(where, begin, end): columns begin .. end of the row are touched by the edges where + column
template <class T, class F> void for_touching(const Layout<T>& g, long N, long row, F f) {
  for (long o = 0; o < g.K; o++) {
    const long dr = g.dr[o], dx = g.dx[o];
    if (g.holds(row + dr))
      f(o * N + g.source[row] * g.width, std::max(0L, -dx), std::min(g.width, g.width - dx));
    if (g.holds(row - dr))
      f(o * N + g.source[row - dr] * g.width - dx, std::max(0L, dx), std::min(g.width, g.width + dx));
  }
}

template <class T>
void read_rows(const Layout<T>& g, const Operand<T>& from, long p, long C, Run run, T* to) {
  const T* base = from.data + from.plane[p];
  for (long row = run.first; row < run.end; row++) {
    if (g.source[row] < 0) continue;
    const T* s = base + g.source[row] * g.width * from.node;
    for (long c = 0; c < C; c++) {
      T* d = to + (row * C + c) * g.stride;
      for (long i = 0; i < g.width; i++) d[i] = s[i * from.node + c * from.channel];
    }
  }
}

template <class T>
void similarity_rows(const Layout<T>& g, const Operand<T>& x, T cut, T* w, long C, long N, long p,
                     Run run) {
  Workspace& space = workspace();
  space.reserve(Workspace::bytes_for<T>(g.size(C)));
  T* rows = rows_near(g, space, run, C);
  read_rows(g, x, p, C, widened(g, run, 0, 1), rows);
  for (long row = run.first; row < run.end; row++) {
    if (g.source[row] < 0) continue;
    const T* here = rows + row * C * g.stride;
    const auto edges = [&](long o, long at, long begin, long end) {
      const T* there = here + g.dr[o] * C * g.stride + g.dx[o];
      for (long i = begin; i < end; i += lanes<T>) {
        Vec<T> energy = {};
        for (long c = 0; c < C; c++) {
          const Vec<T> d = load(there + c * g.stride + i) - load(here + c * g.stride + i);
          energy += d * d;
        }
        const Vec<T> weight = exponential<T>(energy > cut ? fill<T>(-cut) : -energy);
        if (end - i >= lanes<T>) store(w + at + i, weight);
        else for (long l = 0; l < end - i; l++) w[at + i + l] = weight[l];
      }
    };
    for_leaving(g, N, row, edges, [&](long at, long a, long b) { std::fill(w + at + a, w + at + b, T(0)); });
  }
  space.release();
}

// The derivative of <g, w> by x: L_k x with k = -2 g w on every edge that is not cut.
template <class T>
void similarity_reverse_rows(const Layout<T>& g, const Operand<T>& x, T floor, const T* w,
                             const T* grad, T* to, long C, long N, long p, Run run) {
  Workspace& space = workspace();
  space.reserve(Workspace::bytes_for<T>(g.size(C)) + Workspace::bytes_for<T>(g.size(g.K)) +
                Workspace::bytes_for<T>(C * g.stride));
  T *rows = rows_near(g, space, run, C), *k = rows_near(g, space, run, g.K);
  T* sum = space.take<T>(C * g.stride);
  read_rows(g, x, p, C, widened(g, run, 1, 1), rows);
  const Run near = widened(g, run, 1, 0);
  for (long row = near.first; row < near.end; row++) {
    if (g.source[row] < 0) continue;
    const auto edges = [&](long o, long at, long begin, long end) {
      T* d = k + (row * g.K + o) * g.stride;
      for (long i = begin; i < end; i++)
        d[i] = w[at + i] > floor ? -2 * grad[at + i] * w[at + i] : T(0);
    };
    for_leaving(g, N, row, edges, [](long, long, long) {});
  }
  for (long row = run.first; row < run.end; row++) {
    if (g.source[row] < 0) continue;
    const T* here = rows + row * C * g.stride;
    for (long c = 0; c < C; c++)
      for (long i = 0; i < g.width; i += lanes<T>) {
        const T* x_i = here + c * g.stride + i;
        Vec<T> s = {};
        for (long o = 0; o < g.K; o++) {
          const long there = g.dr[o] * C * g.stride + g.dx[o];
          const T *leaving = k + (row * g.K + o) * g.stride + i,
                  *arriving = leaving - g.dr[o] * g.K * g.stride - g.dx[o];
          s += load(leaving) * (load(x_i) - load(x_i + there));
          s += load(arriving) * (load(x_i) - load(x_i - there));
        }
        store(sum + c * g.stride + i, s);
      }
    T* user = to + g.source[row] * g.width * C;
    for (long i = 0; i < g.width; i++)
      for (long c = 0; c < C; c++) user[i * C + c] = sum[c * g.stride + i];
  }
  space.release();
}

// 1 / degree of a row's nodes, 0 where the degree vanishes.
template <class T>
void reciprocal_degrees(const Layout<T>& g, const T* w, T smallest, long N, long row, T* to) {
  for_touching(g, N, row, [&](long at, long begin, long end) {
    for (long i = begin; i < end; i++) to[i] += w[at + i];
  });
  for (long i = 0; i < g.width; i++) to[i] = to[i] > smallest ? 1 / to[i] : T(0);
}

// w (1 / d_i + 1 / d_j)
template <class T>
void over_degrees_rows(const Layout<T>& g, const T* w, T smallest, T* to, long N, Run run) {
  Workspace& space = workspace();
  space.reserve(Workspace::bytes_for<T>(g.size(1)));
  T* c = rows_near(g, space, run, 1);
  const Run near = widened(g, run, 0, 1);
  for (long row = near.first; row < near.end; row++)
    if (g.source[row] >= 0) reciprocal_degrees(g, w, smallest, N, row, c + row * g.stride);
  for (long row = run.first; row < run.end; row++) {
    if (g.source[row] < 0) continue;
    const auto edges = [&](long o, long at, long begin, long end) {
      const T *here = c + row * g.stride, *there = here + g.dr[o] * g.stride + g.dx[o];
      for (long i = begin; i < end; i++) to[at + i] = w[at + i] * (here[i] + there[i]);
    };
    for_leaving(g, N, row, edges, [&](long at, long a, long b) { std::fill(to + at + a, to + at + b, T(0)); });
  }
  space.release();
}

// The derivative of <g, that> by w: g (1 / d_i + 1 / d_j) + e_i + e_j, with e = -(sum of g w) / d^2.
template <class T>
void over_degrees_reverse_rows(const Layout<T>& g, const T* w, const T* grad, T smallest, T* to, long N,
                         Run run) {
  Workspace& space = workspace();
  space.reserve(2 * Workspace::bytes_for<T>(g.size(1)));
  T *c = rows_near(g, space, run, 1), *e = rows_near(g, space, run, 1);
  const Run near = widened(g, run, 0, 1);
  for (long row = near.first; row < near.end; row++) {
    if (g.source[row] < 0) continue;
    T *c_row = c + row * g.stride, *e_row = e + row * g.stride;
    reciprocal_degrees(g, w, smallest, N, row, c_row);
    for_touching(g, N, row, [&](long at, long begin, long end) {
      for (long i = begin; i < end; i++) e_row[i] += grad[at + i] * w[at + i];
    });
    for (long i = 0; i < g.width; i++) e_row[i] *= -c_row[i] * c_row[i];
  }
  for (long row = run.first; row < run.end; row++) {
    if (g.source[row] < 0) continue;
    const auto edges = [&](long o, long at, long begin, long end) {
      const long here = row * g.stride, there = here + g.dr[o] * g.stride + g.dx[o];
      for (long i = begin; i < end; i++)
        to[at + i] = grad[at + i] * (c[here + i] + c[there + i]) + (e[here + i] + e[there + i]);
    };
    for_leaving(g, N, row, edges, [&](long at, long a, long b) { std::fill(to + at + a, to + at + b, T(0)); });
  }
  space.release();
}

}  // namespace gsp
