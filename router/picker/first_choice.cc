#include "router/picker/first_choice.h"

#include <utility>
#include <vector>

namespace facet {

boost::asio::awaitable<absl::StatusOr<BuiltChoice>> BuildFirstChoice(
    const WorkerPool& pool, MediaLoader& loader, absl::StatusOr<GenerationRequest> request,
    ClientLeft client_left) {
  if (!request.ok()) co_return request.status();
  const absl::Status loaded = co_await loader.Load(*request, pool.model(), std::move(client_left));
  if (!loaded.ok()) co_return loaded;
  const auto model = pool.FindModel(request->model, &request->adapter_digest);
  if (!model.ok()) co_return model.status();
  absl::StatusOr<std::vector<BuiltChoice>> choices =
      BuildChoices(**model, *request, [] { return uint64_t{0}; });
  if (!choices.ok()) co_return choices.status();
  co_return std::move(choices->front());
}

}  // namespace facet
