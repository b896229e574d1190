"""kubectl for tests: the real one, except for the two verbs that need a node.

``port-forward`` names the port of a real service, which stands for the pods of an image, and ``exec`` reads the bundle
of this service. Both fail at arguments that the script does not use. NODE is the file that lists these services.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

REAL = os.environ["REAL_KUBECTL"]
PORT_FORWARD = re.compile(r"port-forward -n (mlops|team-a) (svc/[a-z-]*mlops-service|pod/[a-z0-9-]+) :(8000|9090)")
EXEC = re.compile(r"exec ([a-z0-9-]+) -n (mlops|team-a) -- cat (?:models/champion|../model/bundle)/manifest.json")


def fail(message: str) -> NoReturn:
    sys.exit(f"error: {message}")


def get(namespace: str, *arguments: str) -> Any:
    done = subprocess.run([REAL, "get", "-n", namespace, "-o", "json", *arguments], capture_output=True, text=True)
    if done.returncode:
        fail(done.stderr)
    return json.loads(done.stdout)


def backend(pod: Any) -> Any:
    """Return the port and the bundle of the service that stands for the images of a pod."""
    if not pod["status"]["containerStatuses"][0]["state"].get("running"):
        fail(f"unable to forward port because pod is not running. Current status={pod['status']['phase']}")
    node = json.loads(Path(os.environ["NODE"]).read_text())
    spec = pod["spec"]
    images = [one["image"] for one in (*spec.get("initContainers", []), *spec["containers"])]
    images += [volume["image"]["reference"] for volume in spec.get("volumes", []) if "image" in volume]
    # A model that has a service of its own, else the service's image.
    return next((node[image] for image in sorted(images, reverse=True) if image in node), None) or node["any image"]


def port_forward(namespace: str, target: str) -> None:
    kind, _, name = target.partition("/")
    if kind == "pod":
        forward(get(namespace, "pod", name))
    service = get(namespace, "service", name)
    labels = ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())
    pods = get(namespace, "pods", "-l", labels)["items"]
    if not pods:
        fail("timed out waiting for the condition")
    # kubectl takes any pod, also one that is leaving.
    forward(min(pods, key=lambda pod: "deletionTimestamp" not in pod["metadata"]))


def forward(pod: Any) -> NoReturn:
    sys.stdout.write(f"Forwarding from 127.0.0.1:{backend(pod)['port']} -> 8000\n")
    sys.stdout.flush()
    signal.pause()
    sys.exit()


def main(arguments: list[str]) -> None:
    if arguments[:2] == ["--context", "minikube"]:
        arguments = arguments[2:]
    line = " ".join(arguments)
    if match := PORT_FORWARD.fullmatch(line):
        port_forward(match[1], match[2])
    elif match := EXEC.fullmatch(line):
        sys.stdout.write(Path(backend(get(match[2], "pod", match[1]))["bundle"], "manifest.json").read_text())
    elif arguments[0] in ("port-forward", "exec"):
        fail(f"the stand-in does not know: kubectl {' '.join(arguments)}")
    else:
        os.execv(REAL, ["kubectl", *arguments])


main(sys.argv[1:])
