"""What the buckets of the servers that tests start have in common."""

import abc
import collections
import threading


class CountedBucket(abc.ABC):
    """One bucket: its requests are counted, and can be made to fail.

    Attributes:
        url: Of the bucket.
        requests: Kind of every request that came ("list", "head", "get", "put", "delete",
            "copy") → how many.
        faults: What befalls the next requests, in order: "slow down", "denied",
            "drop", "cut short" or "".
    """

    def __init__(self, name, url):
        self.name, self.url = name, url
        self.requests = collections.Counter()
        self.faults = collections.deque()
        self.lock = threading.Lock()

    @abc.abstractmethod
    def objects(self, prefix=""):
        """Key → content of every object, past the code that is tested."""

    @abc.abstractmethod
    def put(self, key, content):
        """Put an object, past the code that is tested."""

    @abc.abstractmethod
    def remove(self, key):
        """Remove an object, past the code that is tested."""

    @abc.abstractmethod
    def put_many(self, keys):
        """Put objects without content, past the server."""

    def reset(self):
        """Count anew."""
        self.requests.clear()

    def next_fault(self, kind):
        """Count a request, and say what is to befall it."""
        with self.lock:
            self.requests[kind] += 1
            return self.faults.popleft() if self.faults else ""
