"""Removes passwords and tokens from texts before they are recorded."""

import re

HIDDEN = "***"
# user:password@ or token@ of a URL (RFC 3986, section 3.2.1).
_URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
# name=value or name: value, where the name says that the value is a secret; the value ends at white space or a quote.
_NAMED = re.compile(
    r"((?:password|passwd|secret|token|api_?key|access_?key|credential)[A-Za-z0-9_-]*['\"]?\s*[=:]\s*['\"]?)"
    r"[^\s'\",;]+",
    re.IGNORECASE,
)
# Tokens with a known prefix: of Hugging Face, GitHub, AWS and OpenAI.
_KNOWN_FORMS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|sk-[A-Za-z0-9_-]{20,})\b"
)


def scrub(text: str) -> str:
    """Replaces what looks like a secret by `***`: credentials in URLs, values named as secrets, known tokens.

    Example:
        >>> scrub("git clone https://me:pass@host/x --token=abc")
        'git clone https://***@host/x --token=***'
    """
    text = _URL_CREDENTIALS.sub(HIDDEN, text)
    text = _NAMED.sub(rf"\g<1>{HIDDEN}", text)
    return _KNOWN_FORMS.sub(HIDDEN, text)


def holds_credentials(url: str) -> bool:
    """Returns whether a URL has a user, a password or a token in front of its host."""
    return _URL_CREDENTIALS.search(url) is not None
