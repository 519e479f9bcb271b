"""ops/alerts, ops/dashboards and ops/runbook.md: sound, complete, and of one mind."""
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import unittest

import yaml

import cluster
from prometheus import promtool


def path(*names):
    return os.path.join(cluster.checkout, "ops", *names)


def read(*names):
    with open(path(*names), encoding="utf-8") as file:
        return file.read()


def alerts():
    """Each alert of the rules, as YAML has it."""
    groups = yaml.safe_load(read("alerts", "facet.rules.yaml"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


class AlertsTest(unittest.TestCase):
    # Given each alert's fault in series of numbers, expect it and no other.
    def test_fire_under_their_faults(self):
        for command in (["check", "rules", path("alerts", "facet.rules.yaml")],
                        ["test", "rules", path("alerts", "tests.yaml")]):
            done = subprocess.run([promtool(), *command], capture_output=True, text=True,
                                  timeout=300, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    # Given the rules, expect that no alert is without a test.
    def test_each_is_tested(self):
        tested = set(re.findall(r'alertname="(\w+)"', read("alerts", "tests.yaml")))
        self.assertEqual({alert["alert"] for alert in alerts()}, tested)

    # Given an alert's link, expect an entry that says what it means, where to look, what to do.
    def test_each_has_an_entry_in_the_runbook(self):
        entries = {}
        for part in re.split(r"^#+ ", read("runbook.md"), flags=re.MULTILINE)[1:]:
            title, _, text = part.partition("\n")
            entries[title.lower().replace(" ", "-")] = text
        linked = set()
        for alert in alerts():
            with self.subTest(alert["alert"]):
                page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
                self.assertEqual(page, "runbook.md")
                for word in ("**Means**", "**Look**", "**Do**"):
                    self.assertIn(word, entries[anchor])
                self.assertIn(alert["labels"]["severity"], ("page", "ticket"))
                linked.add(anchor)
        # An entry that no alert leads to is of an alert that is gone.
        self.assertEqual({title for title in entries if title.startswith("facet")}, linked)


class DashboardTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        loader = importlib.machinery.SourceFileLoader("generate", path("dashboards", "generate"))
        spec = importlib.util.spec_from_loader("generate", loader)
        cls.generate = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(cls.generate)
        cls.dashboard = json.loads(read("dashboards", "facet.json"))

    # Given the list of panels, expect that the checked-in file is what it makes.
    def test_is_up_to_date(self):
        self.assertEqual(read("dashboards", "facet.json"), self.generate.text(),
                         "run ops/dashboards/generate")

    # Given panels, expect that none lies over another or beside the grid, and each has a title, a
    # unit, and queries with legends.
    def test_panels_have_their_places(self):
        taken = set()
        titles = []
        for panel in self.dashboard["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            with self.subTest(panel["title"]):
                self.assertFalse(cells & taken)
                self.assertLessEqual(place["x"] + place["w"], 24)
                taken |= cells
                if panel["type"] == "row":
                    continue
                titles.append(panel["title"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertTrue(panel["targets"])
                for target in panel["targets"]:
                    self.assertTrue(target["legendFormat"])
        ids = [panel["id"] for panel in self.dashboard["panels"]]
        self.assertEqual(len(set(ids)), len(ids))

    # Given the panels that the runbook names in quotation marks, expect that they are there.
    def test_runbook_names_panels_that_exist(self):
        titles = {panel["title"] for panel in self.dashboard["panels"]}
        _, _, entries = read("runbook.md").partition("# Objectives")
        named = set(re.findall(r'"([A-Z][^"\n]+)"', entries))
        self.assertGreater(len(named), 10)
        self.assertEqual(named - titles, set())
