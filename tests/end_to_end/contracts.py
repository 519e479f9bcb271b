"""The messages of our gRPC services, from what protoc makes of the checkout's contracts."""
import os
import subprocess
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import cluster


def read(path, *names):
    """The classes of these messages of a contract, such as "proto/worker.proto", by name."""
    with tempfile.TemporaryDirectory() as folder:
        descriptors = os.path.join(folder, "descriptors")
        subprocess.run(["protoc", f"--proto_path={cluster.checkout}", "--include_imports",
                        f"--descriptor_set_out={descriptors}", path], check=True)
        with open(descriptors, "rb") as file:
            files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"facet.v1.{name}"))
            for name in names}
