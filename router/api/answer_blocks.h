#ifndef FACET_ROUTER_API_ANSWER_BLOCKS_H_
#define FACET_ROUTER_API_ANSWER_BLOCKS_H_

#include <string>
#include <vector>

#include "router/cluster/relay.h"

namespace facet {

// One answer as a row of blocks, each of one kind, as the Responses and the Messages API have it. A
// block ends when the next begins. However the answer is split into deltas, the texts of each kind
// put together are the same. Belongs to the request's strand.
class AnswerBlocks {
 public:
  enum class Kind { kThinking, kText, kToolCall };
  struct Block {
    Kind kind;
    std::string name;  // Of a tool call.
    std::string text;  // Of a tool call: its arguments as JSON text.
  };
  // What a stream is to tell.
  struct Step {
    enum class What { kBegin, kAppend, kEnd };
    What what;
    int block;         // An index into blocks().
    std::string text;  // kAppend: what the block gained.
  };

  // The last delta ends the last block.
  std::vector<Step> Add(const RelayDelta& delta);

  const std::vector<Block>& blocks() const { return blocks_; }
  v1::FinishReason finish_reason() const { return finish_reason_; }
  bool has_tool_call() const;

 private:
  void AddText(Kind kind, const std::string& text, std::vector<Step>& steps);
  void Begin(Kind kind, const std::string& name, std::vector<Step>& steps);
  void Append(const std::string& text, std::vector<Step>& steps);
  void End(std::vector<Step>& steps);

  std::vector<Block> blocks_;
  bool open_ = false;  // The last one.
  v1::FinishReason finish_reason_ = v1::FINISH_REASON_UNSPECIFIED;
};

}  // namespace facet

#endif  // FACET_ROUTER_API_ANSWER_BLOCKS_H_
