#ifndef FACET_TESTS_FAKE_WORKER_SMALL_MODEL_H_
#define FACET_TESTS_FAKE_WORKER_SMALL_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/metadata.h"
#include "model/vocabulary.h"
#include "proto/worker.pb.h"

namespace facet::testing {

// A model that is only a vocabulary: Gemma's control pieces, all bytes, and letters one by one with
// a few merges. So texts are easy to spell as ids, and nothing need be loaded.
Metadata SmallMetadata();
std::shared_ptr<const Vocabulary> SmallVocabulary();

// What a worker of this model says. Context 4,096, 64 running and 64 waiting requests.
v1::DescribeReply SmallDescription(absl::string_view model_name = "small");

// `text` as ids, special pieces recognised, no <bos>.
std::vector<uint32_t> SmallIds(absl::string_view text);
std::string SmallText(const std::vector<uint32_t>& ids);

}  // namespace facet::testing

#endif  // FACET_TESTS_FAKE_WORKER_SMALL_MODEL_H_
