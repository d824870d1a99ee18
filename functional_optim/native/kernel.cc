// The loop over the elements of a leaf, and its call from XLA.
//
// `build` puts the bodies, which it writes out of the rules, in the place of BODIES and TABLE.

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

// Its bits; of a struct around them, compilers make no vectors.
using bfloat16 = uint16_t;

inline float widen(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// To the nearest, ties to even; a NaN stays one, whatever the bits that are cut off.
inline bfloat16 narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40;
  return static_cast<bfloat16>(x != x ? nan : rounded);
}

// As XLA has them: a NaN on either side is the result.
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

// The elements from `begin` to `end` of a leaf. `x` has the operands and then the results; an
// operand may be a result too, for each element is read before it is written.
using Body = void (*)(void* const* x, int64_t row, int64_t leaf, int64_t begin, int64_t end);

BODIES

constexpr Body kBodies[] = {TABLE};

// Measured: below two blocks, waking a thread takes longer than what it does.
constexpr int64_t kBlock = 1 << 15;

struct Work {
  Body body;
  std::vector<void*> x;
  int64_t row, leaf, size, blocks;
  std::atomic<int64_t> next{0}, done{0};
  std::mutex mutex;
  std::condition_variable finished;

  // Takes blocks as long as there are any. A task that starts late finds none, and touches
  // nothing of the leaf, which may be gone by then.
  void Drain() {
    for (int64_t k; (k = next.fetch_add(1)) < blocks;) {
      body(x.data(), row, leaf, k * kBlock, std::min(size, (k + 1) * kBlock));
      if (done.fetch_add(1) + 1 == blocks) {
        std::lock_guard<std::mutex> lock(mutex);
        finished.notify_all();
      }
    }
  }

  // Waits for the blocks that others have taken, and only these: so no thread waits for one
  // that has yet to start.
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex);
    finished.wait(lock, [this] { return done.load() == blocks; });
  }
};

ffi::Error Run(ffi::ThreadPool pool, ffi::RemainingArgs arguments, ffi::RemainingRets results,
               int64_t body, int64_t row, int64_t leaf) {
  std::vector<void*> x;
  x.reserve(arguments.size() + results.size());
  for (size_t k = 0; k < arguments.size(); ++k) {
    auto argument = arguments.get<ffi::AnyBuffer>(k);
    if (argument.has_error()) return argument.error();
    x.push_back(argument->untyped_data());
  }
  int64_t size = 0;
  for (size_t k = 0; k < results.size(); ++k) {
    auto result = results.get<ffi::AnyBuffer>(k);
    if (result.has_error()) return result.error();
    x.push_back((*result)->untyped_data());
    size = static_cast<int64_t>((*result)->element_count());
  }
  const int64_t blocks = (size + kBlock - 1) / kBlock;
  const int64_t threads = blocks < 2 ? 1 : std::min(blocks, pool.num_threads());
  if (threads < 2) {
    kBodies[body](x.data(), row, leaf, 0, size);
    return ffi::Error::Success();
  }
  auto work = std::make_shared<Work>();
  work->body = kBodies[body];
  work->x = std::move(x);
  work->row = row;
  work->leaf = leaf;
  work->size = size;
  work->blocks = blocks;
  for (int64_t k = 1; k < threads; ++k) {
    pool.Schedule([work] { work->Drain(); });
  }
  work->Drain();
  work->Wait();
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(functional_optim_leaf, Run,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("body")
                                  .Attr<int64_t>("row")
                                  .Attr<int64_t>("leaf"));
