"""deploy/: valid, within its own rules, and what it says is what the programs do: probes, model
loading, and the way from SIGTERM to the end are played with real processes."""
import concurrent.futures
import configparser
import contextlib
import http.client
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
import jsonschema
import kubernetes_validate
import yaml

import cluster
import manifests
from cluster import wait_until

KUBERNETES = "1.32"
# After SIGTERM, by Cloud Run's own rule.
CLOUD_RUN_END_S = 10
DRAIN_FLAGS = {"facet-router": ("--drain_ms", 1e-3), "facet-worker": ("--drain_timeout_s", 1)}
HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"


def seconds(flags, program):
    name, unit = DRAIN_FLAGS[program]
    return float(flags[name]) * unit


class EachOverlayTest(unittest.TestCase):
    def for_each_container(self, check):
        """Calls check(overlay, where, pod's spec, container) for all that start our programs."""
        for overlay in manifests.OVERLAYS:
            for where, template in manifests.pods(overlay):
                for container in template["spec"]["containers"]:
                    with self.subTest(overlay=overlay, pod=where, container=container["name"]):
                        check(overlay, where, template["spec"], container)

    # Given each resource, expect that Kubernetes' own schema, or ours for custom ones, takes it
    # without a field that it does not know.
    def test_schemas(self):
        with open(manifests.folder("schemas.yaml"), encoding="utf-8") as file:
            schemas = yaml.safe_load(file)
        used = set()
        for overlay in manifests.OVERLAYS:
            for resource in manifests.resources(overlay):
                kind = f"{resource['apiVersion']}/{resource['kind']}"
                with self.subTest(kind, name=resource["metadata"]["name"]):
                    if kind not in schemas["kinds"]:
                        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
                        continue
                    used.add(kind)
                    jsonschema.validate(resource["spec"], {
                        **schemas["kinds"][kind], "definitions": schemas["definitions"]})
            for where, template in manifests.pods(overlay):
                with self.subTest(where):
                    spec = {name: value for name, value in template["spec"].items()
                            if name not in ("containerConcurrency", "timeoutSeconds")}
                    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod",
                                                  "metadata": {"name": "pod"}, "spec": spec},
                                                 KUBERNETES, strict=True)
        self.assertEqual(used, set(schemas["kinds"]))

    # Given a misspelt field in any resource, expect that validation says so.
    def test_schemas_refuse_misspelt_fields(self):
        with open(manifests.folder("schemas.yaml"), encoding="utf-8") as file:
            schemas = yaml.safe_load(file)
        deployment = manifests.find("cpu", "Deployment", "facet-router")
        deployment["spec"]["template"]["spec"]["enableServiceLink"] = False
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
        pool = manifests.find("gke", "InferencePool", "facet")
        pool["spec"]["targetPort"] = 1
        schema = schemas["kinds"][f"{pool['apiVersion']}/{pool['kind']}"]
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(pool["spec"], {**schema, "definitions": schemas["definitions"]})

    # Given each pod, expect nothing that a cluster with the strictest rules would refuse.
    def test_pods_are_locked_down(self):
        for overlay in ("cpu", "gke", "multi-host"):
            for where, template in manifests.pods(overlay):
                spec = template["spec"]
                with self.subTest(overlay=overlay, pod=where):
                    self.assertIs(spec["enableServiceLinks"], False)
                    self.assertIs(spec["automountServiceAccountToken"], False)
                    self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
                    self.assertGreater(spec["securityContext"]["runAsUser"], 9999)
                    self.assertEqual(spec["securityContext"]["seccompProfile"],
                                     {"type": "RuntimeDefault"})
                    for container in spec["containers"] + spec.get("initContainers", []):
                        context = container["securityContext"]
                        self.assertIs(context["readOnlyRootFilesystem"], True)
                        self.assertIs(context["allowPrivilegeEscalation"], False)
                        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})

    def test_containers_have_limits(self):
        def check(_overlay, _where, _spec, container):
            limits = container["resources"]["limits"]
            self.assertLessEqual({"cpu", "memory"}, set(limits))
            for name, value in container["resources"].get("requests", {}).items():
                if name not in ("cpu", "memory"):
                    self.assertEqual(limits[name], value)

        self.for_each_container(check)

    # Given each container's flags, expect that the program knows them.
    def test_flags_are_known(self):
        known = {}
        for program in ("facet-router", "facet-worker"):
            text = subprocess.run([cluster.program(program), "--helpfull"], capture_output=True,
                                  text=True, timeout=60, check=False).stdout
            known[program] = {word for word in text.split() if word.startswith("--")}
            self.assertIn("--port", known[program])

        def check(_overlay, _where, _spec, container):
            program = manifests.program_of(container)
            self.assertIsNotNone(program)
            unknown = set(manifests.flags_of(container)) - known[program]
            self.assertEqual(unknown, set())

        self.for_each_container(check)

    # Given each container, expect ports and probes where its flags have the program listen, and
    # time enough to end in.
    def test_ports_probes_and_time_to_end(self):
        def check(overlay, where, spec, container):
            flags = manifests.flags_of(container)
            listens = {int(value) for name, value in flags.items() if name.endswith("port")}
            for port in container.get("ports", ()):
                self.assertIn(port["containerPort"], listens)
            probes = {key for key, _, port in manifests.probe_ports(container)
                      if self.assertIn(port, listens) is None}
            program = manifests.program_of(container)
            if "workerTemplate" in where:
                # Ranks above 0 serve nothing.
                self.assertEqual(probes, set())
                return
            if overlay == "cloud-run":
                self.assertIn("startupProbe", probes)
                self.assertLess(seconds(flags, program), CLOUD_RUN_END_S)
                return
            self.assertEqual(probes, {"startupProbe", "livenessProbe", "readinessProbe"})
            wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            self.assertGreaterEqual(spec["terminationGracePeriodSeconds"],
                                    wait + seconds(flags, program) + 10)

        self.for_each_container(check)

    # Given services, policies, budgets and scrapes, expect that they select pods that are there and
    # name ports that those have.
    def test_what_selects_finds(self):
        for overlay in ("cpu", "gke", "multi-host"):
            labels = []
            for where, template in manifests.pods(overlay):
                own = dict(template["metadata"]["labels"])
                if "LeaderWorkerSet" in where:
                    index = "0" if "leaderTemplate" in where else "1"
                    own["leaderworkerset.sigs.k8s.io/worker-index"] = index
                labels.append((own, [port for container in template["spec"]["containers"]
                                     for port in container.get("ports", ())]))
            for resource in manifests.resources(overlay):
                spec = resource.get("spec", {})
                selector = spec.get("podSelector") or spec.get("selector")
                if resource["kind"] in ("Deployment", "PersistentVolumeClaim") or not selector:
                    continue
                with self.subTest(overlay=overlay, kind=resource["kind"],
                                  name=resource["metadata"]["name"]):
                    wanted = selector.get("matchLabels", selector)
                    ports = [port for own, has in labels if wanted.items() <= own.items()
                             for port in has]
                    self.assertTrue(ports)
                    names = {port["name"] for port in ports}
                    numbers = {port["containerPort"] for port in ports}
                    for port in spec.get("ports", ()):
                        self.assertIn(port["targetPort"], names)
                    for endpoint in spec.get("endpoints", ()):
                        self.assertIn(endpoint["port"], names)
                    for target in spec.get("targetPorts", ()):
                        self.assertIn(target["number"], numbers)
                    for rule in spec.get("ingress", ()):
                        for port in rule.get("ports", ()):
                            self.assertIn(port["port"], numbers)

    # Given autoscalers, gateways and routes, expect that what they name is there; and the jobs that
    # alerts look for.
    def test_what_names_finds(self):
        scaler = manifests.find("gke", "HorizontalPodAutoscaler", "facet-worker")["spec"]
        manifests.find("gke", "Deployment", scaler["scaleTargetRef"]["name"])
        scaled = manifests.find("cpu", "ScaledObject", "facet-worker")["spec"]
        manifests.find("cpu", "Deployment", scaled["scaleTargetRef"]["name"])
        for name in ("facet-router", "facet-worker"):
            manifests.find("gke", "PodMonitoring", name)
        route = manifests.find("gke", "HTTPRoute", "facet")["spec"]
        manifests.find("gke", "Gateway", route["parentRefs"][0]["name"])
        pool = manifests.find("gke", route["rules"][0]["backendRefs"][0]["kind"],
                              route["rules"][0]["backendRefs"][0]["name"])["spec"]
        picker = manifests.find("gke", "Service", pool["endpointPickerRef"]["name"])["spec"]
        self.assertIn(pool["endpointPickerRef"]["port"]["number"],
                      [port["port"] for port in picker["ports"]])
        # Cloud Run gives the ingress container's port as $PORT.
        [router] = [container for _, template in manifests.pods("cloud-run")
                    for container in template["spec"]["containers"] if "ports" in container]
        self.assertEqual(manifests.flags_of(router)["--port"],
                         str(router["ports"][0]["containerPort"]))

    # Given each Containerfile, expect a last stage without a compiler that runs one program, as
    # nobody in particular.
    def test_images(self):
        for image in ("facet-router", "facet-worker-cpu", "facet-worker-cuda"):
            with self.subTest(image):
                steps = list(manifests.containerfile(image))
                self.assertIn(("USER", ["10001:10001"]), steps)
                program = manifests.entrypoint(image)[0]
                copied = [words for instruction, words in steps
                          if instruction == "COPY" and words[-1] == program]
                self.assertEqual(len(copied), 1)
                # What runs has no compiler in it: the last stage begins anew.
                last = max(i for i, (instruction, _) in enumerate(steps) if instruction == "FROM")
                self.assertNotIn("AS", steps[last][1])
                exposed = {port for instruction, words in steps[last:] if instruction == "EXPOSE"
                           for port in words}
                self.assertTrue(exposed)


