"""Holds the files for containers to what reads them and to each other: that Kubernetes knows every
field, that each configuration in them is one that hairpin takes, and that ports are the same
wherever they stand.

Usage: manifests.py ROOT BINARY. Prints what is wrong, a line each; nothing if nothing is.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml

# As many ports as Docker can publish without a process or a rule too many.
PUBLISHED_MAX = 512
# The versions of Kubernetes whose schemas are asked: one that goes out of use, and a new one.
KUBERNETES = ("1.29", "1.37")


def main(root, binary):
    packaging = root / "packaging"
    wrong = []
    shipped = tomllib.loads((root / "turnserver.toml").read_text())
    image = (packaging / "Dockerfile").read_text()
    wrong += dockerfile(image, shipped)
    compose = yaml.safe_load((packaging / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        found = composed(packaging, service, binary)
        wrong += [f"compose.yaml, {name}: {it}" for it in found]
    pods = list(yaml.safe_load_all((packaging / "kubernetes/hairpin.yaml").read_text()))
    wrong += [f"kubernetes/hairpin.yaml: {it}" for it in kubernetes(pods, binary)]
    return wrong


def dockerfile(image, shipped):
    """Exposed is what the shipped configuration listens on, and the health check asks there."""
    exposed = set(re.search(r"^EXPOSE (.*)$", image, re.M)[1].split())
    if exposed != listening(shipped):
        yield f"Dockerfile exposes {exposed}, turnserver.toml listens on {listening(shipped)}"
    if "stun:127.0.0.1:3478" not in image:
        yield "Dockerfile: the health check asks elsewhere"
    if not re.search(r"^USER [1-9]\d*$", image, re.M):
        yield "Dockerfile: it runs as root"
    for base in re.findall(r"^FROM (\S+)", image, re.M):
        if ":" not in base or base.endswith(":latest"):
            yield f"Dockerfile: {base} is not pinned"


def composed(packaging, service, binary):
    """A service of Compose: confined, with a configuration that fits what is published."""
    if service.get("cap_drop") != ["ALL"] or not service.get("read_only"):
        yield "it may do more than it needs to"
    (volume,) = service["volumes"]
    source, target, mode = volume.split(":")
    if (target, mode) != ("/etc/hairpin/turnserver.toml", "ro"):
        yield f"the configuration is not where the image reads it: {volume}"
    text = (packaging / source).read_text()
    config = tomllib.loads(text)
    yield from checked(binary, text)
    if config.get("drain_secs", 3) >= int(service["stop_grace_period"].removesuffix("s")):
        yield "it is killed before it has drained"
    if service.get("network_mode") == "host":
        return
    published = {outside: inside for outside, inside in map(port, service["ports"])}
    if any(outside != inside for outside, inside in published.items()):
        yield "a port has another number outside, which clients are not told"
    relayed = config["relay"]["port_min"], config["relay"]["port_max"]
    run = f"{relayed[0]}-{relayed[1]}/udp"
    if set(published) != listening(config) | {run}:
        yield f"published are {set(published)}, used {listening(config) | {run}}"
    if relayed[1] - relayed[0] >= PUBLISHED_MAX:
        yield "too many ports are published for Docker to cope with"
    address = service["networks"]["relay"]["ipv4_address"]
    if list(config["relay"]["external"]) != [address]:
        yield "[relay] external is not about the container's address"


def kubernetes(documents, binary):
    """Every field is known, the configuration is taken, and the ports are those of the pod."""
    for document, version in ((d, v) for d in documents for v in KUBERNETES):
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{document['kind']}, Kubernetes {version}: {error.message}"
    kinds = {document["kind"]: document for document in documents}
    text = kinds["Secret"]["stringData"]["turnserver.toml"]
    config = tomllib.loads(text)
    yield from checked(binary, text)
    pod = kinds["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    open_ports = {f"{p['hostPort']}/{p['protocol'].lower()}" for p in container["ports"]}
    if open_ports != listening(config):
        yield f"the pod has {open_ports}, hairpin listens on {listening(config)}"
    if config.get("drain_secs", 3) >= pod["terminationGracePeriodSeconds"]:
        yield "it is killed before it has drained"
    if container["securityContext"]["capabilities"]["drop"] != ["ALL"]:
        yield "it may do more than it needs to"


def listening(config):
    """The ports of UDP and TCP that a configuration listens on, as Docker writes them."""
    listen = config["listen"]
    kinds = {"udp": "udp", "tcp": "tcp", "tls": "tcp", "dtls": "udp"}
    return {
        f"{address.rsplit(':', 1)[1]}/{protocol}"
        for key, protocol in kinds.items()
        for address in listen.get(key, [])
    }


def port(written):
    """A published port or run of them: outside and inside, each with its protocol."""
    outside, rest = written.split(":")
    inside, protocol = rest.split("/")
    return f"{outside}/{protocol}", f"{inside}/{protocol}"


def checked(binary, text):
    """What hairpin itself has to say of a configuration."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        said = subprocess.run(
            [binary, "check-config", "--config", file.name], capture_output=True, text=True
        )
    doubts = [line.strip() for line in said.stdout.splitlines() if "doubt:" in line]
    if said.returncode:
        yield said.stdout + said.stderr
    # The addresses in it are not this machine's.
    yield from (doubt for doubt in doubts if "no interface of this host has" not in doubt)


if __name__ == "__main__":
    complaints = main(Path(sys.argv[1]), sys.argv[2])
    print(*complaints, sep="\n")
    sys.exit(bool(complaints))
