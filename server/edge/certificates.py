"""The server's TLS certificate and key, reloaded without a restart.

A server listens with `.context`, which never changes. Each loaded pair of files has a TLS context of its own, and
`.context` passes every new handshake to the context of the newest pair; connections keep the one they started with.
So a pair that cannot be loaded changes nothing, and no part of an older pair remains in use. A single context could
not do this: when it loads a second pair with another key type (RSA, ECDSA), it keeps the first and may still use it.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import structlog
from cryptography import x509

from tickwire.server.errors import ConfigError

log = structlog.get_logger(__name__)

ALPN = ["http/1.1"]  # a WebSocket begins as an HTTP/1.1 request

_Stamp = tuple[int, int, int] | None


class TlsCertificate:
    """A certificate, its key, and their TLS context.

    Args:
        certificate, key: paths of PEM files, which may be links; the key must not have a passphrase.
        section: the section of the settings that names them, for errors.

    Raises:
        ConfigError: they cannot be loaded.

    Attributes:
        context: the context of the server; new connections use the pair that was loaded last.
        expires_at_s: when the certificate expires, UTC, seconds since 1970; None if it cannot be read.
        reloads: the number of pairs loaded after the first.
        failures: the number of file changes that could not be loaded.
    """

    def __init__(
        self, certificate: str | os.PathLike[str], key: str | os.PathLike[str], *, section: str = "listen"
    ) -> None:
        self._certificate = Path(certificate)
        self._key = Path(key)
        self.reloads = 0
        self.failures = 0
        self._stamps = self._read_stamps()
        try:
            self.context, self.expires_at_s = self._load()
        except OSError as error:
            raise ConfigError(
                f"{section}.certificate: {self._certificate} with the key {self._key} cannot be used: {error}"
            ) from error
        self._newest = self.context
        self.context.sni_callback = self._select_newest

    def reload_if_changed(self) -> bool:
        """Load the pair if its files have changed since the last attempt.

        Reads a few small files at most. A pair that cannot be used is logged, and ignored until it changes again.

        Returns:
            Whether new connections use a new pair.
        """
        stamps = self._read_stamps()
        if stamps == self._stamps:
            return False
        # The stamps are taken before the files are read, so that a write during the read counts as another change.
        self._stamps = stamps
        try:
            self._newest, self.expires_at_s = self._load()
        except OSError as error:
            self.failures += 1
            log.error("certificate_reload_failed", certificate=str(self._certificate), error=str(error))
            return False
        self.reloads += 1
        log.info("certificate_reloaded", certificate=str(self._certificate), expires_at_s=self.expires_at_s)
        return True

    def _select_newest(self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Select the newest context; OpenSSL calls this in every handshake, also without a server name."""
        handshake.context = self._newest

    def _load(self) -> tuple[ssl.SSLContext, float | None]:
        """Return the pair's context and the certificate's expiry.

        Raises:
            OSError: a file cannot be read or used; ssl.SSLError is an OSError.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(ALPN)
        expires_at_s = _expires_at_s(self._certificate.read_bytes())
        # Without a password OpenSSL would prompt at the terminal for an encrypted key, and block the loop.
        context.load_cert_chain(self._certificate, self._key, password="")
        return context, expires_at_s

    def _read_stamps(self) -> tuple[_Stamp, _Stamp]:
        return _stamp(self._certificate), _stamp(self._key)


def _stamp(path: Path) -> _Stamp:
    """Return values that change with the contents of a file, or None if it cannot be read.

    They belong to the file and not to a link: Kubernetes replaces a link in the middle of the path.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _expires_at_s(pem: bytes) -> float | None:
    """Return the expiry of the first certificate, which is the server's own, or None if it cannot be read.

    OpenSSL decides whether the certificate is usable, so nothing is raised here.
    """
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except ValueError:
        return None
