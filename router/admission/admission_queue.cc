#include "router/admission/admission_queue.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/algorithm/container.h"
#include "base/check.h"

namespace facet {

std::vector<QueuedAnswer> AdmissionQueue::Push(QueuedAnswer answer) {
  CHECK(!places_.contains(answer.id)) << "answer " << answer.id << " waits already";
  Insert(std::move(answer));
  std::vector<QueuedAnswer> refused;
  while (size() > static_cast<size_t>(options_.answers_max) || bytes_ > options_.bytes_max) {
    refused.push_back(Take(LastOfGreatest()));
  }
  ForgetIdle();
  return refused;
}

void AdmissionQueue::PushBack(QueuedAnswer answer) {
  const std::string tenant = answer.tenant;
  const double given = answer.tokens / answer.weight;
  Insert(std::move(answer));
  tenants_[tenant].served -= given;
}

std::optional<QueuedAnswer> AdmissionQueue::Pop(OpenFunction open) {
  TenantQueue* best = nullptr;
  uint64_t best_id = 0;
  for (auto& [name, tenant] : tenants_) {
    if (best != nullptr && tenant.served >= best->served) continue;
    std::pair<double, uint64_t> first(std::numeric_limits<double>::infinity(), 0);
    for (const auto& [lane_name, lane] : tenant.lanes) {
      if (lane.begin()->first < first && open(name, lane_name)) first = lane.begin()->first;
    }
    if (first.second == 0) continue;
    best = &tenant;
    best_id = first.second;
  }
  if (best == nullptr) return std::nullopt;
  served_ = std::max(served_, best->served);
  QueuedAnswer answer = Take(best_id);
  best->served += answer.tokens / answer.weight;
  ForgetIdle();
  return answer;
}

bool AdmissionQueue::Remove(uint64_t id) {
  if (!places_.contains(id)) return false;
  Take(id);
  ForgetIdle();
  return true;
}

std::vector<QueuedAnswer> AdmissionQueue::TakeExpired(double now_s) {
  std::vector<uint64_t> ids;
  for (const auto& [name, tenant] : tenants_) {
    for (const auto& [lane_name, lane] : tenant.lanes) {
      for (const auto& [key, answer] : lane) {
        if (key.first > now_s) break;
        ids.push_back(answer.id);
      }
    }
  }
  std::vector<QueuedAnswer> expired;
  for (const uint64_t id : ids) expired.push_back(Take(id));
  ForgetIdle();
  return expired;
}

double AdmissionQueue::TokensUpTo(const TenantQueue& tenant, double deadline_s) {
  // As a rule, who comes last has the last deadline.
  const bool all = absl::c_all_of(tenant.lanes, [&](const auto& lane) {
    return lane.second.rbegin()->first.first <= deadline_s;
  });
  if (all) return tenant.tokens;
  double tokens = 0;
  for (const auto& [name, lane] : tenant.lanes) {
    for (const auto& [key, answer] : lane) {
      if (key.first > deadline_s) break;
      tokens += answer.tokens;
    }
  }
  return tokens;
}

// While those before it of its own tenant are served, every other tenant gets what its weight says,
// or all that it has.
double AdmissionQueue::TokensBefore(const std::string& name, double weight,
                                    double deadline_s) const {
  double own = 0, ahead_by_weight = 0;
  if (const auto found = tenants_.find(name); found != tenants_.end()) {
    own = TokensUpTo(found->second, deadline_s);
    ahead_by_weight = std::max(0.0, found->second.served - served_);
  }
  double others = 0;
  for (const auto& [other_name, other] : tenants_) {
    if (other_name == name) continue;
    const double behind = std::max(0.0, other.served - served_);
    const double share = other.weight * std::max(0.0, own / weight + ahead_by_weight - behind);
    others += std::min(other.tokens, share);
  }
  return own + others;
}

std::vector<AdmissionQueue::TenantView> AdmissionQueue::Tenants() const {
  std::vector<TenantView> views;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.answers == 0) continue;
    views.push_back({name, tenant.weight, tenant.answers, tenant.tokens, tenant.bytes});
  }
  return views;
}