class SystemdTest(unittest.TestCase):
    # Given the unit, expect that its command serves, and that all is gone well within the time that
    # it has to stop.
    def test_serves_and_stops(self):
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str
        unit.read(manifests.folder("systemd", "facet.service"))
        service = unit["Service"]
        program, command, model, *flags = shlex.split(service["ExecStart"])
        self.assertEqual((os.path.basename(program), command, model, flags.pop()),
                         ("facet", "serve", "${MODEL}", "$FLAGS"))
        own = [flag.partition("=")[0] + "=0" for flag in flags]
        self.assertEqual(own, ["--port=0", "--worker_metrics_port=0"])
        serve = cluster.Serve(*own)
        self.addCleanup(lambda: serve.exit_code is None and serve.stop())
        serve.wait_ready()
        self.assertEqual(serve.stop(float(service["TimeoutStopSec"])), 0)
        # The supervisor is told, and tells its children.
        self.assertEqual(service["KillMode"], "mixed")


class Container:
    """A container's program on this machine, with its flags; ports are the kernel's."""

    def __init__(self, container, **changes):
        self.spec = container
        flags = manifests.flags_of(container) | {"--host": "127.0.0.1"}
        self.ports = {}  # by the container's own numbers
        listening = [name for name in flags if name.endswith("port")]
        numbers = {name: int(flags[name]) for name in listening}
        flags |= {name: "0" for name in listening} | changes
        program = manifests.program_of(container)
        self.process = cluster.Process(program, *(f"{name}={value}" for name, value in flags.items()
                                                  if value is not None))
        ready = json.loads(self.process.read_line())
        told = {"--port": "http_port" if program == "facet-router" else "grpc_port",
                "--grpc_port": "grpc_port", "--metrics_port": "metrics_port"}
        for name, number in numbers.items():
            self.ports[number] = ready[told[name]]

    def probe(self, key):
        """Whether the probe of that name succeeds."""
        [(probe, number)] = [(probe, number) for name, probe, number
                             in manifests.probe_ports(self.spec) if name == key]
        port, timeout_s = self.ports[number], probe.get("timeoutSeconds", 1)
        if "grpc" in probe:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                try:
                    return channel.unary_unary(HEALTH)(b"", timeout=timeout_s) == SERVING
                except grpc.RpcError:
                    return False
        with contextlib.suppress(OSError, http.client.HTTPException):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port,
                                                               timeout_s)) as connection:
                connection.request("GET", probe["httpGet"]["path"])
                return 200 <= connection.getresponse().status < 400
        return False

    def wait_started(self):
        probe = self.spec["startupProbe"]
        wait_until(lambda: self.probe("startupProbe"), f"{self.spec['name']} to start",
                   probe["periodSeconds"] * probe["failureThreshold"])

    def end(self, grace_s, while_waiting=lambda: None):
        """As Kubernetes ends a pod: preStop, SIGTERM, and what is left of the time to end. Gives
        back how long it took after SIGTERM."""
        lifecycle = self.spec.get("lifecycle")
        wait_s = lifecycle["preStop"]["sleep"]["seconds"] if lifecycle else 0
        over = time.monotonic() + wait_s
        wait_until(lambda: while_waiting() or time.monotonic() > over, "preStop", wait_s + 5,
                   interval_s=0.1)
        began = time.monotonic()
        code = self.process.stop(grace_s - wait_s)
        assert code == 0, f"{self.spec['name']} ended with {code}: {self.process.stderr()}"
        return time.monotonic() - began


