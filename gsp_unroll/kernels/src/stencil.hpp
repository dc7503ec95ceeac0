// A lattice in padded storage, so that no sweep asks whether a neighbour exists.
//
// The last axis makes the rows. A row of `width` nodes is stored in `stride` places, the rest zero;
// rows beyond the borders are zero as well, and so is every weight of an edge that leaves the
// lattice. Edges run from a node to a later one (lexicographically positive offsets).
//
//   signal  [row][channel][column]        weights, edge signals  [row][offset][(channel)][column]
#pragma once
#include <algorithm>
#include <vector>

#include "lanes.hpp"
#include "workspace.hpp"

namespace gsp {

// As Python hands it over. Rows count over the padded outer axes; `source` is the row's number
// without padding, -1 for a row of padding.
struct Lattice {
  int64_t rows, width, reach, num_offsets, lag;
  const int64_t *source, *row_step, *column_step;
};

// A tensor (planes, nodes, channels) of any strides: plane p starts at data + plane[p].
template <class T> struct Operand {
  T* data;
  const int64_t* plane;
  int64_t node, channel;
};

template <class T> struct Layout {
  long rows, width, vectors, stride, K, lag;
  const int64_t *source, *dr, *dx;
  Mask<T> tail;  // lanes of a row's last vector that are nodes

  explicit Layout(const Lattice& g)
      : rows(g.rows), width(g.width), vectors((g.width + lanes<T> - 1) / lanes<T>),
        stride((g.width + g.reach + lanes<T> - 1) / lanes<T> * lanes<T>), K(g.num_offsets),
        lag(g.lag), source(g.source), dr(g.row_step), dx(g.column_step),
        tail(first<T>(g.width - (vectors - 1) * lanes<T>)) {}

  bool holds(long row) const { return row >= 0 && row < rows && source[row] >= 0; }
  // the lattice without the rows before `first` and from `end` on; nodes keep their numbers
  Layout between(long first, long end) const {
    Layout part = *this;
    part.rows = end - first, part.source = source + first;
    return part;
  }
  // numbers in a buffer of `per_row` planes a row, from `lag` rows before the first to `lag` after
  // the last, with a margin at either end for columns beyond the border
  size_t size(long per_row) const { return (rows + 2 * lag) * per_row * stride + 2 * margin(); }
  long margin() const { return (stride + lanes<T>) / lanes<T> * lanes<T>; }
  T* origin(T* buffer, long per_row) const { return buffer + margin() + lag * per_row * stride; }
};

// All buffers of one plane come from here: `rows(n)` has n numbers for each node, all of them zero.
template <class T> struct Planes {
  const Layout<T>& g;
  Workspace& space;
  T* rows(long per_row, bool zero = true) {
    T* buffer = space.take<T>(g.size(per_row));
    if (zero) std::memset(buffer, 0, g.size(per_row) * sizeof(T));
    return g.origin(buffer, per_row);
  }
};

template <class T>
void read_signal(const Layout<T>& g, const Operand<T>& from, long p, long C, T* to) {
  const T* base = from.data + from.plane[p];
  for (long row = 0; row < g.rows; row++) {
    if (g.source[row] < 0) continue;
    for (long c = 0; c < C; c++) {
      const T* s = base + g.source[row] * g.width * from.node + c * from.channel;
      T* d = to + (row * C + c) * g.stride;
      for (long i = 0; i < g.width; i++) d[i] = s[i * from.node];
    }
  }
}

// Rows first .. end of a lattice.
struct Run {
  long first, end;
};

template <class T>
void write_signal(const Layout<T>& g, const T* from, long p, long C, const Operand<T>& to, Run run) {
  T* base = to.data + to.plane[p];
  for (long row = run.first; row < run.end; row++) {
    if (g.source[row] < 0) continue;
    for (long c = 0; c < C; c++) {
      T* d = base + g.source[row] * g.width * to.node + c * to.channel;
      const T* s = from + (row * C + c) * g.stride;
      for (long i = 0; i < g.width; i++) d[i * to.node] = s[i];
    }
  }
}

template <class T>
void write_signal(const Layout<T>& g, const T* from, long p, long C, const Operand<T>& to) {
  write_signal(g, from, p, C, to, {0, g.rows});
}

// Calls f(row, offset, first column, end) for the slots that hold an edge; the others are padding.
template <class T, class F> void for_slots(const Layout<T>& g, F f) {
  for (long row = 0; row < g.rows; row++) {
    if (g.source[row] < 0) continue;
    for (long o = 0; o < g.K; o++) {
      const long begin = std::max(0L, -g.dx[o]), end = std::min(g.width, g.width - g.dx[o]);
      if (g.holds(row + g.dr[o]) && begin < end) f(row, o, begin, end);
    }
  }
}

// Edge weights (offsets, nodes) of plane p, between user memory and padded rows. Where no edge is,
// nothing is read and nothing is written.
template <class T>
void read_weights(const Layout<T>& g, const Operand<T>& from, long p, long N, T* to) {
  for_slots(g, [&](long row, long o, long begin, long end) {
    const T* s = from.data + from.plane[p] + o * N + g.source[row] * g.width;
    std::memcpy(to + (row * g.K + o) * g.stride + begin, s + begin, (end - begin) * sizeof(T));
  });
}

template <class T>
void write_weights(const Layout<T>& g, const T* from, long p, long N, const Operand<T>& to) {
  for_slots(g, [&](long row, long o, long begin, long end) {
    T* d = to.data + to.plane[p] + o * N + g.source[row] * g.width;
    std::memcpy(d + begin, from + (row * g.K + o) * g.stride + begin, (end - begin) * sizeof(T));
  });
}

}  // namespace gsp