void AdmissionQueue::Insert(QueuedAnswer answer) {
  CHECK_GT(answer.id, 0u);
  CHECK(answer.weight > 0) << "of tenant " << answer.tenant;
  TenantQueue& tenant = tenants_[answer.tenant];
  // Who was away has no claim on what others had meanwhile.
  if (tenant.answers == 0) tenant.served = std::max(tenant.served, served_);
  tenant.weight = answer.weight;
  tenant.tokens += answer.tokens;
  tenant.bytes += answer.bytes;
  ++tenant.answers;
  bytes_ += answer.bytes;
  places_[answer.id] = {answer.tenant, answer.lane, answer.deadline_s};
  Lane& lane = tenant.lanes[answer.lane];
  const std::pair<double, uint64_t> key(answer.deadline_s, answer.id);
  lane.emplace(key, std::move(answer));
}

QueuedAnswer AdmissionQueue::Take(uint64_t id) {
  const auto place = places_.find(id);
  CHECK(place != places_.end());
  TenantQueue& tenant = tenants_.at(place->second.tenant);
  const auto lane = tenant.lanes.find(place->second.lane);
  const auto entry = lane->second.find({place->second.deadline_s, id});
  QueuedAnswer answer = std::move(entry->second);
  lane->second.erase(entry);
  if (lane->second.empty()) tenant.lanes.erase(lane);
  places_.erase(place);
  bytes_ -= answer.bytes;
  tenant.bytes -= answer.bytes;
  --tenant.answers;
  // Sums of doubles leave a rest.
  tenant.tokens = tenant.answers == 0 ? 0 : tenant.tokens - answer.tokens;
  return answer;
}

uint64_t AdmissionQueue::LastOfGreatest() const {
  const TenantQueue* greatest = nullptr;
  double greatest_share = -1;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.answers == 0) continue;
    const double share =
        std::max(static_cast<double>(tenant.answers) / options_.answers_max,
                 static_cast<double>(tenant.bytes) / static_cast<double>(options_.bytes_max)) /
        tenant.weight;
    if (share <= greatest_share) continue;
    greatest = &tenant;
    greatest_share = share;
  }
  std::pair<double, uint64_t> last(-std::numeric_limits<double>::infinity(), 0);
  for (const auto& [name, lane] : greatest->lanes) last = std::max(last, lane.rbegin()->first);
  return last.second;
}

// Nothing waits: nobody has a claim. Else who has had no more than the others is forgotten.
void AdmissionQueue::ForgetIdle() {
  for (auto it = tenants_.begin(); it != tenants_.end();) {
    const bool idle = it->second.answers == 0 && (size() == 0 || it->second.served <= served_);
    it = idle ? tenants_.erase(it) : std::next(it);
  }
  if (size() == 0) served_ = 0;
}

void AdmissionQueue::CheckInvariants() const {
  size_t answers = 0, bytes = 0;
  for (const auto& [name, tenant] : tenants_) {
    size_t own_answers = 0, own_bytes = 0;
    double own_tokens = 0;
    for (const auto& [lane_name, lane] : tenant.lanes) {
      CHECK(!lane.empty());
      for (const auto& [key, answer] : lane) {
        const auto place = places_.find(answer.id);
        CHECK(place != places_.end());
        CHECK(place->second.tenant == name && place->second.lane == lane_name);
        CHECK(key.first == answer.deadline_s && key.second == answer.id);
        ++own_answers;
        own_bytes += answer.bytes;
        own_tokens += answer.tokens;
      }
    }
    CHECK_EQ(own_answers, tenant.answers);
    CHECK_EQ(own_bytes, tenant.bytes);
    CHECK(std::abs(own_tokens - tenant.tokens) <= 1e-6 * (1 + own_tokens));
    CHECK(tenant.answers > 0 || (size() > 0 && tenant.served > served_));
    answers += own_answers;
    bytes += own_bytes;
  }
  CHECK_EQ(answers, size());
  CHECK_EQ(bytes, bytes_);
}

}  // namespace facet
