#include "model/safetensors_writer.h"

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace facet {

namespace json = boost::json;

std::string SafetensorsFile(const std::vector<SafetensorsTensor>& tensors) {
  json::object header;
  uint64_t offset = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    const uint64_t end = offset + tensor.data.size();
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", json::array(tensor.shape.begin(), tensor.shape.end())},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = json::serialize(header);
  // Data begin at a multiple of 8.
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string file;
  file.reserve(8 + text.size() + offset);
  for (int shift = 0; shift < 64; shift += 8) {
    file.push_back(static_cast<char>(uint64_t{text.size()} >> shift));
  }
  file += text;
  for (const SafetensorsTensor& tensor : tensors) absl::StrAppend(&file, tensor.data);
  return file;
}

absl::Status WriteSafetensorsFile(const std::string& path,
                                  const std::vector<SafetensorsTensor>& tensors) {
  std::ofstream out(path, std::ios::binary);
  out << SafetensorsFile(tensors);
  out.close();
  if (out) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

}  // namespace facet
