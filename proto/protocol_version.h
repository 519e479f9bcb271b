#ifndef FACET_PROTO_PROTOCOL_VERSION_H_
#define FACET_PROTO_PROTOCOL_VERSION_H_

#include <cstdint>

namespace facet {

// Of worker.proto. Raised whenever a router and a worker of two versions would misunderstand each
// other; a field that the other side may ignore is no reason. Workers of another version are
// refused, so raise it in workers and routers together.
inline constexpr uint32_t kProtocolVersion = 1;

}  // namespace facet

#endif  // FACET_PROTO_PROTOCOL_VERSION_H_
