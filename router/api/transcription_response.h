#ifndef FACET_ROUTER_API_TRANSCRIPTION_RESPONSE_H_
#define FACET_ROUTER_API_TRANSCRIPTION_RESPONSE_H_

#include <memory>
#include <string>

#include "router/api/answer_form.h"
#include "router/api/transcription_request.h"
#include "router/generation.h"

namespace facet {

// Transcripts in OpenAI's forms: JSON, plain text, or JSON with the sound's length and one segment;
// a stream has the pieces of the text and then all of it.
std::unique_ptr<AnswerForm> MakeTranscriptionForm(const Generation& generation,
                                                  TranscriptFormat format, std::string language);

}  // namespace facet

#endif  // FACET_ROUTER_API_TRANSCRIPTION_RESPONSE_H_
