"""deploy/ as Kubernetes gets it: the overlays' resources, and the pods in them."""
import functools
import json
import os
import shlex
import subprocess

import yaml

import cluster

OVERLAYS = ("cpu", "gke", "multi-host", "cloud-run")


def folder(*names):
    return os.path.join(cluster.checkout, "deploy", *names)


@functools.lru_cache(maxsize=None)
def _rendered(overlay):
    done = subprocess.run(["kubectl", "kustomize", folder(overlay)], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def resources(overlay):
    """All resources of an overlay, as dictionaries; changing them changes nothing."""
    return list(yaml.safe_load_all(_rendered(overlay)))


def find(overlay, kind, name):
    found = [each for each in resources(overlay)
             if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} of {kind} {name} in {overlay}"
    return found[0]


def pods(overlay):
    """(where, template) of each pod that the overlay asks for; a template has `spec`."""
    for each in resources(overlay):
        name = f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] == "LeaderWorkerSet":
            groups = each["spec"]["leaderWorkerTemplate"]
            for part in ("leaderTemplate", "workerTemplate"):
                yield f"{name} {part}", groups[part]
        elif "template" in each.get("spec", {}):
            yield name, each["spec"]["template"]


def program_of(container):
    """The program that a container's image starts; None if it is another command."""
    if "command" in container:
        return None
    for program in ("facet-router", "facet-worker"):
        if container["image"].startswith(program):
            return program
    return None


def flags_of(container):
    """{"--port": "9379", ...} of a container that starts one of our programs."""
    flags = {}
    for argument in container["args"]:
        name, _, value = argument.partition("=")
        assert name not in flags, f"{name} stands there twice"
        flags[name] = value or "true"
    return flags


def probe_ports(container):
    """The number of each port that a probe or preStop of the container names, with the probe."""
    named = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
    for key in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(key)
        if probe is None:
            continue
        action = probe.get("httpGet") or probe.get("grpc")
        yield key, probe, named.get(action["port"], action["port"])


def entrypoint(image):
    """The program that a Containerfile of deploy/container starts."""
    with open(folder("container", f"{image}.Containerfile"), encoding="utf-8") as file:
        for line in file:
            word, _, rest = line.partition(" ")
            if word == "ENTRYPOINT":
                return json.loads(rest)
    raise AssertionError(f"{image} has no ENTRYPOINT")


def containerfile(image):
    """(instruction, words) of each instruction, lines joined."""
    with open(folder("container", f"{image}.Containerfile"), encoding="utf-8") as file:
        text = "".join(line for line in file if not line.startswith("#")).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            instruction, _, rest = line.partition(" ")
            yield instruction, shlex.split(rest) if instruction != "ENTRYPOINT" else rest
