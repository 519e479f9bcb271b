"""A Prometheus of a test's own: a free port, a folder of its own, ended by its id."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import cluster


def _program(name):
    folder = os.environ.get("PROMETHEUS_HOME", "/opt/prometheus")
    found = shutil.which(name) or shutil.which(name, path=os.path.join(folder, "usr/bin"))
    assert found is not None, f"{name} is missing: run ops/setup --test"
    return found


def promtool():
    return _program("promtool")


class Prometheus:
    """Scrapes `targets`, {job: [host:port]}, each second, and evaluates rule files as often."""

    def __init__(self, targets, rule_files=(), interval_s=1):
        self._folder = tempfile.mkdtemp(prefix="facet-prometheus-")
        config = {
            "global": {"scrape_interval": f"{interval_s}s", "scrape_timeout": f"{interval_s}s",
                       "evaluation_interval": f"{interval_s}s"},
            "rule_files": list(rule_files),
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": addresses}]}
                               for job, addresses in targets.items()],
        }
        self._target_count = sum(len(addresses) for addresses in targets.values())
        path = os.path.join(self._folder, "prometheus.yml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)  # YAML too
        self._log = os.path.join(self._folder, "log")
        with open(self._log, "w", encoding="utf-8") as log:
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig=TERM", _program("prometheus"), f"--config.file={path}",
                 f"--storage.tsdb.path={self._folder}/data", "--web.listen-address=127.0.0.1:0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
        try:
            self.port = int(cluster.wait_until(self._port, "Prometheus to listen"))
            cluster.wait_until(lambda: self._get("/-/ready"), "Prometheus to be ready")
        except AssertionError:
            self.stop()
            raise

    def _port(self):
        with open(self._log, encoding="utf-8") as file:
            text = file.read()
        assert self._popen.poll() is None, text
        match = re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', text)
        return match[1] if match else None

    def _get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.read().decode()
        return None

    def _data(self, path, **parameters):
        text = self._get(path, **parameters)
        assert text is not None, f"{path} {parameters} was refused"
        return json.loads(text)["data"]

    def query(self, expression):
        """The result of an instant query: (labels, value) of each series."""
        return [(entry["metric"], float(entry["value"][1]))
                for entry in self._data("/api/v1/query", query=expression)["result"]]

    def names(self):
        """All metrics that there are."""
        return set(self._data("/api/v1/label/__name__/values"))

    def rules(self):
        """All rules with their state."""
        return [rule for group in self._data("/api/v1/rules")["groups"] for rule in group["rules"]]

    def firing(self):
        return {labels["alertname"] for labels, _ in self.query('ALERTS{alertstate="firing"}')}

    def wait_for(self, condition, what, deadline_s=cluster.START_DEADLINE_S):
        """Looks no more often than there may be news, so that asking does not slow it down."""
        return cluster.wait_until(condition, what, deadline_s, interval_s=0.2)

    def wait_scraped(self):
        """Until each target has answered a scrape."""
        self.wait_for(lambda: sum(value for _, value in self.query("up")) == self._target_count,
                      "all targets to be scraped")

    def stop(self):
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(cluster.END_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
