// The loop over the elements of leaves, and its call from XLA.
//
// `build` replaces BODIES and TABLE by the functions that it generates from the rules.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// The bits as a plain integer, because compilers do not vectorize a struct around them.
using bfloat16 = uint16_t;

inline float widen(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// Rounds to nearest, ties to even; a NaN stays a NaN, whatever bits are cut off.
inline bfloat16 narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40;
  return static_cast<bfloat16>(x != x ? nan : rounded);
}

// As in XLA, the result is NaN if either argument is NaN.
template <typename T>
inline T maximum(T a, T b) {
  return a > b || a != a ? a : b;
}

template <typename T>
inline T minimum(T a, T b) {
  return a < b || a != a ? a : b;
}

template <typename T>
inline T sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
}

// Computes the elements from `begin` to `end` of a leaf. `shared` has the arguments of all leaves, and
// `x` the operands and then the results; an operand may also be a result, because each element is
// read before it is written.
using Body = void (*)(void* const* shared, void* const* x, int64_t row, int64_t leaf,
                      int64_t begin, int64_t end);

BODIES

constexpr Body kBodies[] = {TABLE};
constexpr int64_t kCount = sizeof(kBodies) / sizeof(Body);

// Number of elements in a block. Below two blocks, waking a thread takes longer than the work.
constexpr int64_t kBlock = 1 << 15;

struct Leaf {
  size_t x;  // index of the leaf's first operand
  int64_t row, number, size, first_block;
};

struct Work {
  Body body;
  std::vector<void*> shared, x;
  std::vector<Leaf> leaves;
  int64_t blocks = 0;
  std::atomic<int64_t> next{0}, done{0};
  std::mutex mutex;
  std::condition_variable finished;

  void Run(const Leaf& leaf, int64_t begin, int64_t end) const {
    body(shared.data(), x.data() + leaf.x, leaf.row, leaf.number, begin, end);
  }

  void RunBlock(int64_t block) const {
    auto after = std::upper_bound(
        leaves.begin(), leaves.end(), block,
        [](int64_t k, const Leaf& leaf) { return k < leaf.first_block; });
    const Leaf& leaf = *(after - 1);
    const int64_t begin = (block - leaf.first_block) * kBlock;
    Run(leaf, begin, std::min(leaf.size, begin + kBlock));
  }

  // Computes blocks until none is left. A task that starts late finds no block, and does not access
  // the leaves, which may have been freed.
  void Drain() {
    for (int64_t k; (k = next.fetch_add(1)) < blocks;) {
      RunBlock(k);
      if (done.fetch_add(1) + 1 == blocks) {
        std::lock_guard<std::mutex> lock(mutex);
        finished.notify_all();
      }
    }
  }

  // Waits only for the blocks that other threads are computing, so that no thread waits for a task
  // that has not started.
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [this] { return done.load() == blocks; });
  }
};

// The arguments are those that the leaves share, and then the operands of each leaf.
ffi::Error Run(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results,
               int64_t body, int64_t shared, ffi::Span<const int64_t> rows,
               ffi::Span<const int64_t> numbers) {
  if (body < 0 || body >= kCount || rows.size() == 0 || rows.size() != numbers.size() ||
      shared < 0 || static_cast<size_t>(shared) > arguments.size()) {
    return ffi::Error::InvalidArgument("functional_optim: a call that this library does not have");
  }
  auto work = std::make_shared<Work>();
  work->body = kBodies[body];
  std::vector<void*> operands;
  for (size_t k = 0; k < arguments.size(); ++k) {
    auto argument = arguments.get<ffi::AnyBuffer>(k);
    if (argument.has_error()) return argument.error();
    auto& place = k < static_cast<size_t>(shared) ? work->shared : operands;
    place.push_back(argument->untyped_data());
  }
  const size_t count = rows.size();
  const size_t given = operands.size() / count, made = results.size() / count;
  int64_t elements = 0;
  for (size_t k = 0; k < count; ++k) {
    Leaf leaf{work->x.size(), rows[k], numbers[k], 0, work->blocks};
    work->x.insert(work->x.end(), operands.begin() + k * given,
                   operands.begin() + (k + 1) * given);
    for (size_t j = 0; j < made; ++j) {
      auto result = results.get<ffi::AnyBuffer>(k * made + j);
      if (result.has_error()) return result.error();
      work->x.push_back((*result)->untyped_data());
      leaf.size = static_cast<int64_t>((*result)->element_count());
    }
    elements += leaf.size;
    work->blocks += (leaf.size + kBlock - 1) / kBlock;
    work->leaves.push_back(leaf);
  }
  const int64_t threads =
      elements < 2 * kBlock ? 1 : std::min(work->blocks, pool.num_threads());
  if (threads < 2) {
    for (const Leaf& leaf : work->leaves) work->Run(leaf, 0, leaf.size);
    return ffi::Error::Success();
  }
  for (int64_t k = 1; k < threads; ++k) {
    pool.Schedule([work] { work->Drain(); });
  }
  work->Drain();
  work->Wait();
  return ffi::Error::Success();
}

}  // namespace

// Number of functions, which must equal that of the description.
extern "C" {
extern const int64_t functional_optim_leaf_bodies;
const int64_t functional_optim_leaf_bodies = kCount;
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(functional_optim_leaf, Run,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("body")
                                  .Attr<int64_t>("shared")
                                  .Attr<ffi::Span<const int64_t>>("rows")
                                  .Attr<ffi::Span<const int64_t>>("numbers"));
