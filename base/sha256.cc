#include "base/sha256.h"

#include "base/check.h"
#include "openssl/evp.h"
#include "openssl/sha.h"

namespace facet {

static_assert(kSha256Bytes == SHA256_DIGEST_LENGTH);

std::string Sha256(std::initializer_list<absl::string_view> parts) {
  unsigned char digest[kSha256Bytes];
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  CHECK(context != nullptr);
  bool done = EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1;
  for (const absl::string_view part : parts) {
    done = done && EVP_DigestUpdate(context, part.data(), part.size()) == 1;
  }
  done = done && EVP_DigestFinal_ex(context, digest, nullptr) == 1;
  EVP_MD_CTX_free(context);
  CHECK(done) << "SHA-256";
  return std::string(reinterpret_cast<const char*>(digest), kSha256Bytes);
}

}  // namespace facet
