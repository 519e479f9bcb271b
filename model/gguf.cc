#include "model/gguf.h"

#include <cstring>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace facet {
namespace {

constexpr int kDimensionsMax = 4;
constexpr uint64_t kNameBytesMax = 65535;
constexpr uint64_t kAlignmentMax = 1 << 20;
// Key length, type and at least one byte; name length, dimensions, one axis, type and offset.
constexpr uint64_t kPairBytesMin = 8 + 4 + 1;
constexpr uint64_t kTensorBytesMin = 8 + 4 + 8 + 4 + 8;

enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// Walks over the bytes of a file; each read checks that they are there and names what it read.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  absl::Status Error(absl::string_view field, absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF ", field, " at byte ", position_, ": ", what));
  }

  absl::StatusOr<absl::string_view> Bytes(absl::string_view field, uint64_t count) {
    if (count > remaining()) {
      return Error(field, absl::StrCat("needs ", count, " bytes, the file has ", remaining()));
    }
    const absl::string_view bytes = bytes_.substr(position_, count);
    position_ += count;
    return bytes;
  }

  template <typename T>
  absl::StatusOr<T> Number(absl::string_view field) {
    ASSIGN_OR_RETURN(const absl::string_view bytes, Bytes(field, sizeof(T)));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  absl::StatusOr<std::string> String(absl::string_view field) {
    ASSIGN_OR_RETURN(const uint64_t size, Number<uint64_t>(field));
    ASSIGN_OR_RETURN(const absl::string_view bytes, Bytes(field, size));
    return std::string(bytes);
  }

  // A count of things of which each takes at least `bytes_min` bytes of the file.
  absl::StatusOr<uint64_t> Count(absl::string_view field, uint64_t bytes_min) {
    ASSIGN_OR_RETURN(const uint64_t count, Number<uint64_t>(field));
    if (count > remaining() / bytes_min) {
      return Error(field, absl::StrCat("counts ", count, ", more than the file can hold"));
    }
    return count;
  }

 private:
  const absl::string_view bytes_;
  uint64_t position_ = 0;
};

template <typename T>
absl::StatusOr<Metadata::Value> ReadNumber(Reader& reader, absl::string_view key) {
  ASSIGN_OR_RETURN(const T value, reader.Number<T>(key));
  return Metadata::Value(value);
}

template <typename T>
absl::StatusOr<Metadata::Value> ReadNumbers(Reader& reader, absl::string_view key) {
  ASSIGN_OR_RETURN(const uint64_t count, reader.Count(key, sizeof(T)));
  ASSIGN_OR_RETURN(const absl::string_view bytes, reader.Bytes(key, count * sizeof(T)));
  std::vector<T> values(count);
  if (count > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
  return Metadata::Value(std::move(values));
}

absl::StatusOr<Metadata::Value> ReadBools(Reader& reader, absl::string_view key) {
  ASSIGN_OR_RETURN(const uint64_t count, reader.Count(key, 1));
  ASSIGN_OR_RETURN(const absl::string_view bytes, reader.Bytes(key, count));
  std::vector<bool> values(count);
  for (uint64_t i = 0; i < count; ++i) values[i] = bytes[i] != 0;
  return Metadata::Value(std::move(values));
}

absl::StatusOr<Metadata::Value> ReadStrings(Reader& reader, absl::string_view key) {
  ASSIGN_OR_RETURN(const uint64_t count, reader.Count(key, sizeof(uint64_t)));
  std::vector<std::string> values;
  values.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(std::string value, reader.String(key));
    values.push_back(std::move(value));
  }
  return Metadata::Value(std::move(values));
}

