#ifndef FACET_BASE_SIGNALS_H_
#define FACET_BASE_SIGNALS_H_

namespace facet {

// How a process ends in good order: block the signals in main before any thread starts (threads
// inherit the mask), then wait for one. No handler runs, so nothing is async-signal-unsafe.

// Blocks SIGTERM and SIGINT in the calling thread and those it starts from now on, and ignores
// SIGPIPE: a peer that went away shows as a failed write.
void BlockTerminationSignals();

// Blocks until SIGTERM or SIGINT arrives and returns it.
// REQUIRES: BlockTerminationSignals was called before any other thread was started.
int WaitForTermination();

// Whether SIGTERM or SIGINT has arrived and nobody has waited for it yet: for long waits before
// WaitForTermination. REQUIRES: as there.
bool TerminationPending();

// From now on the process ends in another way than by these signals. Instead of blocking them.
void IgnoreTerminationSignals();

}  // namespace facet

#endif  // FACET_BASE_SIGNALS_H_
