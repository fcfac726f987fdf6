import pytest

from jobs.keys import generate_key, parse_key


def test_a_generated_key_parses():
    assert parse_key(generate_key()) is not None


def test_two_keys_differ():
    assert generate_key() != generate_key()


def test_a_key_matches_its_own_digest_only():
    one, two = parse_key(generate_key()), parse_key(generate_key())
    assert one is not None
    assert two is not None
    assert one.matches(one.digest)
    assert not one.matches(two.digest)


def test_a_mistyped_key_is_refused_by_its_checksum():
    key = generate_key()
    flipped = "0" if key[-20] != "0" else "1"
    assert parse_key(key[:-20] + flipped + key[-19:]) is None


@pytest.mark.parametrize("text", ["", "scr_", "Bearer x", "scr_00_00", "é" * 90])
def test_other_text_is_no_key(text):
    assert parse_key(text) is None
