#include "worker/group_join.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <fstream>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/target.h"
#include "base/version.h"
#include "grpcpp/grpcpp.h"
#include "kernels/gloo_collective.h"
#include "kernels/shared_memory_collective.h"
#include "proto/group.grpc.pb.h"

namespace facet {
namespace {

constexpr char kAbstract[] = "unix-abstract:";
constexpr absl::Duration kCancelInterval = absl::Milliseconds(100);
constexpr absl::Duration kAnswerTimeout = absl::Seconds(5);
constexpr int kReconnectMinMs = 100, kReconnectMaxMs = 500;

std::string LinkOf(const char* path) {
  char target[PATH_MAX];
  const ssize_t size = readlink(path, target, sizeof(target));
  return std::string(target, std::max<ssize_t>(size, 0));
}

// The address of this host that others reach it by, if they are where `leader` is: the one from
// which it is reached.
absl::StatusOr<std::string> OwnAddress(const std::string& leader) {
  if (absl::StartsWith(leader, kAbstract)) return std::string("127.0.0.1");
  ASSIGN_OR_RETURN(const Target target, ParseOneTarget(leader));
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  const std::string port = absl::StrCat(target.port);
  if (const int error = getaddrinfo(target.host.c_str(), port.c_str(), &hints, &found);
      error != 0) {
    return absl::UnavailableError(absl::StrCat("--tp_leader=", leader, ": ", gai_strerror(error)));
  }
  const absl::Cleanup forget = [&] { freeaddrinfo(found); };
  const int descriptor = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const absl::Cleanup close_it = [&] { close(descriptor); };
  sockaddr_storage own;
  socklen_t size = sizeof(own);
  char text[NI_MAXHOST];
  // Connecting a datagram socket sends nothing; it only chooses the way.
  if (descriptor < 0 || connect(descriptor, found->ai_addr, found->ai_addrlen) != 0 ||
      getsockname(descriptor, reinterpret_cast<sockaddr*>(&own), &size) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof(text), nullptr, 0,
                  NI_NUMERICHOST) != 0) {
    return absl::UnavailableError(
        absl::StrCat("--tp_leader=", leader, ": no way from this host leads there"));
  }
  return std::string(text);
}

// In which fact `other` differs from `own`; OK: in none.
absl::Status CompareFacts(const std::vector<v1::GroupFact>& own, int rank,
                          const google::protobuf::RepeatedPtrField<v1::GroupFact>& other) {
  for (int i = 0; i < std::min<int>(static_cast<int>(own.size()), other.size()); ++i) {
    if (own[i].name() != other[i].name()) break;
    if (own[i].value() == other[i].value()) continue;
    return absl::FailedPreconditionError(absl::StrCat("rank ", rank, " has ", own[i].name(), " ",
                                                      other[i].value(), ", rank 0 has ",
                                                      own[i].value()));
  }
  if (static_cast<int>(own.size()) == other.size()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("rank ", rank, " is of another version than rank 0"));
}

// Rank 0's end: keeps each rank's call until all are there.
class Meeting final : public v1::Group::Service {
 public:
  Meeting(const GroupOptions& options, const std::vector<v1::GroupFact>& facts)
      : options_(options), facts_(facts) {}

  grpc::Status Join(grpc::ServerContext* context, const v1::JoinRequest* request,
                    v1::JoinReply* reply) override {
    if (absl::Status joined = Add(*request); !joined.ok()) {
      LogWarning("a rank was not let into the group", {{"reason", std::string(joined.message())}});
      return {static_cast<grpc::StatusCode>(joined.code()), std::string(joined.message())};
    }
    absl::MutexLock lock(&mutex_);
    while (!mutex_.AwaitWithTimeout(absl::Condition(this, &Meeting::Settled), kCancelInterval)) {
      if (!context->IsCancelled()) continue;
      requests_.erase(static_cast<int>(request->rank()));
      return grpc::Status::CANCELLED;
    }
    if (closed_) return {grpc::StatusCode::UNAVAILABLE, "the group was not completed in time"};
    *reply = replies_[static_cast<int>(request->rank())];
    return grpc::Status::OK;
  }

  // By rank, without rank 0's.
  absl::StatusOr<std::map<int, v1::JoinRequest>> BlockingWaitForAll() ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::Time deadline = absl::Now() + options_.timeout;
    absl::MutexLock lock(&mutex_);
    while (absl::Now() < deadline) {
      if (mutex_.AwaitWithTimeout(absl::Condition(this, &Meeting::Complete), kCancelInterval)) {
        return requests_;
      }
      if (options_.cancelled && options_.cancelled()) {
        return absl::CancelledError("stopped before the group was complete");
      }
    }
    std::vector<int> missing;
    for (int rank = 1; rank < options_.size; ++rank) {
      if (!requests_.contains(rank)) missing.push_back(rank);
    }
    return absl::DeadlineExceededError(
        absl::StrCat("the group waited ", absl::FormatDuration(options_.timeout), " for ",
                     missing.size() == 1 ? "rank " : "ranks ", absl::StrJoin(missing, ", "),
                     refused_.empty() ? "" : absl::StrCat(", and refused one: ", refused_)));
  }

