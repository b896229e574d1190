"""Clients that send requests without a pause."""

import http.client
import threading
from itertools import cycle

from tests import drawn_images as images


class Clients:
    """Threads that send predictions, on connections they keep, to the services on ``ports``; one may be replaced."""

    def __init__(self, count):
        self.ports = []
        self.answered = 0
        self.failed = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self):
        image = images.plain()
        for number in cycle(range(1000)):
            if self._stop.is_set():
                return
            # As behind kube-proxy: a service is chosen for a connection, and the connection stays with it.
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[number % len(self.ports)], timeout=30)
            try:
                while not self._stop.is_set():
                    connection.request("POST", "/predict", image, {"Content-Type": "image/jpeg"})
                    response = connection.getresponse()
                    response.read()
                    self.answered += response.status == 200
                    if response.status != 200:
                        self.failed.append(response.status)
                    if response.will_close:
                        break
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            finally:
                connection.close()