class PlayedTest(unittest.TestCase):
    """The manifests' own commands, flags and probes, with processes instead of pods."""

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.source, self.models = (os.path.join(folder, name) for name in ("source", "models"))
        for name in (self.source, self.models):
            os.mkdir(name)
        self.addCleanup(self.end_all)
        self.containers = []

    def end_all(self):
        for container in self.containers:
            if container.process.exit_code is None:
                container.process.stop()

    def start(self, container, **changes):
        self.containers.append(Container(container, **changes))
        return self.containers[-1]

    def load_model(self, spec, config):
        """What the pod's init container does; gives back its exit code and words."""
        [init] = spec["initContainers"]
        script = [argument.replace("/source", self.source).replace("/models", self.models)
                  for argument in init["command"] + init["args"]]
        done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False,
                              env={"PATH": os.environ["PATH"], **config})
        return done.returncode, done.stdout + done.stderr

    def chat(self, router, tokens=60):
        """One streamed answer: whether it came to its end."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", router.ports[9379],
                                                               30)) as connection:
                connection.request("POST", "/v1/chat/completions", json.dumps(
                    {"messages": [{"role": "user", "content": "Spell zebra"}], "stream": True,
                     "max_tokens": tokens, "ignore_eos": True}))
                response = connection.getresponse()
                return response.status == 200 and b"data: [DONE]" in response.read()
        return False

    @contextlib.contextmanager
    def clients(self, router, count=6):
        """So many that ask again and again; gives the list of what came of each answer."""
        over, ended = threading.Event(), []

        def client():
            while not over.is_set():
                ended.append(self.chat(router))

        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(client) for _ in range(count)]
            try:
                yield ended
            finally:
                over.set()
        for future in futures:
            future.result()

    def pod(self, overlay, kind, name):
        resource = manifests.find(overlay, kind, name)
        return resource["spec"]["template"]["spec"]

    # Given the model's file, expect that the pod gets it; given another, or none, that it does not
    # start.
    def test_model_is_checked(self):
        spec = self.pod("cpu", "Deployment", "facet-worker")
        config = manifests.find("cpu", "ConfigMap", "facet-model")["data"]
        code, words = self.load_model(spec, config)
        self.assertNotEqual(code, 0)
        self.assertIn(config["MODEL_FILE"], words)
        shutil.copy(os.path.join(cluster.checkout, "model/nano", config["MODEL_FILE"]), self.source)
        self.assertEqual(self.load_model(spec, config)[0], 0)
        with open(os.path.join(self.source, config["MODEL_FILE"]), "r+b") as file:
            file.seek(100_000)
            file.write(b"other")
        code, words = self.load_model(spec, config)
        self.assertNotEqual(code, 0)
        self.assertIn("FAILED", words)

    # Given two worker pods and a router's, expect the probes' answers on the way up; that neither
    # a worker nor the router that is ended as a pod is breaks off an answer; and that both are gone
    # in time.
    def test_rolling_update(self):
        router_spec = self.pod("cpu", "Deployment", "facet-router")
        worker_spec = self.pod("cpu", "Deployment", "facet-worker")
        config = manifests.find("cpu", "ConfigMap", "facet-model")["data"]
        shutil.copy(os.path.join(cluster.checkout, "model/nano", config["MODEL_FILE"]), self.source)
        self.assertEqual(self.load_model(worker_spec, config)[0], 0)
        [worker], [router] = worker_spec["containers"], router_spec["containers"]
        changes = {"--model": os.path.join(self.models, "model.gguf"), "--kv_cache_mib": "256"}
        workers = [self.start(worker, **changes) for _ in range(2)]
        for each in workers:
            each.wait_started()
        addresses = ",".join(f"127.0.0.1:{each.ports[9381]}" for each in workers)
        front = self.start(router, **{"--workers": addresses})
        front.wait_started()
        wait_until(lambda: front.probe("readinessProbe"), "the router to be ready")
        for each in (front, *workers):
            for key in ("startupProbe", "livenessProbe", "readinessProbe"):
                self.assertTrue(each.probe(key), key)

        with self.clients(front) as ended:
            wait_until(lambda: len(ended) > 6, "answers")
            took = workers[0].end(worker_spec["terminationGracePeriodSeconds"],
                                  lambda: self.assertTrue(workers[0].probe("livenessProbe")))
            self.assertFalse(workers[0].probe("readinessProbe"))
            after = len(ended)
            wait_until(lambda: len(ended) > after + 6, "answers after it")
        self.assertEqual(ended.count(False), 0, f"of {len(ended)}")
        print(f"a worker under load ended {took:.1f} s after SIGTERM, {len(ended)} answers whole")

        # While load balancers still send requests, it answers; then what runs goes on to its end.
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = []
            def ask():
                if len(answers) < 4:
                    self.assertTrue(front.probe("readinessProbe"))
                    answers.append(pool.submit(self.chat, front, 1500))
            took = front.end(router_spec["terminationGracePeriodSeconds"], ask)
            self.assertEqual([answer.result() for answer in answers], [True] * 4)
        self.assertFalse(front.probe("livenessProbe"))
        self.assertFalse(self.chat(front))
        print(f"a router with 4 answers ended {took:.1f} s after SIGTERM")

    # Given a router whose worker is not there, expect that it lives and is not ready.
    def test_router_without_workers(self):
        [router] = self.pod("cpu", "Deployment", "facet-router")["containers"]
        front = self.start(router, **{"--workers": "127.0.0.1:1"})
        front.wait_started()
        self.assertTrue(front.probe("livenessProbe"))
        self.assertFalse(front.probe("readinessProbe"))

    # Given Cloud Run's two containers, which get SIGTERM together, expect that an answer that runs
    # comes to its end and both are gone in 10 s.
    def test_cloud_run(self):
        router, worker = self.pod("cloud-run", "Service", "facet")["containers"]
        back = self.start(worker, **{"--model": cluster.model_path, "--device": "cpu",
                                     "--kv_format": "f32", "--kv_cache_mib": "256"})
        back.wait_started()
        front = self.start(router, **{"--workers": f"127.0.0.1:{back.ports[9381]}"})
        front.wait_started()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            answer = pool.submit(self.chat, front, 300)
            wait_until(lambda: b"facet_engine_requests_running 1" in self.metrics(back),
                       "the answer to run")
            ends = [pool.submit(each.end, CLOUD_RUN_END_S) for each in (front, back)]
            took = [end.result() for end in ends]
            self.assertTrue(answer.result())
        print("router and worker ended {:.1f} and {:.1f} s after SIGTERM".format(*took))

    def metrics(self, worker):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", worker.ports[9391],
                                                           5)) as connection:
            connection.request("GET", "/metrics")
            return connection.getresponse().read()
