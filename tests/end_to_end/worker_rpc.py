"""Calls a worker's gRPC service (proto/worker.proto) as a router does."""
import threading
import time

import grpc

import contracts


class WorkerClient:
    """One worker's service. Close it before the worker is stopped."""

    def __init__(self, worker):
        self.messages = contracts.read("proto/worker.proto", "GenerateRequest", "GenerateReply",
                                       "WatchRequest", "WatchReply")
        self._channel = grpc.insecure_channel(worker.address)

    def close(self):
        self._channel.close()

    def _stream(self, method, request_type, reply_type):
        return self._channel.unary_stream(
            f"/facet.v1.Worker/{method}",
            request_serializer=self.messages[request_type].SerializeToString,
            response_deserializer=self.messages[reply_type].FromString)

    def generate(self, **request):
        """Starts one request: an iterator of replies."""
        return self._stream("Generate", "GenerateRequest", "GenerateReply")(
            self.messages["GenerateRequest"](**request))

    def watch(self):
        return self._stream("Watch", "WatchRequest", "WatchReply")(self.messages["WatchRequest"]())


class LoadWatch:
    """Follows a worker's load, as Watch tells it."""

    def __init__(self, client):
        self._changed = threading.Condition()
        self._load = None
        self._heard = 0.0
        self._call = client.watch()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self):
        try:
            for reply in self._call:
                heard = time.monotonic()
                with self._changed:
                    self._load, self._heard = reply.load, heard
                    self._changed.notify_all()
        except grpc.RpcError:
            pass  # the call was cancelled

    def load(self):
        """The newest Load that was told; None before the first."""
        with self._changed:
            return self._load

    def running(self):
        """How many requests run, as far as is known."""
        load = self.load()
        return load.running_requests if load else None

    def wait_for(self, condition, what, deadline_s=30):
        """Returns when a Load was told for which `condition` holds: by time.monotonic()."""
        with self._changed:
            told = self._changed.wait_for(lambda: self._load and condition(self._load), deadline_s)
            assert told, f"{self._load} after {deadline_s} s, not {what}"
            return self._heard

    def pages_used(self):
        """Pages that requests hold, of the full and of the sliding pool, as far as is known."""
        with self._changed:
            load = self._load
            return (load.full_pages_total - load.full_pages_free,
                    load.sliding_pages_total - load.sliding_pages_free)

    def wait_running(self, count, deadline_s=30):
        """Returns as soon as the worker says that so many requests run."""
        self.wait_for(lambda load: load.running_requests == count, f"{count} running", deadline_s)

    def wait_free(self, deadline_s=30):
        """Returns when nothing runs or waits and no page is in use."""
        self.wait_for(lambda load: (load.running_requests == load.waiting_requests == 0
                                    and load.full_pages_free == load.full_pages_total
                                    and load.sliding_pages_free == load.sliding_pages_total),
                      "all pages free", deadline_s)

    def close(self):
        self._call.cancel()
        self._thread.join()