absl::StatusOr<Metadata::Value> ReadArray(Reader& reader, absl::string_view key) {
  ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>(key));
  switch (type) {
    case kUint8:
      return ReadNumbers<uint8_t>(reader, key);
    case kInt8:
      return ReadNumbers<int8_t>(reader, key);
    case kUint16:
      return ReadNumbers<uint16_t>(reader, key);
    case kInt16:
      return ReadNumbers<int16_t>(reader, key);
    case kUint32:
      return ReadNumbers<uint32_t>(reader, key);
    case kInt32:
      return ReadNumbers<int32_t>(reader, key);
    case kFloat32:
      return ReadNumbers<float>(reader, key);
    case kBool:
      return ReadBools(reader, key);
    case kString:
      return ReadStrings(reader, key);
    case kUint64:
      return ReadNumbers<uint64_t>(reader, key);
    case kInt64:
      return ReadNumbers<int64_t>(reader, key);
    case kFloat64:
      return ReadNumbers<double>(reader, key);
    default:
      return reader.Error(key, absl::StrCat("array of unknown value type ", type));
  }
}

absl::StatusOr<Metadata::Value> ReadValue(Reader& reader, absl::string_view key) {
  ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>(key));
  switch (type) {
    case kUint8:
      return ReadNumber<uint8_t>(reader, key);
    case kInt8:
      return ReadNumber<int8_t>(reader, key);
    case kUint16:
      return ReadNumber<uint16_t>(reader, key);
    case kInt16:
      return ReadNumber<int16_t>(reader, key);
    case kUint32:
      return ReadNumber<uint32_t>(reader, key);
    case kInt32:
      return ReadNumber<int32_t>(reader, key);
    case kFloat32:
      return ReadNumber<float>(reader, key);
    case kBool: {
      ASSIGN_OR_RETURN(const uint8_t value, reader.Number<uint8_t>(key));
      return Metadata::Value(value != 0);
    }
    case kString: {
      ASSIGN_OR_RETURN(std::string value, reader.String(key));
      return Metadata::Value(std::move(value));
    }
    case kArray:
      return ReadArray(reader, key);
    case kUint64:
      return ReadNumber<uint64_t>(reader, key);
    case kInt64:
      return ReadNumber<int64_t>(reader, key);
    case kFloat64:
      return ReadNumber<double>(reader, key);
    default:
      return reader.Error(key, absl::StrCat("unknown value type ", type));
  }
}

absl::Status ReadMetadata(Reader& reader, uint64_t count, Metadata& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const std::string key, reader.String("metadata key"));
    if (key.empty() || key.size() > kNameBytesMax) {
      return reader.Error("metadata key", absl::StrCat("has ", key.size(), " bytes"));
    }
    const std::string field = absl::StrCat("metadata '", absl::CHexEscape(key), "'");
    if (metadata.Has(key)) return reader.Error(field, "stands twice");
    ASSIGN_OR_RETURN(Metadata::Value value, ReadValue(reader, field));
    metadata.Set(key, std::move(value));
  }
  return absl::OkStatus();
}

// The bytes that a tensor takes. INVALID_ARGUMENT if the shape makes no sense or overflows.
absl::StatusOr<uint64_t> TensorSize(const Reader& reader, absl::string_view field,
                                    const GgufTensorInfo& tensor) {
  const TensorTypeInfo& info = InfoOf(tensor.type);
  uint64_t elements = 1;
  for (const int64_t axis : tensor.shape) {
    if (axis <= 0) return reader.Error(field, absl::StrCat("has an axis of ", axis));
    if (__builtin_mul_overflow(elements, static_cast<uint64_t>(axis), &elements)) {
      return reader.Error(field, "has more elements than 64 bits count");
    }
  }
  if (tensor.shape[0] % info.block_elements != 0) {
    return reader.Error(field, absl::StrCat("has rows of ", tensor.shape[0], " elements, not of ",
                                            info.name, " blocks of ", info.block_elements));
  }
  uint64_t bytes;
  if (__builtin_mul_overflow(elements / info.block_elements,
                             static_cast<uint64_t>(info.block_bytes), &bytes)) {
    return reader.Error(field, "has more bytes than 64 bits count");
  }
  return bytes;
}

