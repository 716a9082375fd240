"""New connections receive a renewed certificate, on a real loopback TLS server; an invalid one is not used."""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from tickwire.server.edge.certificates import TlsCertificate
from tickwire.server.errors import ConfigError

EXPIRES = datetime(2101, 2, 3, 4, 5, 6, tzinfo=UTC)
_modified_s = itertools.count(1_700_000_000)


@dataclass
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes
    serial: int


def pair(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    *,
    encryption: KeySerializationEncryption | None = None,
    expires: datetime = EXPIRES,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(expires)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()),
        certificate.serial_number,
    )


def write(path: Path, data: bytes) -> None:
    """In place. Its time is counted up: two writes of a test may happen within one tick of the file system."""
    path.write_bytes(data)
    modified_s = next(_modified_s)
    os.utime(path, (modified_s, modified_s))


class Files:
    """The files tls.crt and tls.key in a folder, and the certificates written to them."""

    def __init__(self, folder: Path, first: Pair) -> None:
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.write(first)

    def write(self, new: Pair) -> None:
        write(self.certificate, new.certificate)
        write(self.key, new.key)

    def loaded(self) -> TlsCertificate:
        return TlsCertificate(str(self.certificate), self.key)


# -- a server and its clients ------------------------------------------------------------------------------------

