"""The security headers of the pages that a browser may show: the console, and the demo in development.

They forbid inline scripts, scripts of other sites, framing, and guessing the type of a file.
https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP
"""

from __future__ import annotations

_POLICY = (
    "default-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
    "require-trusted-types-for 'script'",
)


def security_headers(*, connect: str = "'self'") -> dict[str, str]:
    """Return the headers.

    Args:
        connect: the addresses that scripts may connect to: `connect-src` of the Content-Security-Policy.
    """
    return {
        "Content-Security-Policy": "; ".join((*_POLICY, f"connect-src {connect}")),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
