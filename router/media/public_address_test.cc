#include "router/media/public_address.h"

#include "gtest/gtest.h"

namespace facet {
namespace {

bool IsPublic(const char* text) { return IsPublicAddress(boost::asio::ip::make_address(text)); }

// Given addresses of the public Internet, expect yes.
TEST(PublicAddressTest, TakesPublicAddresses) {
  for (const char* text : {"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.0.1",
                           "172.32.0.1", "192.0.1.1", "198.17.255.255", "223.255.255.255",
                           "2606:4700::1111", "2001:4860:4860::8888", "2a00::1"}) {
    EXPECT_TRUE(IsPublic(text)) << text;
  }
}

// Given what only some machines reach, or none, expect no.
TEST(PublicAddressTest, RefusesOthers) {
  for (const char* text : {"0.0.0.0",
                           "10.0.0.1",
                           "100.64.0.1",
                           "127.0.0.1",
                           "127.255.255.255",
                           "169.254.169.254",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.1.1",
                           "192.0.2.1",
                           "198.19.0.1",
                           "203.0.113.7",
                           "224.0.0.1",
                           "255.255.255.255",
                           "::",
                           "::1",
                           "::ffff:8.8.8.8",
                           "::ffff:127.0.0.1",
                           "64:ff9b::7f00:1",
                           "fc00::1",
                           "fd12::1",
                           "fe80::1",
                           "ff02::1",
                           "2001::1",
                           "2001:db8::1",
                           "2002:7f00:1::",
                           "3fff::1",
                           "4000::1"}) {
    EXPECT_FALSE(IsPublic(text)) << text;
  }
}

}  // namespace
}  // namespace facet
