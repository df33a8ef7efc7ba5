"""Cursors: encoding and decoding them, without the service."""

from hypothesis import given
from hypothesis import strategies as st

from todo_service.http.cursors import ORDERS, Cursor, decode_cursor, encode_cursor


@given(
    st.builds(
        Cursor,
        st.just("title"),
        st.sampled_from(ORDERS),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        st.uuids().map(str),
    )
)
def test_a_decoded_cursor_equals_the_encoded_one(cursor: Cursor) -> None:
    assert decode_cursor(encode_cursor(cursor)) == cursor


@given(st.text())
def test_decoding_any_text_raises_no_error(text: str) -> None:
    decode_cursor(text)
