"""Content-Type of request bodies: parameters are ignored, and only a charset other than UTF-8 gets 415."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.api import TASKS, Api, path_of, problem_of
from tests.support.raw_http import exchange, statuses
from todo_service.http.media_types import MEDIA_TYPES, media_type_error

pytestmark = pytest.mark.database

ACCEPTED = [
    *(f"application/json; charset={name}" for name in ("utf-8", "UTF-8", "utf8", "UTF8", "Utf_8", "csUTF8")),
    *(f"application/json; charset={name}" for name in ("unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8")),
    *(f"application/json; charset={name}" for name in ("x-unicode20utf8", "us-ascii", "US-ASCII", "ascii")),
    *(f"application/json; charset={name}" for name in ("ANSI_X3.4-1968", "iso646-us", "csASCII", "cp367")),
    'application/json; charset="utf-8"',
    'application/json; charset="UTF8"',
    r'application/json; charset="utf\-8"',
    "application/json; charset='utf-8'",
    'application/json; charset="utf-8',
    "application/json;charset=utf8",
    "application/json ;\tCharset =  utf8 ; ",
    "APPLICATION/JSON; CHARSET=UTF-8",
    "application/json; charset=",
    'application/json; charset=""',
    "application/json; charset",
    "application/json;",
    "application/json;;",
    "application/json; =; ==",
    "application/json; version=1",
    "application/json; odata.metadata=none; IEEE754Compatible=true",
    'application/json; profile="https://example.com/a;b?charset=utf-16"',
    r'application/json; profile="\"; charset=utf-16"; charset=utf-8',
    "application/json; charset=utf-8; charset=utf8",
    "application/json; charset*=utf-8''utf-8",
    "application/json; é=\u00ff",
]

# The Content-Type, and the charset that the problem names.
REFUSED = [
    *((f"application/json; charset={name}", name) for name in ("iso-8859-1", "latin1", "UTF-16", "utf-16le")),
    *((f"application/json; charset={name}", name) for name in ("windows-1252", "Shift_JIS", "utf-7", "x" * 40)),
    ('application/json; charset="utf-32"', "utf-32"),
    ("application/json; version=1 ; charset = UTF-16 ", "UTF-16"),
    ("application/json; charset=utf-8; charset=iso-8859-1", "iso-8859-1"),
    ("application/json; charset=iso-8859-1; charset=utf-8", "iso-8859-1"),
    ("application/json; charset=utf-8, application/json", "another charset"),
    (f"application/json; charset={'x' * 41}", "another charset"),
    (f"application/json; charset={'x' * 20_000}", "another charset"),
    ("application/json; charset=<script>", "another charset"),
    ("application/json; charset=ütf-8", "another charset"),
    ("application/json; charset=\u00a0utf-8", "another charset"),
]

OTHER_TYPES = [
    *("text/plain; charset=utf-8", "text/json", "application/problem+json", "application/jsonp", "application/json/x"),
    *("application/json, application/json", "application/json charset=utf-8", "application /json", "; charset=utf-8"),
    *("*/*", "é/json", "charset=utf-8", '"application/json"'),
]


@pytest.mark.parametrize("content_type", ACCEPTED)
async def test_json_with_other_parameters_is_accepted(owner: Api, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = await owner.call("POST", TASKS, data='{"title": "Grüße"}'.encode(), headers=headers)
    assert response.status == 201
    task = await response.json()
    assert task["title"] == "Grüße"
    headers["Content-Type"] = content_type.lower().replace("application/json", MEDIA_TYPES[1])
    response = await owner.call("PATCH", path_of(task), data=b'{"title": "y"}', headers=headers)
    assert response.status == 200


@pytest.mark.parametrize(("content_type", "charset"), REFUSED, ids=range(len(REFUSED)))
async def test_a_charset_other_than_utf_8_is_named_and_gets_415(owner: Api, content_type: str, charset: str) -> None:
    for type_ in (content_type, content_type.replace("application/json", MEDIA_TYPES[1], 1)):
        response = await owner.call("POST", TASKS, data=b'{"title": "x"}', headers={"Content-Type": type_})
        document = await problem_of(response, 415, "unsupported-media-type")
        assert document["detail"] == (
            f"The request body must be in UTF-8, not in {charset}: send `Content-Type: application/json`."
        )
    assert await owner.tasks() == []


@pytest.mark.parametrize("content_type", OTHER_TYPES)
async def test_another_media_type_gets_415(owner: Api, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = await owner.call("POST", TASKS, data=b'{"title": "x"}', headers=headers)
    document = await problem_of(response, 415, "unsupported-media-type")
    assert document["detail"] == "The request body must be application/json in UTF-8."


async def test_a_body_that_is_not_utf_8_gets_400_with_any_charset(owner: Api) -> None:
    for charset in ("utf8", "us-ascii"):
        headers = {"Content-Type": f"application/json; charset={charset}"}
        response = await owner.call("POST", TASKS, data='{"title": "é"}'.encode("latin-1"), headers=headers)
        await problem_of(response, 400, "malformed-json")


async def test_a_repeated_content_type_gets_400(owner: Api) -> None:
    lines = [
        f"POST {TASKS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {owner.token}\r\nContent-Length: 14",
        "Content-Type: application/json\r\nContent-Type: application/json; charset=utf-16",
    ]
    octets = "\r\n".join([*lines, "", '{"title": "x"}']).encode()
    assert statuses(await exchange(owner.client, octets)) == [400]
    assert await owner.tasks() == []


@given(st.text(st.characters(exclude_categories=())))  # octets that are not UTF-8 become surrogates
def test_any_parameters_are_ignored_or_refused_with_a_short_message(parameters: str) -> None:
    error = media_type_error(f"application/json;{parameters}")
    assert error is None or len(error) < 150
    assert media_type_error(f"application/json;charset=utf-16;{parameters}") is not None
