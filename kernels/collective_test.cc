// The collectives between real processes: each rank is a child of the test.
#include "kernels/collective.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/gloo_collective.h"
#include "kernels/shared_memory_collective.h"

// Gloo does not free what it looked up where no address of the host will do.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:gloo::transport::tcp::CreateDeviceAttr\n";
}

namespace facet {
namespace {

using ::facet::testing::IsOk;
using ::facet::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kNoticeMax = absl::Seconds(2);

void WriteAll(int descriptor, const std::string& bytes) {
  CHECK_EQ(write(descriptor, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
}

std::string ReadAll(int descriptor, size_t size) {
  std::string bytes(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t count = read(descriptor, &bytes[done], size - done);
    CHECK_GT(count, 0) << "the other end is gone";
    done += count;
  }
  return bytes;
}

// Strings behind their length, as ranks and test pass addresses.
void WriteString(int descriptor, const std::string& text) {
  const auto size = static_cast<uint32_t>(text.size());
  WriteAll(descriptor, std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + text);
}
std::string ReadString(int descriptor) {
  uint32_t size;
  std::memcpy(&size, ReadAll(descriptor, sizeof(size)).data(), sizeof(size));
  return ReadAll(descriptor, size);
}

// A group of child processes, each of which runs a body with its collective.
class Ranks {
 public:
  using Body = std::function<void(Collective& collective, int line)>;

  Ranks(const std::string& kind, int size, absl::Duration timeout, const Body& body)
      : gloo_(kind == "gloo") {
    if (!gloo_) segment_ = MakeSharedSegment(size).value();
    for (int rank = 0; rank < size; ++rank) {
      int ends[2];
      CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
      lines_.push_back(ends[0]);
      pids_.push_back(fork());
      if (pids_.back() != 0) {
        close(ends[1]);  // so that a rank's death ends what is read from it
        continue;
      }
      {
        const auto collective = Join(rank, size, ends[1], timeout);
        body(*collective, ends[1]);
      }
      _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    if (gloo_) PassAddresses();
  }
  ~Ranks() {
    for (const pid_t pid : pids_) {
      if (pid > 0) kill(pid, SIGKILL);
    }
    for (size_t rank = 0; rank < pids_.size(); ++rank) {
      if (pids_[rank] > 0) waitpid(pids_[rank], nullptr, 0);
      close(lines_[rank]);
    }
    if (!gloo_) close(segment_);
  }

  int line(int rank) const { return lines_[rank]; }
  void Signal(int rank, int signal) { CHECK_EQ(kill(pids_[rank], signal), 0); }
  // True if the rank's body met no failed expectation.
  bool EndedWell(int rank) {
    int status = 0;
    CHECK_EQ(waitpid(std::exchange(pids_[rank], -1), &status, 0) > 0, true);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  std::unique_ptr<Collective> Join(int rank, int size, int line, absl::Duration timeout) {
    CollectiveOptions options;
    options.timeout = timeout;
    if (!gloo_) return MakeSharedMemoryCollective(segment_, rank, size, options).value();
    auto mesh = GlooMesh::Listen(rank, size, "127.0.0.1").value();
    for (const std::string& address : mesh->addresses()) WriteString(line, address);
    std::vector<std::string> addresses(size);
    for (std::string& address : addresses) address = ReadString(line);
    return mesh->BlockingConnect(addresses, options).value();
  }

  void PassAddresses() {
    const size_t size = lines_.size();
    std::vector<std::vector<std::string>> addresses(size);
    for (size_t from = 0; from < size; ++from) {
      for (size_t to = 0; to < size; ++to) addresses[from].push_back(ReadString(line(from)));
    }
    for (size_t to = 0; to < size; ++to) {
      for (size_t from = 0; from < size; ++from) WriteString(line(to), addresses[from][to]);
    }
  }

  const bool gloo_;
  int segment_ = -1;
  std::vector<int> lines_;  // byte streams between this test and its ranks
  std::vector<pid_t> pids_;
};

class CollectiveTest : public ::testing::TestWithParam<std::string> {};

std::vector<float> Values(int rank, int64_t count) {
  std::mt19937 random(static_cast<uint32_t>(rank * 7919 + count));
  std::uniform_real_distribution<float> value(-1e3f, 1e3f);
  std::vector<float> values(count);
  for (float& x : values) x = value(random);
  return values;
}

void ExpectSums(Collective& collective, int64_t count) {
  std::vector<float> x = Values(collective.rank(), count), expected = Values(0, count);
  for (int rank = 1; rank < collective.size(); ++rank) {
    const std::vector<float> other = Values(rank, count);
    for (int64_t i = 0; i < count; ++i) expected[i] += other[i];
  }
  ASSERT_OK(collective.AllReduceSum(x.data(), count));
  EXPECT_EQ(x, expected) << count << " floats at rank " << collective.rank();
}

// Given groups of two to four and sizes around those of parts, expect on each rank the very sums
// that adding in the order of the ranks gives.
TEST_P(CollectiveTest, SumsInTheOrderOfTheRanks) {
  for (const int size : {2, 3, 4}) {
    Ranks ranks(GetParam(), size, absl::Seconds(60), [](Collective& collective, int) {
      for (const int64_t count : {1, 3, 1023, 3840, 65535, 65536, 65537, 262144, 262147}) {
        ExpectSums(collective, count);
      }
    });
    for (int rank = 0; rank < size; ++rank) EXPECT_TRUE(ranks.EndedWell(rank)) << rank;
  }
}

// Given values near the limits of float32, expect the sum of one element to be the same whether it
// is summed alone or among many.
TEST_P(CollectiveTest, ASumDoesNotDependOnItsNeighbours) {
  Ranks ranks(GetParam(), 3, absl::Seconds(60), [](Collective& collective, int) {
    const float of_rank[] = {1e8f, 1.0f, -1e8f};
    std::vector<float> many(100000, of_rank[collective.rank()]);
    float one = of_rank[collective.rank()];
    ASSERT_OK(collective.AllReduceSum(&one, 1));
    ASSERT_OK(collective.AllReduceSum(many.data(), static_cast<int64_t>(many.size())));
    EXPECT_EQ(one, (1e8f + 1.0f) + -1e8f);
    for (const float x : many) ASSERT_EQ(x, one);
  });
  for (int rank = 0; rank < 3; ++rank) EXPECT_TRUE(ranks.EndedWell(rank));
}

// Given parts of odd sizes, expect all of them in order on each rank, and rank 0's words on all.
TEST_P(CollectiveTest, GathersAndBroadcasts) {
  Ranks ranks(GetParam(), 3, absl::Seconds(60), [](Collective& collective, int) {
    for (const int64_t bytes : {1, 5, 262144, 262145, 1 << 20}) {
      const std::string own(bytes, static_cast<char>('a' + collective.rank()));
      std::string all(3 * bytes, '?');
      ASSERT_OK(collective.AllGather(own.data(), bytes, all.data()));
      EXPECT_TRUE(all ==
                  std::string(bytes, 'a') + std::string(bytes, 'b') + std::string(bytes, 'c'));
      std::string word = own;
      ASSERT_OK(collective.Broadcast(word.data(), bytes));
      EXPECT_TRUE(word == std::string(bytes, 'a'));
      ASSERT_OK(collective.Barrier());
    }
  });
  for (int rank = 0; rank < 3; ++rank) EXPECT_TRUE(ranks.EndedWell(rank));
}

// Given thousands of small exchanges of changing kinds, expect none to be lost or mixed up.
TEST_P(CollectiveTest, ManyExchangesInARow) {
  Ranks ranks(GetParam(), 2, absl::Seconds(60), [](Collective& collective, int) {
    for (int i = 0; i < 2000; ++i) {
      float x = static_cast<float>(i + collective.rank());
      ASSERT_OK(collective.AllReduceSum(&x, 1));
      ASSERT_EQ(x, static_cast<float>(2 * i + 1));
      int word = collective.rank() == 0 ? i : -1;
      ASSERT_OK(collective.Broadcast(&word, sizeof(word)));
      ASSERT_EQ(word, i);
    }
  });
  for (int rank = 0; rank < 2; ++rank) EXPECT_TRUE(ranks.EndedWell(rank));
}

// The body of a rank that sums until the group fails, says after how long, and says so of a later
// call too. The first word on the line says that it is in the middle of it.
void SumUntilFailure(Collective& collective, int line) {
  float x = 1;
  ASSERT_OK(collective.AllReduceSum(&x, 1));
  WriteAll(line, "r");
  absl::Status status;
  while (status.ok()) status = collective.AllReduceSum(&x, 1);
  WriteAll(line, "f");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_FALSE(collective.Barrier().ok());
}

class FaultTest : public CollectiveTest {
 protected:
  // Sends rank 1 `signal` while all sum; gives back how long rank 0 took to notice.
  absl::Duration NoticeOf(int signal) {
    Ranks ranks(GetParam(), 2, absl::Seconds(60), SumUntilFailure);
    for (int rank = 0; rank < 2; ++rank) ReadAll(ranks.line(rank), 1);
    const absl::Time begin = absl::Now();
    ranks.Signal(1, signal);
    EXPECT_EQ(ReadAll(ranks.line(0), 1), "f");
    const absl::Duration took = absl::Now() - begin;
    EXPECT_TRUE(ranks.EndedWell(0));
    return took;
  }
};

// Given a rank that is killed in the middle of sums, expect the other to know within two seconds.
TEST_P(FaultTest, AKilledRankIsNoticed) {
  const absl::Duration took = NoticeOf(SIGKILL);
  EXPECT_LE(took, kNoticeMax);
  std::printf("noticed in %s\n", absl::FormatDuration(took).c_str());
}

// Given a rank that stops without dying, expect the same.
TEST_P(FaultTest, AStoppedRankIsNoticed) {
  const absl::Duration took = NoticeOf(SIGSTOP);
  EXPECT_LE(took, kNoticeMax);
  std::printf("noticed in %s\n", absl::FormatDuration(took).c_str());
}

// Given a rank that waits for rank 0's next word, expect it to end when rank 0 dies.
TEST_P(FaultTest, AWaitForRankZeroEndsWithIt) {
  Ranks ranks(GetParam(), 2, absl::Seconds(3), [](Collective& collective, int line) {
    ASSERT_OK(collective.Barrier());
    WriteAll(line, "r");
    if (collective.rank() == 0) return ReadAll(line, 1), void();
    int word = 0;
    EXPECT_THAT(collective.Broadcast(&word, sizeof(word)),
                StatusIs(absl::StatusCode::kUnavailable, _));
    WriteAll(line, "f");
  });
  for (int rank = 0; rank < 2; ++rank) ReadAll(ranks.line(rank), 1);
  const absl::Time begin = absl::Now();
  ranks.Signal(0, SIGKILL);
  ReadAll(ranks.line(1), 1);
  EXPECT_LE(absl::Now() - begin, kNoticeMax);
  EXPECT_TRUE(ranks.EndedWell(1));
}

// Given a rank that lives but does not take part, expect the other's call to end by its timeout.
TEST_P(FaultTest, ACallEndsByItsTimeout) {
  Ranks ranks(GetParam(), 2, absl::Seconds(3), [](Collective& collective, int line) {
    ASSERT_OK(collective.Barrier());
    if (collective.rank() == 1) return ReadAll(line, 1), void();
    EXPECT_THAT(collective.Barrier(), Not(IsOk()));
    WriteAll(line, "f");
  });
  EXPECT_EQ(ReadAll(ranks.line(0), 1), "f");
  EXPECT_TRUE(ranks.EndedWell(0));
}

// Given a rank that aborts while the other sums, expect the other to hear of it in time, by its
// call and by on_failure; and the same of one that leaves without a word.
TEST_P(FaultTest, AnAbortEndsTheGroup) {
  for (const bool abort : {true, false}) {
    Ranks ranks(GetParam(), 2, absl::Seconds(60), [abort](Collective& collective, int line) {
      if (collective.rank() == 0) return SumUntilFailure(collective, line);
      float x = 1;
      ASSERT_OK(collective.AllReduceSum(&x, 1));
      ReadAll(line, 1);
      if (abort) collective.Abort(absl::UnavailableError("had enough"));
    });
    ReadAll(ranks.line(0), 1);
    const absl::Time begin = absl::Now();
    WriteAll(ranks.line(1), "g");
    EXPECT_EQ(ReadAll(ranks.line(0), 1), "f");
    EXPECT_LE(absl::Now() - begin, kNoticeMax);
    EXPECT_TRUE(ranks.EndedWell(0));
    EXPECT_TRUE(ranks.EndedWell(1));
  }
}

std::string NameOfKind(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

INSTANTIATE_TEST_SUITE_P(Kinds, CollectiveTest, ::testing::Values("shared_memory", "gloo"),
                         NameOfKind);
INSTANTIATE_TEST_SUITE_P(Kinds, FaultTest, ::testing::Values("shared_memory", "gloo"), NameOfKind);

// Given sizes and ranks that make no group, expect the reason.
TEST(CollectiveErrorTest, NamesWhatMakesNoGroup) {
  EXPECT_THAT(MakeSharedSegment(1), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("a group of 1 ranks is not in [2, 16]")));
  EXPECT_THAT(MakeSharedSegment(17), StatusIs(absl::StatusCode::kInvalidArgument, _));
  const int segment = MakeSharedSegment(2).value();
  EXPECT_THAT(MakeSharedMemoryCollective(segment, 2, 2, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 2 of 2")));
  EXPECT_THAT(MakeSharedMemoryCollective(segment, 0, 3, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("of 3 ranks")));
  close(segment);
  EXPECT_THAT(GlooMesh::Listen(0, 1, "127.0.0.1"), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(GlooMesh::Listen(0, 2, "192.0.2.1"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("192.0.2.1")));
}

// Given a group of one, expect calls to succeed and change nothing.
TEST(LoneCollectiveTest, DoesNothing) {
  const auto collective = MakeLoneCollective();
  float x = 3, y = 0;
  EXPECT_OK(collective->AllReduceSum(&x, 1));
  EXPECT_OK(collective->AllGather(&x, sizeof(x), &y));
  EXPECT_OK(collective->Broadcast(&x, sizeof(x)));
  EXPECT_OK(collective->Barrier());
  EXPECT_EQ(x, 3);
  EXPECT_EQ(y, 3);
}

}  // namespace
}  // namespace facet
