#ifndef FACET_BASE_LOCK_CHECKS_H_
#define FACET_BASE_LOCK_CHECKS_H_

#include "absl/synchronization/mutex.h"

namespace facet {

// Abseil watches the order in which locks are taken, where it was built with assertions, as Debian
// builds it: two to three per cent of a busy router's time. Tests and debug builds keep that; an
// optimised program calls this at its start.
inline void SkipLockOrderChecksInRelease() {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

}  // namespace facet

#endif  // FACET_BASE_LOCK_CHECKS_H_
