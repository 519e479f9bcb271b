#ifndef FACET_ROUTER_REPLICAS_WANTED_H_
#define FACET_ROUTER_REPLICAS_WANTED_H_

#include <cstdint>
#include <deque>

namespace facet {

// How many workers this router's load calls for: its share, to be summed over routers by whoever
// scales (an HPA, KEDA). A rise counts within half a minute, so that a burst of a second calls for
// nobody; a fall counts when it has lasted five minutes, since a worker takes that long to be
// worth its start. Not thread-safe.
class ReplicasWanted {
 public:
  struct Load {
    int64_t answers = 0;    // of this router: at workers or waiting
    int64_t rows_each = 0;  // that one worker computes at once; 0: no worker is known
  };
  struct Options {
    double use_wanted = 0.8;  // of a worker's rows: the rest is for what comes before scaling does
    double rise_s = 30;       // time constant
    double fall_s = 300;
  };

  explicit ReplicasWanted(const Options& options) : options_(options) {}
  ReplicasWanted() : ReplicasWanted(Options()) {}

  // What is wanted now, not rounded. REQUIRES: `now_s` does not go back.
  double Update(double now_s, const Load& load);

 private:
  struct Peak {
    double at_s;
    double replicas;
  };

  const Options options_;
  bool began_ = false;
  double seen_s_ = 0;
  double smooth_ = 0;
  // Of the last fall_s seconds: each is less than the one before, so the first is the greatest.
  std::deque<Peak> peaks_;
};

}  // namespace facet

#endif  // FACET_ROUTER_REPLICAS_WANTED_H_
