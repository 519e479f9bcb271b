#include "ops/cli/hub/hub_digest.h"

#include <openssl/evp.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace facet {

struct HubDigest::State {
  std::string path, kind, expected;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(),
                                                                  &EVP_MD_CTX_free};
};

HubDigest::HubDigest(const HubFile& file) : state_(std::make_unique<State>()) {
  const bool sha256 = !file.sha256.empty();
  state_->path = file.path;
  state_->kind = sha256 ? "SHA-256" : "git SHA-1";
  state_->expected = sha256 ? file.sha256 : file.git_sha1;
  CHECK_EQ(EVP_DigestInit_ex(state_->context.get(), sha256 ? EVP_sha256() : EVP_sha1(), nullptr),
           1);
  // What git hashes is a blob: a header that ends with a zero byte, then the file.
  if (!sha256) Add(absl::StrCat("blob ", file.size_bytes, absl::string_view("\0", 1)));
}

HubDigest::~HubDigest() = default;
HubDigest::HubDigest(HubDigest&&) noexcept = default;
HubDigest& HubDigest::operator=(HubDigest&&) noexcept = default;

void HubDigest::Add(absl::string_view bytes) {
  CHECK_EQ(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()), 1);
}

absl::Status HubDigest::Check() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  CHECK_EQ(EVP_DigestFinal_ex(state_->context.get(), bytes, &size), 1);
  const std::string digest =
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes), size));
  if (digest == state_->expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(state_->path, " has the ", state_->kind, " ", digest,
                                          " where the hub lists ", state_->expected));
}

}  // namespace facet
