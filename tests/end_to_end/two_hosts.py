"""Two network namespaces as two hosts, joined by a wire that a test may cut or make lossy."""
import ctypes
import os
import subprocess
import threading
import unittest

CLONE_NEWNET = 0x40000000


def enter(namespace):
    """This thread, and the children that it starts, use that namespace from now on."""
    with open(f"/run/netns/{namespace}", encoding="ascii") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class TwoHostsTest(unittest.TestCase):
    """Makes the hosts self.near and self.far. Needs root and namespaces; else tests are skipped."""
    # Of a private network that exists in these two namespaces alone.
    NEAR_HOST, FAR_HOST = "10.93.7.1", "10.93.7.2"

    def setUp(self):
        self.near, self.far = (f"facet-{os.getpid()}-{side}" for side in ("near", "far"))
        try:
            ip("netns", "add", self.near)
        except (OSError, subprocess.CalledProcessError) as error:
            self.skipTest(f"no network namespaces here: {error}")
        self.addCleanup(ip, "netns", "del", self.near)
        ip("netns", "add", self.far)
        self.addCleanup(ip, "netns", "del", self.far)
        ip("-n", self.near, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns",
           self.far)
        for namespace, host in ((self.near, self.NEAR_HOST), (self.far, self.FAR_HOST)):
            ip("-n", namespace, "addr", "add", f"{host}/24", "dev", "wire")
            ip("-n", namespace, "link", "set", "wire", "up")
            ip("-n", namespace, "link", "set", "lo", "up")

    def cut_wire(self):
        ip("-n", self.far, "link", "set", "wire", "down")

    def in_a_thread(self, check):
        """Runs it in a thread of its own, because a namespace is entered for good."""
        failures = []

        def guarded():
            try:
                check()
            except BaseException as error:  # The test's own thread raises it.
                failures.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
