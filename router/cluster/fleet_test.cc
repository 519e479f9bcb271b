#include "router/cluster/fleet.h"

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A client of nothing.
class IdleClient final : public WorkerClient {
 public:
  IdleClient(std::string address, std::function<void()> on_end)
      : address_(std::move(address)), on_end_(std::move(on_end)) {}
  ~IdleClient() override { on_end_(); }

  const std::string& address() const override { return address_; }
  WorkerSnapshot Snapshot() const override {
    WorkerSnapshot snapshot;
    snapshot.address = address_;
    return snapshot;
  }
  double SilentS() const override { return 0; }
  void GiveUp(const std::string&) override {}
  std::shared_ptr<const AdapterDigests> adapters() const override { return nullptr; }
  absl::StatusOr<uint64_t> Start(const v1::GenerateRequest&, const v1::KvSource&, uint32_t,
                                 std::shared_ptr<const LoadedMedia>,
                                 std::shared_ptr<Mailbox>) override {
    return absl::UnavailableError("idle");
  }
  void CountElsewhere(uint32_t) override {}
  void LoadAdapter(const std::string&, const std::string&, Done) override {}
  void UnloadAdapter(const std::string&, Done) override {}
  void Cancel(uint64_t) override {}

 private:
  const std::string address_;
  const std::function<void()> on_end_;
};

class FleetTest : public ::testing::Test {
 protected:
  static WantedWorkers Listed(const std::vector<std::string>& addresses) {
    WantedWorkers wanted;
    for (const std::string& address : addresses) wanted[address].listed = true;
    return wanted;
  }
  std::vector<std::string> Addresses() const {
    std::vector<std::string> addresses;
    const auto members = fleet_->members();
    for (const Fleet::Member& member : *members) addresses.push_back(member.client->address());
    return addresses;
  }
  Fleet::Member Find(const std::string& address) const {
    const auto members = fleet_->members();
    return *std::find_if(members->begin(), members->end(), [&](const Fleet::Member& member) {
      return member.client->address() == address;
    });
  }
  void AwaitGone(std::vector<int> ids) {
    const auto gone = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return gone_ids_ == ids; };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&gone));
  }
  int made() const {
    absl::MutexLock lock(&mutex_);
    return made_;
  }
  int ended() const {
    absl::MutexLock lock(&mutex_);
    return ended_;
  }

  mutable absl::Mutex mutex_;
  int made_ ABSL_GUARDED_BY(mutex_) = 0;
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread::id ended_on_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> gone_ids_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Fleet> fleet_ = std::make_unique<Fleet>(
      [this](const std::string& address, int) {
        absl::MutexLock lock(&mutex_);
        ++made_;
        return std::make_unique<IdleClient>(address, [this] {
          absl::MutexLock lock(&mutex_);
          ++ended_;
          ended_on_ = std::this_thread::get_id();
        });
      },
      [this](int id) {
        absl::MutexLock lock(&mutex_);
        gone_ids_.push_back(id);
      });
};

// Given workers that come and go, expect the members to be those that are wanted, with one client
// each for as long as they stay, and their origins as they are now.
TEST_F(FleetTest, FollowsWhatIsWanted) {
  EXPECT_THAT(Addresses(), IsEmpty());
  fleet_->Set(Listed({"b:1", "a:1"}));
  EXPECT_THAT(Addresses(), ElementsAre("a:1", "b:1"));
  const WorkerClient* const b = Find("b:1").client.get();
  fleet_->Set({{"b:1", {false, true, false}}, {"c:1", {true, false, false}}});
  EXPECT_THAT(Addresses(), ElementsAre("b:1", "c:1"));
  EXPECT_EQ(Find("b:1").client.get(), b);
  EXPECT_EQ(Find("b:1").origins, (WorkerOrigins{false, true, false}));
  EXPECT_EQ(made(), 3);
  AwaitGone({0});
  EXPECT_EQ(ended(), 1);
}

// Given a worker that leaves while somebody uses it, expect it to live until then, and to be
// destroyed on another thread; its id is not given anew before.
TEST_F(FleetTest, LeavesWhenNobodyUsesIt) {
  fleet_->Set(Listed({"a:1"}));
  std::shared_ptr<WorkerClient> used = Find("a:1").client;
  fleet_->Set({});
  EXPECT_THAT(Addresses(), IsEmpty());
  fleet_->Set(Listed({"b:1"}));
  EXPECT_EQ(Find("b:1").id, 1);
  EXPECT_EQ(used->address(), "a:1");
  EXPECT_EQ(ended(), 0);
  used = nullptr;
  AwaitGone({0});
  absl::MutexLock lock(&mutex_);
  EXPECT_NE(ended_on_, std::this_thread::get_id());
}

// Given that its client is gone, expect its id to be given to the next, the least first.
TEST_F(FleetTest, IdsAreGivenAnew) {
  fleet_->Set(Listed({"a:1", "b:1", "c:1"}));
  fleet_->Set(Listed({"c:1"}));
  const auto both_free = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return gone_ids_.size() == 2; };
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&both_free));
  }
  // It is told of before its id is free.
  int id = -1;
  for (int i = 0; id != 0 && id != 1; ++i) {
    const std::string address = "new:" + std::to_string(i);
    fleet_->Set(Listed({"c:1", address}));
    id = Find(address).id;
  }
  EXPECT_EQ(Find("c:1").id, 2);
}

// Given a worker that comes back while its old client is in use, expect that client again.
TEST_F(FleetTest, ComesBackToItsClient) {
  fleet_->Set(Listed({"a:1"}));
  const Fleet::Member used = Find("a:1");
  fleet_->Set({});
  fleet_->Set(Listed({"a:1"}));
  EXPECT_EQ(Find("a:1").client, used.client);
  EXPECT_EQ(Find("a:1").id, used.id);
  EXPECT_EQ(made(), 1);
}

// Given threads that read members, use them and let go of them while others change the set, expect
// all clients to be destroyed in the end, each once. (ThreadSanitizer looks on.)
TEST_F(FleetTest, ReadersAndChangesTogether) {
  constexpr int kRounds = 300;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([this] {
      std::shared_ptr<WorkerClient> kept;
      for (int round = 0; round < kRounds; ++round) {
        const auto members = fleet_->members();
        for (const Fleet::Member& member : *members) {
          if (member.client->Snapshot().address == "a:1") kept = member.client;
        }
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    fleet_->Set(round % 3 == 0   ? Listed({"a:1", "b:1"})
                : round % 3 == 1 ? Listed({"b:1", "c:1"})
                                 : Listed({"c:1"}));
  }
  for (std::thread& thread : threads) thread.join();
  fleet_ = nullptr;
  absl::MutexLock lock(&mutex_);
  EXPECT_EQ(ended_, made_);
  EXPECT_EQ(static_cast<int>(gone_ids_.size()), made_);
}

}  // namespace
}  // namespace facet