  void Answer(std::map<int, v1::JoinReply> replies) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    replies_ = std::move(replies);
  }
  // Whoever still waits is told that there is no group.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    closed_ = replies_.empty();
  }

 private:
  absl::Status Add(const v1::JoinRequest& request) ABSL_LOCKS_EXCLUDED(mutex_) {
    const auto rank = static_cast<int>(request.rank());
    absl::MutexLock lock(&mutex_);
    absl::Status status = CompareFacts(facts_, rank, request.facts());
    if (status.ok() && (rank < 1 || rank >= options_.size)) {
      status = absl::InvalidArgumentError(
          absl::StrCat("rank ", rank, " is not in [1, ", options_.size, ")"));
    }
    if (status.ok() && request.mesh_addresses_size() != options_.size) {
      status = absl::InvalidArgumentError(
          absl::StrCat("rank ", rank, " sent ", request.mesh_addresses_size(), " mesh_addresses"));
    }
    if (status.ok() && !requests_.emplace(rank, request).second) {
      status = absl::AlreadyExistsError(absl::StrCat("another process has come as rank ", rank));
    }
    if (!status.ok()) refused_ = std::string(status.message());
    return status;
  }
  bool Complete() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return static_cast<int>(requests_.size()) == options_.size - 1;
  }
  bool Settled() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return closed_ || !replies_.empty(); }

  const GroupOptions& options_;
  const std::vector<v1::GroupFact>& facts_;
  absl::Mutex mutex_;
  std::map<int, v1::JoinRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::map<int, v1::JoinReply> replies_ ABSL_GUARDED_BY(mutex_);
  std::string refused_ ABSL_GUARDED_BY(mutex_);  // why the last one was
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::StatusOr<std::unique_ptr<Collective>> Lead(const GroupOptions& options,
                                                 const std::vector<v1::GroupFact>& facts,
                                                 GlooMesh& mesh,
                                                 const CollectiveOptions& collective) {
  Meeting meeting(options, facts);
  int port = 1;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.leader, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(&meeting);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("--tp_leader=", options.leader,
                     ": cannot listen there: it is in use, or the address is not this host's"));
  }
  const absl::Cleanup shut_down = [&] {
    meeting.Close();
    server->Shutdown(absl::ToChronoTime(absl::Now() + kAnswerTimeout));
  };
  ASSIGN_OR_RETURN(const auto requests, meeting.BlockingWaitForAll());
  const bool one_host = std::all_of(requests.begin(), requests.end(), [&](const auto& entry) {
    return entry.second.host() == options.host;
  });
  int segment = -1;
  const absl::Cleanup close_segment = [&] {
    if (segment >= 0) close(segment);
  };
  if (one_host) {
    ASSIGN_OR_RETURN(segment, MakeSharedSegment(options.size));
  }
  std::map<int, v1::JoinReply> replies;
  std::vector<std::string> to_leader(options.size);
  for (const auto& [rank, request] : requests) {
    to_leader[rank] = request.mesh_addresses(0);
    v1::JoinReply& reply = replies[rank];
    if (one_host) {
      reply.mutable_shared_memory()->set_process_id(getpid());
      reply.mutable_shared_memory()->set_file_descriptor(segment);
    }
    reply.add_mesh_addresses(mesh.addresses()[rank]);
    for (int other = 1; other < options.size; ++other) {
      reply.add_mesh_addresses(requests.at(other).mesh_addresses(rank));
    }
  }
  meeting.Answer(std::move(replies));
  ASSIGN_OR_RETURN(auto joined,
                   one_host ? MakeSharedMemoryCollective(segment, 0, options.size, collective)
                            : mesh.BlockingConnect(to_leader, collective));
  // The segment's descriptor must live until all have opened it.
  RETURN_IF_ERROR(joined->Barrier());
  LogInfo("the group is complete",
          {{"ranks", options.size}, {"by", one_host ? "shared memory" : "gloo"}});
  return joined;
}

absl::StatusOr<v1::JoinReply> AskToJoin(const GroupOptions& options,
                                        const v1::JoinRequest& request) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMinMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  const auto stub = v1::Group::NewStub(
      grpc::CreateCustomChannel(options.leader, grpc::InsecureChannelCredentials(), arguments));
  const absl::Time deadline = absl::Now() + options.timeout;
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    context.set_wait_for_ready(true);
    v1::JoinReply reply;
    const grpc::Status status = stub->Join(&context, request, &reply);
    if (status.ok()) return reply;
    // A leader that has just died comes again.
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE && absl::Now() < deadline) continue;
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return absl::DeadlineExceededError(absl::StrCat("no group at --tp_leader=", options.leader,
                                                      " within ",
                                                      absl::FormatDuration(options.timeout)));
    }
    return absl::Status(
        static_cast<absl::StatusCode>(status.error_code()),
        absl::StrCat("the leader at ", options.leader, ": ", status.error_message()));
  }
}

