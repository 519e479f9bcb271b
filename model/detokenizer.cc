#include "model/detokenizer.h"

#include <utility>

#include "model/utf8.h"

namespace facet {

Detokenizer::Detokenizer(std::shared_ptr<const Vocabulary> vocabulary, bool skip_special)
    : vocabulary_(std::move(vocabulary)), skip_special_(skip_special) {}

std::string Detokenizer::Add(int id) {
  if (id < 0 || id >= vocabulary_->size()) return "";
  if (skip_special_ && vocabulary_->IsSpecial(id)) return "";
  const absl::string_view text = vocabulary_->text(id);
  if (vocabulary_->type(id) == PieceType::kByte) {
    bytes_.append(text.data(), text.size());
    return "";
  }
  std::string result = Finish();
  result.append(text.data(), text.size());
  return result;
}

std::string Detokenizer::Finish() {
  std::string run = std::move(bytes_);
  bytes_.clear();
  if (IsUtf8(run)) return run;
  std::string result;
  for (size_t i = 0; i < run.size(); ++i) AppendUtf8(0xFFFD, result);
  return result;
}

}  // namespace facet
