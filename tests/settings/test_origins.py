"""CORS_ORIGINS: origins as browsers send them are accepted, and other texts are refused with the form to write."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.settings import Read, errors_of
from todo_service.settings.origins import canonical_origin

SENT_BY_BROWSERS = [
    "https://app.example.com",
    "http://localhost:3000",
    "https://localhost",
    "https://my_app.example",
    "https://xn--mller-kva.example",
    "https://app.example.com.",
    "https://a-b.c--d.example:8443",
    "http://127.0.0.1:8000",
    "http://[::1]:3000",
    "https://[2001:db8::1]",
    "http://app.example.com:443",
    "https://app.example.com:80",
    "https://app.example.com:65535",
    "http://tauri.localhost",
    "tauri://localhost",
    "capacitor://localhost",
    "capacitor-electron://-",
    "ionic://localhost",
    "app://.",
    "app://obsidian.md",
    "app://localhost:8080",
    "wails://wails.localhost:34115",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://6f1a2c0e-5b1e-4b7e-9d9b-0f6e4c1d2a3b",
    "safari-web-extension://8AB55D21-6F2C-4A52-9B8B-3E1C4A1F7D10",
    "vscode-webview://0q9d0n2gk6p4c7v1",
    "ms-appx-web://A.B_1234",
    "file://",
    "qrc://",
]

# Texts, each with the origin that a browser sends instead.
OTHERWISE_WRITTEN = {
    "https://app.example.com:443": "https://app.example.com",
    "http://app.example.com:80": "http://app.example.com",
    "http://[::1]:80": "http://[::1]",
    "https://app.example.com:0443": "https://app.example.com",
    "https://app.example.com:": "https://app.example.com",
    "https://app.example.com:08443": "https://app.example.com:8443",
    "https://app.example.com/": "https://app.example.com",
    "https://app.example.com/path/": "https://app.example.com",
    "https://app.example.com?a=b": "https://app.example.com",
    "https://app.example.com#top": "https://app.example.com",
    "https://user:password@app.example.com": "https://app.example.com",
    "https://App.Example.com": "https://app.example.com",
    "HTTPS://app.example.com": "https://app.example.com",
    "https://müller.example": "https://xn--mller-kva.example",
    "https://MÜLLER.example:443/": "https://xn--mller-kva.example",
    "https://faß.example": "https://xn--fa-hia.example",
    "https://💩.example": "https://xn--ls8h.example",
    "https://a。example": "https://a.example",
    "http://[0:0:0:0:0:0:0:1]:3000": "http://[::1]:3000",
    "https://[2001:DB8::0:1]": "https://[2001:db8::1]",
    "TAURI://localhost": "tauri://localhost",
    "tauri://localhost/": "tauri://localhost",
    "chrome-extension://abc/popup.html": "chrome-extension://abc",
    "file:///": "file://",
    "file:///android_asset/www/index.html": "file://",
    "app.example.com": "https://app.example.com",
    "App.example.com:443/": "https://app.example.com",
    "localhost:3000": "http://localhost:3000",
    "127.0.0.1:8000": "http://127.0.0.1:8000",
    "[::1]:3000": "http://[::1]:3000",
}

WITHOUT_AN_ORIGIN = [
    "http://127.1:3000",
    "http://2130706433",
    "http://0x7f.1",
    "http://192.168.001.001",
    "http://256.256.256.256",
    "http://1.2.3",
    "app",
    '"https://app.example.com"',
    "app://Müller",
    "https://",
    "https://:443",
    "https://app.example.com:65536",
    "https://app.example.com:port",
    "https://app.example.com:-1",
    "https://a.example https://b.example",
    "https://a.example;https://b.example",
    "https://app example.com",
    "https://app%2Fexample.com",
    "https://a\\b.example",
    "https://[app]@",
    "http://[::1",
    "http://[::1%25eth0]",
    "http://[::g]",
    "https://a\x1bb.example",
    "https://app.example.com/\x1b[31m",
    "https://\udcff.example",
    "https://{app}.example",
    "chrome-extension://{id}",
    "tauri://a b",
    "ftp://b.example",
    "wss://app.example.com",
    "data://x",
    "://app.example.com",
    "1app://localhost",
]


@pytest.mark.parametrize("origin", SENT_BY_BROWSERS)
def test_an_origin_that_a_browser_sends_is_accepted(read: Read, origin: str) -> None:
    assert read(CORS_ORIGINS=origin).cors_origins == (origin,)


@pytest.mark.parametrize(("text", "origin"), OTHERWISE_WRITTEN.items())
def test_an_origin_in_another_form_is_refused_with_the_form_to_write(read: Read, text: str, origin: str) -> None:
    [sentence] = errors_of(read, CORS_ORIGINS=text)
    assert sentence == f"CORS_ORIGINS must be origins as browsers send them: write {origin}, not {text!r}."
    assert read(CORS_ORIGINS=origin).cors_origins == (origin,)


@pytest.mark.parametrize("text", WITHOUT_AN_ORIGIN)
def test_a_text_without_an_origin_is_refused_with_an_example(read: Read, text: str) -> None:
    [sentence] = errors_of(read, CORS_ORIGINS=text)
    assert sentence.startswith("CORS_ORIGINS must be origins as browsers send them, like https://app.example.com: ")
    assert sentence.endswith(f"separated by commas, not {text!r}.")


@pytest.mark.parametrize(
    "text", ["*", "https://*", "https://*.example.com", "chrome-extension://*", "http://localhost:*"]
)
def test_a_wildcard_is_refused(read: Read, text: str) -> None:
    [sentence] = errors_of(read, CORS_ORIGINS=text)
    assert sentence == (
        f"CORS_ORIGINS must be single origins like https://app.example.com, without wildcards, not {text!r}."
    )


@pytest.mark.parametrize("text", ["null", "NULL"])
def test_null_is_refused_because_any_page_can_send_it(read: Read, text: str) -> None:
    [sentence] = errors_of(read, CORS_ORIGINS=text)
    assert f"not {text!r}: pages of any site can send it" in sentence


def test_each_wrong_origin_has_its_own_sentence(read: Read) -> None:
    sentences = errors_of(read, CORS_ORIGINS="https://a.example, https://B.example,tauri://localhost,c.example,*")
    assert [sentence.split()[-1] for sentence in sentences] == ["'https://B.example'.", "'c.example'.", "'*'."]


@given(st.text(alphabet="htps:/.@[]%:0123456789aZü_-*", max_size=30))
@example("http://[]")
@example("http://0x")
@example("http://%")
def test_a_canonical_origin_is_its_own_canonical_origin(text: str) -> None:
    try:
        origin = canonical_origin(text)
    except ValueError:
        return
    assert canonical_origin(origin) == origin
