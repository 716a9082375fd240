"""Identities of players: their keys, and the texts that devices and players choose. Pure.

An identity is a provider and a subject; its key `provider:subject` belongs to at most one account.

    device:3f0c...                 a client-made id; its secret is stored as SHA-256
    email:ann@x.example            the normalised address; its password is stored as argon2id
    oidc-NAME:SUB, steam:ID, apple:SUB
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from typing import Annotated

from msgspec import Meta

from tickwire.server.errors import InvalidArgument

DEVICE = "device"
EMAIL = "email"
PASSWORD_CHARACTERS_MIN, PASSWORD_CHARACTERS_MAX = 8, 128
SECRET_DISTINCT_MIN = 8
"""A secret of fewer different characters is not random: 32 random hexadecimal digits have 14 on average."""
_LOCAL_PART_MAX, _ADDRESS_MAX = 64, 254
"""RFC 5321, 4.5.3.1; 254 follows from the path of 256 with its brackets."""

DeviceId = Annotated[str, Meta(min_length=16, max_length=128, pattern=r"\A[0-9A-Za-z_.:-]{16,128}\Z")]
"""A random text that the client has made once and keeps."""
DeviceSecret = Annotated[str, Meta(min_length=32, max_length=256, pattern=r"\A[!-~]{32,256}\Z")]
EmailAddress = Annotated[str, Meta(min_length=3, max_length=320)]
Password = Annotated[str, Meta(min_length=1, max_length=512)]
"""Its real bounds apply to the normalised text: see `normalise_password`."""
Provider = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[a-z][0-9a-z_-]{0,63}\Z")]
Subject = Annotated[str, Meta(min_length=1, max_length=320)]


def identity_key(provider: str, subject: str) -> str:
    """Return the key of an identity. No provider contains a colon, so that keys are unambiguous."""
    return f"{provider}:{subject}"


def normalise_subject(provider: str, subject: str) -> str:
    """Return the subject as it is stored: e-mail addresses are normalised, all others are exact.

    Raises:
        InvalidArgument: it is not an e-mail address.
    """
    return normalise_email(subject) if provider == EMAIL else subject


def normalise_email(address: str) -> str:
    """Return an address in the form in which accounts are found: NFKC, without surrounding blanks, case-folded.

    The local part is case-folded, too. RFC 5321 permits servers to distinguish its case; none of the large ones does,
    and keyboards of telephones write the first letter as a capital.

    Raises:
        InvalidArgument: it is not an e-mail address.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", address).casefold()).strip()
    local, _, domain = text.rpartition("@")
    is_printable = text.isprintable() and " " not in text
    if not is_printable or not 1 <= len(local) <= _LOCAL_PART_MAX or len(text) > _ADDRESS_MAX or not domain:
        raise InvalidArgument("email: must be an e-mail address")
    if "@" in local or any(not label or len(label) > 63 for label in domain.split(".")):
        raise InvalidArgument("email: must be an e-mail address")
    return text


def normalise_password(password: str) -> bytes:
    """Return the bytes of a password that are hashed: UTF-8 of the NFKC form (NIST SP 800-63B, 5.1.1.2).

    Raises:
        InvalidArgument: it has fewer than 8 or more than 128 code points.
    """
    text = unicodedata.normalize("NFKC", password)
    if not PASSWORD_CHARACTERS_MIN <= len(text) <= PASSWORD_CHARACTERS_MAX:
        raise InvalidArgument(
            f"password: must have {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX} characters"
        )
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("password: must be valid Unicode text") from None


def digest_secret(secret: str) -> bytes:
    """Return the stored form of a device's secret.

    A plain SHA-256 suffices: the secret is random and long, so that no list of guesses contains it.

    Raises:
        InvalidArgument: it is not random.
    """
    if len(set(secret)) < SECRET_DISTINCT_MIN:
        raise InvalidArgument("secret: must be a random text")
    return hashlib.sha256(secret.encode()).digest()


def is_same_digest(one: bytes, other: bytes) -> bool:
    """Return whether two digests are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)
