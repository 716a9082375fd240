"""A real kube-apiserver and its etcd on loopback, from the folder KUBEBUILDER_ASSETS.

No controller runs: the server validates and stores objects, and creates no pods.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.chart.charts import Object
from tickwire.server.dev.local_stores import die_with_parent, free_port

PROGRAMS = ("etcd", "kube-apiserver")
START_S_MAX = 120.0
STOP_S_MAX = 30.0
TOKEN = "the-token-of-the-tests"
NAMESPACE = "game"


def find_assets() -> Path | None:
    """Return the folder of both programs, or None if the variable is not set.

    Raises:
        FileNotFoundError: the variable names a folder that lacks a program.
    """
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if not given:
        return None
    folder = Path(given)
    missing = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
    if missing:
        raise FileNotFoundError(f"KUBEBUILDER_ASSETS: {folder} lacks {', '.join(missing)}")
    return folder


class ApiServer:
    """A client of the running server.

    Args:
        port: its port on 127.0.0.1.
        certificate: its certificate, which it has made for itself.
    """

    def __init__(self, port: int, certificate: Path) -> None:
        self._port = port
        self._certificate = certificate

    def request(self, method: str, path: str, body: Object | None = None) -> tuple[int, Object]:
        """Send a request; return the status code and the decoded response."""
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        context = ssl.create_default_context(cafile=str(self._certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=context, timeout=30)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        found = json.loads(text) if text.startswith(b"{") else {"message": text.decode()}
        return response.status, found

    @cached_property
    def version(self) -> str:
        """The version of Kubernetes, such as "1.36"."""
        _, found = self.request("GET", "/version")
        return f"{found['major']}.{found['minor'].rstrip('+')}"

    @cached_property
    def _plurals(self) -> dict[tuple[str, str], str]:
        """The path of each kind below its namespace, by version and kind."""
        _, groups = self.request("GET", "/apis")
        versions = ["v1", *(one["groupVersion"] for group in groups["groups"] for one in group["versions"])]
        plurals = {}
        for version in versions:
            _, found = self.request("GET", _root_of(version))
            for resource in found["resources"]:
                if "/" not in resource["name"]:
                    plurals[version, resource["kind"]] = resource["name"]
        return plurals

    def path_of(self, one: Object, namespace: str = NAMESPACE) -> str:
        """Return the path of an object's kind in a namespace."""
        version = one["apiVersion"]
        return f"{_root_of(version)}/namespaces/{namespace}/{self._plurals[version, one['kind']]}"

    def create(self, one: Object, namespace: str = NAMESPACE) -> tuple[int, str]:
        """Create an object with strict validation, as Helm 3 does; return the status code and the reason."""
        status, found = self.request("POST", f"{self.path_of(one, namespace)}?fieldValidation=Strict", one)
        return status, str(found.get("message", ""))

    def apply(self, one: Object, namespace: str = NAMESPACE) -> tuple[int, str]:
        """Apply an object on the server's side with strict validation, as Helm 4 does; return as `create` does."""
        options = "fieldManager=helm&fieldValidation=Strict"
        path = f"{self.path_of(one, namespace)}/{one['metadata']['name']}?{options}"
        status, found = self.request("PATCH", path, one)
        return status, str(found.get("message", ""))

    def get(self, one: Object, namespace: str = NAMESPACE) -> Object:
        """Return the stored object of that kind and name."""
        status, found = self.request("GET", f"{self.path_of(one, namespace)}/{one['metadata']['name']}")
        if status != http.client.OK:
            raise LookupError(found.get("message"))
        return found

    def create_cluster_object(self, one: Object) -> tuple[int, str]:
        """Create an object that is in no namespace; return as `create` does."""
        version = one["apiVersion"]
        path = f"{_root_of(version)}/{self._plurals[version, one['kind']]}?fieldValidation=Strict"
        status, found = self.request("POST", path, one)
        return status, str(found.get("message", ""))

    def create_namespace(self, name: str) -> None:
        """Create a namespace that enforces the pod security standard "restricted"."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        status, reason = self.create_cluster_object(body)
        if status != http.client.CREATED:
            raise RuntimeError(reason)


def _root_of(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


@contextmanager
def running(assets: Path, folder: Path) -> Iterator[ApiServer]:
    """Run both programs with their data in `folder`, and stop them at the end of the block."""
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    certificates = folder / "certificates"
    certificates.mkdir()
    (folder / "tokens.csv").write_text(f'{TOKEN},helm,1,"system:masters"\n')
    key = _create_key(folder / "service-accounts.pem")
    etcd = [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
        f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
    ]
    server = [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # it would publish that address, which no endpoint may have
        f"--secure-port={port}",
        f"--cert-dir={certificates}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--service-account-issuer=https://localhost",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--disable-admission-plugins=ServiceAccount",  # a controller that does not run creates the accounts
    ]
    with _process(assets / "etcd", etcd, folder), _process(assets / "kube-apiserver", server, folder) as process:
        found = ApiServer(port, certificates / "apiserver.crt")
        _wait_ready(found, process, folder / "kube-apiserver.log")
        found.create_namespace(NAMESPACE)
        yield found


@contextmanager
def _process(program: Path, arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{program.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(server: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            if server.request("GET", "/readyz")[0] == 200:
                return
        except OSError:  # it does not listen yet, or has no certificate yet
            pass
        time.sleep(0.2)
    raise RuntimeError(f"kube-apiserver did not start:\n{log.read_text()[-3000:]}")


def _create_key(file: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(*pem))
    return file
