#ifndef FACET_ROUTER_API_TRANSCRIPTION_REQUEST_H_
#define FACET_ROUTER_API_TRANSCRIPTION_REQUEST_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "router/api/request.h"

namespace facet {

// How a transcript is to be written.
enum class TranscriptFormat { kJson, kText, kVerboseJson };

struct TranscriptionRequest {
  GenerationRequest generation;  // A chat of an instruction and the sound.
  TranscriptFormat format = TranscriptFormat::kJson;
  std::string language;  // As the client wrote it; may be empty.
};

// POST /v1/audio/transcriptions, a form: `file`, `model`, `language`, `prompt`, `response_format`,
// `temperature`, `stream`. The sound goes into a chat, after the instruction to write down what is
// said, and greedily unless a temperature is given. InvalidParam names the field that is wrong;
// others are ignored. A pure function.
absl::StatusOr<TranscriptionRequest> ParseTranscriptionRequest(absl::string_view content_type,
                                                               absl::string_view body);

}  // namespace facet

#endif  // FACET_ROUTER_API_TRANSCRIPTION_REQUEST_H_