Run = Callable[[Coroutine[None, None, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each kind of loop."""

    def running(work: Coroutine[None, None, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(work, 20))

    return running


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Run a TLS server that echoes every byte, and yield its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class CertificateClient:
    """One connection, that trusts any certificate and remembers which it saw."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.handshake: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = self.handshake.getpeercert(binary_form=True)
        assert certificate is not None
        self.serial = x509.load_der_x509_certificate(certificate).serial_number

    async def echoes(self, data: bytes) -> bool:
        self._writer.write(data)
        return await self._reader.readexactly(len(data)) == data

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@asynccontextmanager
async def connected(
    port: int, *, name: str = "localhost", version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[CertificateClient]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = CertificateClient(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name))
    try:
        yield client
    finally:
        await client.close()


async def serial_shown(port: int) -> int:
    async with connected(port) as client:
        assert await client.echoes(b"hello")
        return client.serial


# -- the first pair ----------------------------------------------------------------------------------------------


def test_context_is_for_a_server_with_modern_settings(tmp_path: Path) -> None:
    context = Files(tmp_path, pair()).loaded().context
    assert context.protocol is ssl.PROTOCOL_TLS_SERVER
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert not context.options & ssl.OP_NO_TICKET
    assert context.verify_mode is ssl.CERT_NONE  # players have no certificates


def test_expiry_of_the_certificate_is_reported(tmp_path: Path) -> None:
    assert Files(tmp_path, pair()).loaded().expires_at_s == EXPIRES.timestamp()


def test_expiry_is_that_of_the_first_certificate_in_a_chain(tmp_path: Path) -> None:
    own, issuer = pair(), pair(expires=EXPIRES + timedelta(days=9))
    path = tmp_path / "all.pem"
    write(path, own.key + own.certificate + issuer.certificate)
    assert TlsCertificate(path, path).expires_at_s == EXPIRES.timestamp()


def _no_certificate(files: Files) -> None:
    files.certificate.unlink()


def _no_key(files: Files) -> None:
    files.key.unlink()


def _half_a_certificate(files: Files) -> None:
    write(files.certificate, files.certificate.read_bytes()[:200])


def _empty_key(files: Files) -> None:
    write(files.key, b"")


def _binary(files: Files) -> None:
    write(files.certificate, b"\xff\x00" * 500)


def _key_of_another(files: Files) -> None:
    write(files.key, pair().key)


def _encrypted_key(files: Files) -> None:
    files.write(pair(encryption=BestAvailableEncryption(b"secret")))


def _folder(files: Files) -> None:
    files.certificate.unlink()
    files.certificate.mkdir()


SPOILED = [
    _no_certificate,
    _no_key,
    _half_a_certificate,
    _empty_key,
    _binary,
    _key_of_another,
    _encrypted_key,
    _folder,
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_invalid_pair_at_start_is_a_config_error(tmp_path: Path, spoil: Callable[[Files], None]) -> None:
    files = Files(tmp_path, pair())
    spoil(files)
    with pytest.raises(ConfigError, match=r"^listen\.certificate: .*tls\.crt.* cannot be used: .+"):
        files.loaded()


# -- the next ones -----------------------------------------------------------------------------------------------


def test_new_connections_use_a_new_pair_and_old_ones_continue(tmp_path: Path, run: Run) -> None:
    first, second = pair(), pair(expires=EXPIRES + timedelta(days=90))
    files = Files(tmp_path, first)
    certificates = files.loaded()

    async def work() -> None:
        async with serving(certificates.context) as port, connected(port) as old:
            assert await old.echoes(b"before")
            files.write(second)
            assert await serial_shown(port) == first.serial  # the files have not been checked yet
            assert certificates.reload_if_changed()
            assert await old.echoes(b"after" * 10_000)
            assert await serial_shown(port) == second.serial
            assert await old.echoes(b"still")
            assert old.serial == first.serial

    run(work())
    assert (certificates.reloads, certificates.failures) == (1, 0)
    assert certificates.expires_at_s == (EXPIRES + timedelta(days=90)).timestamp()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])  # for an address, clients send no server name
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_reload_keeps_the_settings_of_connections(
    tmp_path: Path, run: Run, version: ssl.TLSVersion, name: str
) -> None:
    first, second = pair(), pair()
    files = Files(tmp_path, first)
    certificates = files.loaded()

    async def work() -> None:
        async with serving(certificates.context) as port:
            for expected in (first, second):
                async with connected(port, name=name, version=version) as client:
                    assert await client.echoes(b"hello")
                    assert client.serial == expected.serial
                    assert client.handshake.selected_alpn_protocol() == "http/1.1"
                    assert client.handshake.compression() is None
                files.write(second)
                certificates.reload_if_changed()

    run(work())


def test_key_of_another_type_replaces_the_old_pair_completely(tmp_path: Path, run: Run) -> None:
    """A context that loads an RSA pair after an ECDSA one keeps both, and prefers the old one for most clients."""
    pairs = [pair(), pair(rsa.generate_private_key(65537, 2048)), pair()]
    files = Files(tmp_path, pairs[0])
    certificates = files.loaded()

    async def work() -> None:
        async with serving(certificates.context) as port:
            for new in pairs[1:]:
                files.write(new)
                assert certificates.reload_if_changed()
                assert await serial_shown(port) == new.serial

    run(work())


def test_unchanged_files_are_not_loaded_again(tmp_path: Path) -> None:
    certificates = Files(tmp_path, pair()).loaded()
    assert not certificates.reload_if_changed()
    assert (certificates.reloads, certificates.failures) == (0, 0)


@pytest.mark.parametrize("spoil", SPOILED)
def test_invalid_pair_changes_nothing_and_is_tried_once(
    tmp_path: Path, run: Run, spoil: Callable[[Files], None]
) -> None:
    first, second = pair(), pair()
    files = Files(tmp_path, first)
    certificates = files.loaded()

    async def work() -> None:
        async with serving(certificates.context) as port, connected(port) as old:
            spoil(files)
            with capture_logs() as logs:
                assert not certificates.reload_if_changed()
                assert not certificates.reload_if_changed()
            assert [entry["event"] for entry in logs] == ["certificate_reload_failed"]
            assert (certificates.reloads, certificates.failures) == (0, 1)
            assert certificates.expires_at_s == EXPIRES.timestamp()
            assert await old.echoes(b"still")
            assert await serial_shown(port) == first.serial
            if files.certificate.is_dir():
                files.certificate.rmdir()
            files.write(second)
            assert certificates.reload_if_changed()
            assert await serial_shown(port) == second.serial
            assert (certificates.reloads, certificates.failures) == (1, 1)

    run(work())


def test_pair_written_file_by_file_is_used_once_it_is_complete(tmp_path: Path, run: Run) -> None:
    first, second = pair(), pair()
    files = Files(tmp_path, first)
    certificates = files.loaded()

    async def work() -> None:
        async with serving(certificates.context) as port:
            write(files.certificate, second.certificate)
            assert not certificates.reload_if_changed()
            assert await serial_shown(port) == first.serial
            write(files.key, second.key)
            assert certificates.reload_if_changed()
            assert await serial_shown(port) == second.serial

    run(work())


def test_write_during_a_reload_is_loaded_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path, pair())
    certificates = files.loaded()
    files.write(pair())
    third, read = pair(), certificates._load

    def read_slowly() -> tuple[ssl.SSLContext, float | None]:
        result = read()
        files.write(third)
        return result

    monkeypatch.setattr(certificates, "_load", read_slowly)
    assert certificates.reload_if_changed()
    monkeypatch.undo()
    assert certificates.reload_if_changed()
    assert not certificates.reload_if_changed()


def test_replaced_link_in_the_path_is_a_change(tmp_path: Path, run: Run) -> None:
    """As the kubelet does it: tls.crt -> ..data/tls.crt, ..data -> ..2030_01_01, and ..data is replaced at once."""
    first, second = pair(), pair()
    versions = [tmp_path / "..2030_01_01", tmp_path / "..2030_01_02"]
    for folder, content in zip(versions, (first, second), strict=True):
        folder.mkdir()
        Files(folder, content)
    (tmp_path / "..data").symlink_to(versions[0].name)
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    certificates = TlsCertificate(tmp_path / "tls.crt", tmp_path / "tls.key")

    async def work() -> None:
        async with serving(certificates.context) as port:
            assert await serial_shown(port) == first.serial
            (tmp_path / "..data_tmp").symlink_to(versions[1].name)
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")
            assert certificates.reload_if_changed()
            assert await serial_shown(port) == second.serial
            assert not certificates.reload_if_changed()

    run(work())
