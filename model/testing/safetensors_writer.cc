#include "model/testing/safetensors_writer.h"

#include <boost/json.hpp>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace facet::testing {

std::string WriteSafetensors(const std::vector<SafetensorsTensor>& tensors) {
  boost::json::object header;
  std::string data;
  for (const SafetensorsTensor& tensor : tensors) {
    const size_t begin = data.size();
    absl::StrAppend(&data, tensor.data);
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", boost::json::value_from(tensor.shape)},
                           {"data_offsets", {begin, data.size()}}};
  }
  return WrapSafetensors(boost::json::serialize(header), data);
}

std::string WrapSafetensors(absl::string_view header, absl::string_view data) {
  const uint64_t size = header.size();
  char size_bytes[sizeof(size)];
  std::memcpy(size_bytes, &size, sizeof(size));
  return absl::StrCat(absl::string_view(size_bytes, sizeof(size)), header, data);
}

}  // namespace facet::testing
