"""The corpus against h11: what one of the two takes for requests, the other must take for the same requests.

h11 is strict, too, but another reading of the same RFCs. Where they differ, the reason stands in a table below, one
line a case; a difference that is not in the table fails, and so does a line whose difference is gone.
"""

import pytest

from tests.corpus_reader import cases
from tests.readings import ours, theirs

CHOICE = "RFC 9112 section 6.3 lets a server choose, and ours refuses: "
BOTH = CHOICE + "h11 lets Transfer-Encoding win over Content-Length"
HOST = "RFC 9112 section 3.2: an invalid Host is a 400; h11 leaves it to the application: "
TARGET = "h11 leaves the target's form to the application; "
EXTENSION = "h11 takes any bytes for an extension; RFC 9112 section 7.1.1 has a grammar: "
TRAILER = "h11 hands all trailers to the application; "
STRICTER = {
    "chunk-end-lf-last": "h11 takes bare LFs for line ends (RFC 9112 section 2.2 allows it); ours does not",
    "chunk-ext-after-quote": EXTENSION + "nothing behind a quoted value",
    "chunk-ext-cr": "h11 takes any bytes for an extension; a bare CR in it ends the line for other readers",
    "chunk-ext-long": "RFC 9112 section 7.1.1 asks for a bound; that of h11 is its whole buffer",
    "chunk-ext-no-value": EXTENSION + "= has a value",
    "chunk-ext-empty": EXTENSION + "a name behind the semicolon",
    "chunk-ext-nul": "h11 takes any bytes for an extension; RFC 9112 section 7.1.1 has no NUL there",
    "chunk-ext-odd-name": EXTENSION + "a name is one token",
    "chunk-ext-open-quote": EXTENSION + "a quote is closed",
    "chunk-ext-two-semicolons": EXTENSION + "a name between two semicolons",
    "chunk-size-blank-after": "h11 forgives blanks behind a size on purpose; RFC 9112 section 7.1 has none",
    "chunk-size-tab": "h11 forgives tabs behind a size on purpose; RFC 9112 section 7.1 has none",
    "chunk-trailer-auth": TRAILER + "RFC 9110 section 6.5.1 forbids fields of rights there",
    "chunk-trailer-cookie": TRAILER + "RFC 9110 section 6.5.1 forbids fields of rights there",
    "chunk-trailer-folded": "h11 unfolds folded lines (RFC 9112 section 5.2 lets a server choose); ours refuses them",
    "chunk-trailer-host": TRAILER + "RFC 9110 section 6.5.1 forbids fields of routing there",
    "chunk-trailer-length": TRAILER + "RFC 9110 section 6.5.1 forbids fields of framing there",
    "chunk-trailer-long": "h11 bounds trailers by its buffer alone; ours has a bound of its own",
    "chunk-trailer-te": TRAILER + "RFC 9110 section 6.5.1 forbids fields of framing there",
    "expect-other": "RFC 9110 section 10.1.1 allows a 417 for an unknown expectation; h11 passes it on",
    "expect-twice": "two Expect fields: h11 finds its 100-continue in the second one and goes on",
    "header-folded": "h11 unfolds folded lines (RFC 9112 section 5.2 lets a server choose); ours refuses them",
    "header-folded-blank-line": "h11 unfolds a line of one blank, as any folded line",
    "header-folded-tab": "h11 unfolds folded lines (RFC 9112 section 5.2 lets a server choose); ours refuses them",
    "header-lf-end": "h11 takes bare LFs for line ends (RFC 9112 section 2.2 allows it); ours does not",
    "header-too-large": "h11 bounds only heads that are incomplete; this one came whole",
    "header-too-many": "h11 does not count fields",
    "header-value-bell": "h11 takes control characters in values; RFC 9110 section 5.5 has none",
    "header-value-del": "h11 takes DEL in values; RFC 9110 section 5.5 has none",
    "header-value-esc": "h11 takes control characters in values; RFC 9110 section 5.5 has none",
    "host-odd-angle": HOST + "with <>",
    "host-odd-at": HOST + "with user information",
    "host-odd-backslash": HOST + "with a backslash",
    "host-odd-blank": HOST + "two words",
    "host-odd-brackets-name": HOST + "a name in brackets",
    "host-odd-comma": HOST + "a list",
    "host-odd-hash": HOST + "with a fragment",
    "host-odd-high": HOST + "not ASCII",
    "host-odd-open-bracket": HOST + "an open bracket",
    "host-odd-port-letters": HOST + "a port of letters",
    "host-odd-question": HOST + "with a query",
    "host-odd-quote": HOST + "in quotes",
    "host-odd-slash": HOST + "with a path",
    "host-odd-two-ports": HOST + "two ports",
    "length-comma": CHOICE + "h11 takes a list of equal lengths for one",
    "length-comma-blank": CHOICE + "h11 takes a list of equal lengths for one",
    "length-twice-same": CHOICE + "h11 takes two equal lengths for one",
    "line-lf-first": "h11 takes bare LFs for line ends (RFC 9112 section 2.2 allows it); ours does not",
    "line-lf-only": "h11 takes bare LFs for line ends (RFC 9112 section 2.2 allows it); ours does not",
    "line-too-long": "h11 bounds only heads that are incomplete; this one came whole",
    "method-connect": "h11 leaves CONNECT to the application; a WSGI server is no proxy",
    "method-connect-path": "h11 leaves CONNECT to the application; a WSGI server is no proxy",
    "method-long": "h11 takes any token for a method; ours is bounded (501, RFC 9110 section 9.1)",
    "method-lower": "h11 takes any token for a method; methods are case-sensitive, ours have no small letters (501)",
    "method-mixed": "h11 takes any token for a method; methods are case-sensitive, ours have no small letters (501)",
    "target-authority": TARGET + "the authority form is for CONNECT (RFC 9112 section 3.2.3)",
    "target-backslash": TARGET + "a target begins with / or is a URL (RFC 9112 section 3.2)",
    "target-bad-authority": TARGET + "< is in no authority (RFC 3986 section 3.2)",
    "target-bad-port": TARGET + "a port is digits (RFC 3986 section 3.2.3)",
    "target-fragment": TARGET + "a fragment is never sent (RFC 9112 section 3.2)",
    "target-ftp": TARGET + "only http and https are served here",
    "target-http-empty": TARGET + "RFC 9110 section 4.2.1: an http URL has a host",
    "target-one-slash": TARGET + "RFC 9110 section 4.2.1: an http URL has an authority",
    "target-query-only": TARGET + "a target begins with / or is a URL (RFC 9112 section 3.2)",
    "target-relative": TARGET + "a target begins with / or is a URL (RFC 9112 section 3.2)",
    "target-scheme-only": TARGET + "RFC 9110 section 4.2.1: an http URL has an authority",
    "target-star-get": TARGET + "* is for OPTIONS (RFC 9112 section 3.2.4)",
    "target-star-more": TARGET + "* stands alone (RFC 9112 section 3.2.4)",
    "target-userinfo": TARGET + "RFC 9110 section 4.2.4: user information is an error",
    "te-1-0-and-length": "h11 honours chunks in HTTP/1.0; RFC 9112 section 6.1 treats them as faulty framing",
    "te-and-length": BOTH,
    "te-and-length-after": BOTH,
    "te-and-length-zero": BOTH,
    "te-in-1-0": "h11 honours chunks in HTTP/1.0; RFC 9112 section 6.1 treats them as faulty framing",
    "type-twice": "h11 hands both Content-Types to the application; in an environ there is room for one",
    "version-0-9": "h11 takes any version of the right form; only 1.0 and 1.1 are spoken here (505)",
    "version-1-2": "h11 takes any version of the right form; only 1.0 and 1.1 are spoken here (505)",
    "version-2-0": "h11 takes any version of the right form; only 1.0 and 1.1 are spoken here (505)",
    "version-3-0": "h11 takes any version of the right form; only 1.0 and 1.1 are spoken here (505)",
    "version-h2-preface": "h11 takes half of the preface for a request; ours refuses it whole",
}
"""Cases that we refuse and h11 takes, at least a part of it."""
MORE_LENIENT = {
    "empty-line-before": "RFC 9112 section 2.2 asks servers to forgive an empty line before a request; h11 does not",
    "pipeline-empty-line": "RFC 9112 section 2.2 asks servers to forgive an empty line before a request; h11 does not",
}
"""Cases that we take and h11 refuses."""


@pytest.mark.parametrize("case", cases("valid") + cases("invalid"), ids=lambda case: case.name)
def test_both_read_the_same(case):
    mine, other = ours(case.raw), theirs(case.raw)
    if case.name in STRICTER:
        assert mine.refused
        assert mine.requests == other.requests[: len(mine.requests)]
        assert mine != other, f"no difference any more, remove the line: {STRICTER[case.name]}"
    elif case.name in MORE_LENIENT:
        assert other.refused
        assert other.requests == mine.requests[: len(other.requests)]
        assert mine != other, f"no difference any more, remove the line: {MORE_LENIENT[case.name]}"
    else:
        assert mine == other


def test_the_tables_name_cases_that_exist():
    assert set(STRICTER) <= {case.name for case in cases("invalid")}
    assert set(MORE_LENIENT) <= {case.name for case in cases("valid")}
