"""The headers of every answer that a browser may show: the console, and the demo's pages in development.

Nothing inline and nothing from elsewhere runs, nobody frames the pages, and the type of a file is what is said.
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
        connect: where scripts may connect to, as `connect-src` of a Content-Security-Policy has it.
    """
    return {
        "Content-Security-Policy": "; ".join((*_POLICY, f"connect-src {connect}")),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
