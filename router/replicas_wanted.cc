#include "router/replicas_wanted.h"

#include <cmath>

namespace facet {

double ReplicasWanted::Update(double now_s, const Load& load) {
  // While no worker is known, one is wanted if anybody waits.
  const double rows = load.rows_each > 0 ? static_cast<double>(load.rows_each) * options_.use_wanted
                                         : static_cast<double>(load.answers);
  const double replicas = load.answers == 0 ? 0 : static_cast<double>(load.answers) / rows;
  const double weight = began_ ? 1 - std::exp((seen_s_ - now_s) / options_.rise_s) : 1;
  smooth_ += weight * (replicas - smooth_);
  began_ = true;
  seen_s_ = now_s;
  while (!peaks_.empty() && peaks_.back().replicas <= smooth_) peaks_.pop_back();
  peaks_.push_back({now_s, smooth_});
  while (peaks_.front().at_s < now_s - options_.fall_s) peaks_.pop_front();
  return peaks_.front().replicas;
}

}  // namespace facet