absl::StatusOr<std::unique_ptr<Collective>> Follow(const GroupOptions& options,
                                                   const std::vector<v1::GroupFact>& facts,
                                                   GlooMesh& mesh,
                                                   const CollectiveOptions& collective) {
  v1::JoinRequest request;
  request.set_rank(options.rank);
  request.set_host(options.host);
  for (const v1::GroupFact& fact : facts) *request.add_facts() = fact;
  for (const std::string& address : mesh.addresses()) request.add_mesh_addresses(address);
  ASSIGN_OR_RETURN(const v1::JoinReply reply, AskToJoin(options, request));
  if (reply.mesh_addresses_size() != options.size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the leader sent ", reply.mesh_addresses_size(), " mesh_addresses"));
  }
  std::unique_ptr<Collective> joined;
  if (reply.has_shared_memory()) {
    const std::string path = absl::StrCat("/proc/", reply.shared_memory().process_id(), "/fd/",
                                          reply.shared_memory().file_descriptor());
    const int segment = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (segment < 0) {
      return absl::ErrnoToStatus(errno, "the leader's shared memory cannot be opened");
    }
    const absl::Cleanup close_segment = [&] { close(segment); };
    ASSIGN_OR_RETURN(joined,
                     MakeSharedMemoryCollective(segment, options.rank, options.size, collective));
  } else {
    ASSIGN_OR_RETURN(
        joined, mesh.BlockingConnect({reply.mesh_addresses().begin(), reply.mesh_addresses().end()},
                                     collective));
  }
  RETURN_IF_ERROR(joined->Barrier());
  return joined;
}

}  // namespace

std::string GroupOptions::HostIdentity() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(in, boot);
  return absl::StrCat(boot, " ", LinkOf("/proc/self/ns/pid"), " ", LinkOf("/proc/self/ns/net"));
}

absl::Status ValidateGroup(const GroupOptions& options) {
  if (options.size < 1 || options.size > kRanksMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tp_size=", options.size, " is not in [1, ", kRanksMax, "]"));
  }
  if (options.rank < 0 || options.rank >= options.size) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tp_rank=", options.rank, " is not in [0, ", options.size, ")"));
  }
  if (options.size == 1 || absl::StartsWith(options.leader, kAbstract)) return absl::OkStatus();
  const absl::StatusOr<Target> target = ParseOneTarget(options.leader);
  if (!target.ok() || IsWildcardHost(target->host)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--tp_leader: ", target.ok()
                             ? absl::StrCat("\"", options.leader, "\" says nothing of which host")
                             : target.status().message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::GroupFact>> GroupFacts(const std::string& path,
                                                      const LoadOptions& options, int size) {
  std::vector<v1::GroupFact> facts;
  const auto add = [&](absl::string_view name, const auto& value) {
    facts.emplace_back();
    facts.back().set_name(std::string(name));
    facts.back().set_value(absl::StrCat(value));
  };
  const auto add_file = [&](absl::string_view name, const std::string& file) -> absl::Status {
    if (file.empty()) {
      add(name, "none");
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::unique_ptr<ModelFile> opened, ModelFile::Open(file));
    add(name, absl::StrCat("of form ", absl::BytesToHexString(ModelDigest(*opened)).substr(0, 16),
                           " and weights ",
                           absl::BytesToHexString(WeightSampleDigest(*opened)).substr(0, 16)));
    return absl::OkStatus();
  };
  add("version", kVersion);
  add("--tp_size", size);
  RETURN_IF_ERROR(add_file("a model", path));
  RETURN_IF_ERROR(add_file("an --assistant", options.assistant));
  RETURN_IF_ERROR(add_file("an --mmproj", options.mmproj));
  add("--device of kind", options.device.substr(0, options.device.find(':')));
  add("--kv_format", options.kv_format);
  add("--kv_form", options.kv_form);
  add("--kv_cache bytes", options.kv.memory_bytes);
  add("--context_tokens_max", options.kv.context_tokens_max);
  add("--running_requests_max", options.kv.running_requests_max);
  add("--step_tokens_max", options.kv.step_tokens_max);
  add("--drafts_max", options.drafts_max);
  return facts;
}

absl::StatusOr<std::shared_ptr<Collective>> BlockingJoinGroup(
    const GroupOptions& options, const std::vector<v1::GroupFact>& facts,
    const CollectiveOptions& collective) {
  ASSIGN_OR_RETURN(const std::string address, OwnAddress(options.leader));
  ASSIGN_OR_RETURN(const std::unique_ptr<GlooMesh> mesh,
                   GlooMesh::Listen(options.rank, options.size, address));
  ASSIGN_OR_RETURN(std::unique_ptr<Collective> joined,
                   options.rank == 0 ? Lead(options, facts, *mesh, collective)
                                     : Follow(options, facts, *mesh, collective));
  return std::shared_ptr<Collective>(std::move(joined));
}

}  // namespace facet
