#include "base/sha256.h"

#include "base/check.h"
#include "openssl/evp.h"

namespace facet {
namespace {

// Looked up once: OpenSSL 3 searches its providers under a lock for each one-shot digest, which
// takes longer than to hash some hundred bytes.
const EVP_MD* Algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CHECK(algorithm != nullptr) << "OpenSSL has no SHA-256";
  return algorithm;
}

// One for each thread, used again and again.
class Hasher {
 public:
  Hasher() : context_(EVP_MD_CTX_new()) { CHECK(context_ != nullptr); }
  ~Hasher() { EVP_MD_CTX_free(context_); }
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  void Begin() { CHECK(EVP_DigestInit_ex2(context_, Algorithm(), nullptr) == 1) << "SHA-256"; }
  void Add(absl::string_view bytes) {
    CHECK(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1) << "SHA-256";
  }
  void End(unsigned char* digest) {
    CHECK(EVP_DigestFinal_ex(context_, digest, nullptr) == 1) << "SHA-256";
  }

 private:
  EVP_MD_CTX* const context_;
};

Hasher& ThreadHasher() {
  thread_local Hasher hasher;
  return hasher;
}

}  // namespace

std::string Sha256(std::initializer_list<absl::string_view> parts) {
  Hasher& hasher = ThreadHasher();
  hasher.Begin();
  for (const absl::string_view part : parts) hasher.Add(part);
  std::string digest(kSha256Bytes, '\0');
  hasher.End(reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::array<uint8_t, kSha256Bytes> Sha256Of(absl::string_view bytes) {
  Hasher& hasher = ThreadHasher();
  hasher.Begin();
  hasher.Add(bytes);
  std::array<uint8_t, kSha256Bytes> digest;
  hasher.End(digest.data());
  return digest;
}

}  // namespace facet
