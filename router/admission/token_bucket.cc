#include "router/admission/token_bucket.h"

#include <algorithm>

namespace facet {

void TokenBucket::SetLimit(double per_minute, double now_s) {
  Fill(now_s);
  const double taken = per_minute_ - available_;
  per_minute_ = per_minute;
  available_ = per_minute - taken;
}

bool TokenBucket::Take(double amount, double now_s) {
  if (SecondsUntil(amount, now_s) > 0) return false;
  available_ -= amount;
  return true;
}

void TokenBucket::Charge(double amount, double now_s) {
  Fill(now_s);
  available_ = std::min(available_ - amount, per_minute_);
}

double TokenBucket::Remaining(double now_s) {
  Fill(now_s);
  return std::max(0.0, available_);
}

double TokenBucket::SecondsUntil(double amount, double now_s) {
  Fill(now_s);
  const double missing = std::min(amount, per_minute_) - available_;
  return limited() && missing > 0 ? missing * 60 / per_minute_ : 0;
}

double TokenBucket::SecondsUntilFull(double now_s) { return SecondsUntil(per_minute_, now_s); }

void TokenBucket::Fill(double now_s) {
  const double passed_s = std::max(0.0, now_s - filled_s_);
  filled_s_ = std::max(filled_s_, now_s);
  available_ = std::min(per_minute_, available_ + passed_s * per_minute_ / 60);
}

}  // namespace facet