absl::StatusOr<GgufTensorInfo> ReadTensorInfo(Reader& reader) {
  GgufTensorInfo tensor;
  ASSIGN_OR_RETURN(tensor.name, reader.String("tensor name"));
  if (tensor.name.empty() || tensor.name.size() > kNameBytesMax) {
    return reader.Error("tensor name", absl::StrCat("has ", tensor.name.size(), " bytes"));
  }
  const std::string field = absl::StrCat("tensor '", absl::CHexEscape(tensor.name), "'");
  ASSIGN_OR_RETURN(const uint32_t dimensions, reader.Number<uint32_t>(field));
  if (dimensions < 1 || dimensions > kDimensionsMax) {
    return reader.Error(field, absl::StrCat("has ", dimensions, " dimensions"));
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    ASSIGN_OR_RETURN(const int64_t axis, reader.Number<int64_t>(field));
    tensor.shape.push_back(axis);
  }
  ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>(field));
  absl::StatusOr<TensorType> known = TensorTypeFromId(type);
  if (!known.ok()) return reader.Error(field, known.status().message());
  tensor.type = *known;
  ASSIGN_OR_RETURN(tensor.offset, reader.Number<uint64_t>(field));
  ASSIGN_OR_RETURN(tensor.size_bytes, TensorSize(reader, field, tensor));
  return tensor;
}

absl::StatusOr<uint64_t> Alignment(const Reader& reader, const Metadata& metadata) {
  if (!metadata.Has("general.alignment")) return 32;
  ASSIGN_OR_RETURN(const int64_t alignment, metadata.GetInt("general.alignment"));
  if (alignment < 1 || alignment > static_cast<int64_t>(kAlignmentMax) ||
      (alignment & (alignment - 1)) != 0) {
    return reader.Error("metadata 'general.alignment'", absl::StrCat("is ", alignment));
  }
  return alignment;
}

// Makes offsets count from the start of the file, and checks that each tensor lies within it.
absl::Status PlaceTensors(const Reader& reader, uint64_t alignment, uint64_t file_size,
                          std::vector<GgufTensorInfo>& tensors) {
  const uint64_t data_start = (reader.position() + alignment - 1) / alignment * alignment;
  for (GgufTensorInfo& tensor : tensors) {
    const std::string field = absl::StrCat("tensor '", absl::CHexEscape(tensor.name), "'");
    if (tensor.offset % alignment != 0) {
      return reader.Error(field, absl::StrCat("has offset ", tensor.offset,
                                              ", no multiple of the alignment ", alignment));
    }
    uint64_t end;
    if (__builtin_add_overflow(tensor.offset, data_start, &tensor.offset) ||
        __builtin_add_overflow(tensor.offset, tensor.size_bytes, &end) || end > file_size) {
      return reader.Error(field, absl::StrCat("reaches past the end of the file (",
                                              tensor.size_bytes, " bytes from ", tensor.offset,
                                              ", the file has ", file_size, "): it is truncated"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufHeader> ParseGguf(absl::string_view file) {
  Reader reader(file);
  ASSIGN_OR_RETURN(const absl::string_view magic, reader.Bytes("magic", 4));
  if (magic != "GGUF") return absl::InvalidArgumentError("not a GGUF file: the magic is missing");
  ASSIGN_OR_RETURN(const uint32_t version, reader.Number<uint32_t>("version"));
  if (version != 2 && version != 3) {
    return reader.Error("version", absl::StrCat("is ", version, ", we read 2 and 3"));
  }
  ASSIGN_OR_RETURN(const uint64_t tensor_count, reader.Count("tensor count", kTensorBytesMin));
  ASSIGN_OR_RETURN(const uint64_t pair_count, reader.Count("metadata count", kPairBytesMin));

  GgufHeader header;
  RETURN_IF_ERROR(ReadMetadata(reader, pair_count, header.metadata));
  absl::flat_hash_set<std::string> names;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    ASSIGN_OR_RETURN(GgufTensorInfo tensor, ReadTensorInfo(reader));
    if (!names.insert(tensor.name).second) {
      return reader.Error(absl::StrCat("tensor '", absl::CHexEscape(tensor.name), "'"),
                          "stands twice");
    }
    header.tensors.push_back(std::move(tensor));
  }
  ASSIGN_OR_RETURN(const uint64_t alignment, Alignment(reader, header.metadata));
  RETURN_IF_ERROR(PlaceTensors(reader, alignment, file.size(), header.tensors));
  return header;
}

}  // namespace facet
