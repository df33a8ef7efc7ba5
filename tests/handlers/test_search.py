"""Search: `q` is literal text. It ignores case and normal forms, but not accents."""

from unicodedata import normalize

import pytest

from tests.support.api import Api
from tests.support.list_pages import titles

pytestmark = pytest.mark.database


@pytest.mark.parametrize(
    ("stored", "searched"),
    [
        ("CRÈME brûlée", "crème BRÛLÉE"),
        ("Ждать", "жДА"),
        ("ΑΣΑ", "ασ"),
        ("100 % sure", "0 %"),
        ("snake_case", "E_C"),
        (r"C:\temp", r":\T"),
        ("(a|b)*", "|B)*"),
        ("🍎🍏", "🍏"),
        ("it's", "'"),
        ("a+b", "+"),
        ("two  spaces", "  "),
        ("x" * 200, "X" * 200),
        ("\U0010ffff" * 200, "\U0010ffff" * 200),
    ],
)
async def test_a_search_is_literal_and_ignores_case(owner: Api, stored: str, searched: str) -> None:
    await owner.create(stored)
    await owner.create("described", description=stored)
    await owner.create("100x sure, snakeXcase, C:/temp, b")

    assert await titles(owner, ("q", searched)) == sorted([stored, "described"])


@pytest.mark.parametrize(
    ("stored", "searched"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("CAF\u00c9", "cafe\u0301"),
        ("\u00c5ngstr\u00f6m", "\u212bngstro\u0308m"),
        ("\u0130stanbul", "I\u0307STANBUL"),
        ("\u1e96anukka", "H\u0331anukka"),
        ("\u0390", "\u03aa\u0301"),
        ("Vi\u1ec7t", "vie\u0302\u0323t"),
        ("Vi\u1ec7t", "vi\u00ea\u0323t"),
        ("e\u0323\u0302", "e\u0302\u0323"),
        ("q\u0323\u0307", "q\u0307\u0323"),
        ("\u1f84", "\u0391\u0313\u0301\u0345"),
        ("\ud55c\uae00", "\u1112\u1161\u11ab\u1100\u1173\u11af"),
        ("\uf900", "\u8c48"),
        ("\u0915\u093c", "\u0958"),
    ],
)
async def test_a_search_finds_canonically_equivalent_text_in_any_case(owner: Api, stored: str, searched: str) -> None:
    forms = {text: [normalize(form, text) for form in ("NFC", "NFD")] + [text] for text in (stored, searched)}
    for n, title in enumerate(dict.fromkeys(forms[stored] + forms[searched])):
        await owner.create(title)
        await owner.create(f"described {n}", description=f"x{title}x")
    everything = sorted(task["title"] for task in await owner.tasks())

    for text in forms[searched] + forms[stored]:
        assert await titles(owner, ("q", text)) == everything


async def test_an_ascii_search_compares_the_stored_code_points(owner: Api) -> None:
    composed, decomposed = await owner.create("caf\u00e9"), await owner.create("cafe\u0301")

    assert await owner.tasks(q="cafe") == [decomposed]
    assert await owner.tasks(q="CAF") == [decomposed, composed]


async def test_titles_and_descriptions_are_stored_as_they_were_sent(owner: Api) -> None:
    text = "cafe\u0301 \u212b caf\u00e9"
    task = await owner.create(text, description=text)

    assert task["title"] == task["description"] == text


@pytest.mark.parametrize("searched", ["%", "_", "\\", ".*", "é%", "_é", "null", "y\nz", "e", "e\u0300", "\u0301", "ab"])
async def test_a_search_finds_no_task_without_its_text(owner: Api, searched: str) -> None:
    await owner.create("yz é a", description=None)
    await owner.create("a", description="b")

    assert await titles(owner, ("q", searched)) == []
