"""The server's certificate and key, and how they are renewed without a restart.

`.context` is what a server listens with, always the same one. Each pair of files gets a context of its own, and
`.context` hands every new handshake to that of the pair loaded last; connections keep the one they began with.
So a pair that cannot be loaded touches nothing, and nothing of an older pair is left behind: one context that
loads a second pair keeps the first as well if its key is of another type (RSA, ECDSA), and may go on showing it.
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
    """A certificate, its key, and the TLS context made of them.

    Args:
        certificate, key: paths of PEM files, which may be links; the key has no passphrase.

    Raises:
        ConfigError: they cannot be loaded.

    Attributes:
        context: for a server; new connections get the pair that was loaded last.
        expires_at_s: the end of the certificate's time, UTC seconds since 1970; None if it cannot be told.
        reloads: pairs loaded since the first.
        failures: changes of the files that could not be loaded.
    """

    def __init__(self, certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> None:
        self._certificate = Path(certificate)
        self._key = Path(key)
        self.reloads = 0
        self.failures = 0
        self._stamps = self._looked_at()
        try:
            self.context, self.expires_at_s = self._loaded()
        except OSError as error:
            raise ConfigError(
                f"listen.certificate: {self._certificate} with the key {self._key} cannot be used: {error}"
            ) from error
        self._newest = self.context
        self.context.sni_callback = self._hand_over

    def reload_if_changed(self) -> bool:
        """Loads the pair if its files have changed since they were last tried; whether new connections get it.

        Reads a few small files at most. A pair that cannot be used is logged and left alone until it changes again.
        """
        stamps = self._looked_at()
        if stamps == self._stamps:
            return False
        # Remembered as they were before they were read: what is written meanwhile is then a change of its own.
        self._stamps = stamps
        try:
            self._newest, self.expires_at_s = self._loaded()
        except OSError as error:
            self.failures += 1
            log.error("certificate_not_reloaded", certificate=str(self._certificate), error=str(error))
            return False
        self.reloads += 1
        log.info("certificate_reloaded", certificate=str(self._certificate), expires_at_s=self.expires_at_s)
        return True

    def _hand_over(self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Called in every handshake, also when the client names no server."""
        handshake.context = self._newest

    def _loaded(self) -> tuple[ssl.SSLContext, float | None]:
        """The pair's context and the certificate's end. Raises OSError, of which ssl.SSLError is one."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(ALPN)
        expires_at_s = _expires_at_s(self._certificate.read_bytes())
        # With no password given, an encrypted key would make OpenSSL ask at the terminal, and the loop wait for it.
        context.load_cert_chain(self._certificate, self._key, password="")
        return context, expires_at_s

    def _looked_at(self) -> tuple[_Stamp, _Stamp]:
        return _stamp(self._certificate), _stamp(self._key)


def _stamp(path: Path) -> _Stamp:
    """What changes with a file's contents. Of the file itself: Kubernetes swaps a link in the middle of the path."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _expires_at_s(pem: bytes) -> float | None:
    """Of the first certificate, which is the server's own. OpenSSL decides what can be used, so nothing is raised."""
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except ValueError:
        return None
