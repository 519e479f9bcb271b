#ifndef FACET_ROUTER_MEDIA_BYTE_BUDGET_H_
#define FACET_ROUTER_MEDIA_BYTE_BUDGET_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

namespace facet {

// So many bytes that many may take of, and give back. Safe to use from any thread; must outlive
// its leases.
class ByteBudget {
 public:
  explicit ByteBudget(int64_t bytes_max) : bytes_max_(bytes_max) {}

  // Bytes that were taken; given back when this ends.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept { *this = std::move(other); }
    Lease& operator=(Lease&& other) noexcept {
      ShrinkTo(0);
      budget_ = other.budget_;
      bytes_ = std::exchange(other.bytes_, 0);
      return *this;
    }
    ~Lease() { ShrinkTo(0); }

    // Gives back what is more than `bytes`.
    void ShrinkTo(int64_t bytes) {
      if (bytes >= bytes_) return;
      budget_->taken_ -= bytes_ - bytes;
      bytes_ = bytes;
    }

   private:
    friend class ByteBudget;
    Lease(ByteBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}

    ByteBudget* budget_ = nullptr;
    int64_t bytes_ = 0;
  };

  // Nothing if there are not so many.
  std::optional<Lease> Take(int64_t bytes) {
    if ((taken_ += bytes) <= bytes_max_) return Lease(this, bytes);
    taken_ -= bytes;
    return std::nullopt;
  }

  int64_t taken() const { return taken_; }
  int64_t bytes_max() const { return bytes_max_; }

 private:
  const int64_t bytes_max_;
  std::atomic<int64_t> taken_ = 0;
};

}  // namespace facet

#endif  // FACET_ROUTER_MEDIA_BYTE_BUDGET_H_
