#ifndef FACET_TESTS_FAULTS_PASSAGE_H_
#define FACET_TESTS_FAULTS_PASSAGE_H_

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace facet::testing {

// The way to a server, which may stop to carry anything without a word: as when a host vanishes, a
// cable is pulled, or a process is stopped. Connections stay open then, and nothing comes through.
// A thread of its own carries the bytes.
class Passage {
 public:
  explicit Passage(int server_port)
      : server_(boost::asio::ip::address_v4::loopback(), static_cast<uint16_t>(server_port)),
        acceptor_(context_, {boost::asio::ip::address_v4::loopback(), 0}) {
    boost::asio::co_spawn(context_, Accept(), boost::asio::detached);
    thread_ = std::thread([this] { context_.run(); });
  }
  ~Passage() {
    context_.stop();
    thread_.join();
  }
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

  std::string address() const {
    return absl::StrCat("127.0.0.1:", acceptor_.local_endpoint().port());
  }
  // From now on nothing comes through.
  void Freeze() { frozen_ = true; }

 private:
  using Socket = boost::asio::ip::tcp::socket;

  boost::asio::awaitable<void> Accept() {
    for (;;) {
      auto [error, accepted] = co_await acceptor_.async_accept(kNoThrow);
      if (error) co_return;
      auto client = std::make_shared<Socket>(std::move(accepted));
      auto server = std::make_shared<Socket>(context_);
      if (frozen_) {
        held_.push_back(std::move(client));
        continue;
      }
      const auto [failed] = co_await server->async_connect(server_, kNoThrow);
      if (failed) continue;
      boost::asio::co_spawn(context_, Carry(client, server), boost::asio::detached);
      boost::asio::co_spawn(context_, Carry(server, client), boost::asio::detached);
    }
  }

  boost::asio::awaitable<void> Carry(std::shared_ptr<Socket> from, std::shared_ptr<Socket> to) {
    std::vector<char> bytes(1 << 16);
    for (;;) {
      const auto [error, size] =
          co_await from->async_read_some(boost::asio::buffer(bytes), kNoThrow);
      if (frozen_) {
        held_.push_back(std::move(from));
        held_.push_back(std::move(to));
        co_return;
      }
      if (error) break;
      const auto [failed, written] =
          co_await boost::asio::async_write(*to, boost::asio::buffer(bytes.data(), size), kNoThrow);
      if (failed) break;
    }
    boost::system::error_code ignored;
    from->close(ignored);
    to->close(ignored);
  }

  static constexpr auto kNoThrow = boost::asio::as_tuple(boost::asio::use_awaitable);
  const boost::asio::ip::tcp::endpoint server_;
  boost::asio::io_context context_;  // Of one thread.
  boost::asio::ip::tcp::acceptor acceptor_;
  std::atomic<bool> frozen_ = false;
  std::vector<std::shared_ptr<Socket>> held_;  // Open, and silent.
  std::thread thread_;
};

}  // namespace facet::testing

#endif  // FACET_TESTS_FAULTS_PASSAGE_H_
