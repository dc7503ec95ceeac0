// Memory that a thread keeps between calls: fresh pages cost more than the arithmetic done on them.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <new>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace gsp {

class Workspace {
 public:
  ~Workspace() { std::free(block_); }

  // Hands out `count` numbers after `reserve`; contents are whatever was there before.
  template <class T> T* take(size_t count) {
    T* p = reinterpret_cast<T*>(block_ + used_);
    used_ += round_up(count * sizeof(T));
    return p;
  }

  void reserve(size_t bytes) {
    used_ = 0;
    if (bytes <= size_) return;
    std::free(block_);
    size_ = 0;
    const size_t huge = size_t(1) << 21;
    const size_t wanted = (bytes + huge - 1) / huge * huge;
    block_ = static_cast<char*>(std::aligned_alloc(huge, wanted));
    if (!block_) throw std::bad_alloc();
    size_ = wanted;
#ifdef __linux__
    madvise(block_, wanted, MADV_HUGEPAGE);
#endif
  }

  // Large blocks go back to the system: a photograph must not keep its memory for ever.
  void release() {
    if (size_ <= kept) return;
    std::free(block_);
    block_ = nullptr;
    size_ = used_ = 0;
  }

  template <class T> static size_t bytes_for(size_t count) { return round_up(count * sizeof(T)); }

 private:
  static constexpr size_t kept = size_t(256) << 20;
  // an odd number of cache lines between buffers, so that equal offsets do not share a cache set
  static size_t round_up(size_t bytes) { return (bytes + 127) / 128 * 128 + 64; }
  char* block_ = nullptr;
  size_t size_ = 0, used_ = 0;
};

inline Workspace& workspace() {
  static thread_local Workspace w;
  return w;
}

}  // namespace gsp
