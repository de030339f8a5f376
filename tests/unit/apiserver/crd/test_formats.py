"""What is of a format, and what is not."""

import pytest

from apiserver.crd.formats import is_of_format, known_format

GOOD = {
    "bsonobjectid": ["507f1f77bcf86cd799439011"],
    "byte": ["ZWxsbw==", "Zm9v"],
    "cidr": ["10.0.0.1/8", "010.0.0.0/8", "::/0"],
    "creditcard": ["4111-1111-1111-1111"],
    "date": ["2020-02-29"],
    "date-time": ["2020-01-01t00:00:00,5Z", "2020-01-01T23:59:59-01:30"],
    "duration": ["1h30m", "-1.5h", "0", "3 days", "5 Minutes", "1w", "2m1"],
    "email": ["a@b", "Joe <joe@x.com>", '"a b"@c.d', " a@b.c "],
    "hostname": ["a", "localhost", "a.example", "\u00fc.de"],
    "ipv4": ["01.2.3.4", "::ffff:1.2.3.4"],
    "ipv6": ["::1", "::ffff:1.2.3.4"],
    "isbn": ["0321751043", "978-0321751041"],
    "mac": ["00:00:5e:00:53:01", "0200.5e10.0000.0001", "00-00-5E-00-53-01"],
    "password": ["", "x"],
    "rgbcolor": ["rgb( 1 , 2, 255 )"],
    "ssn": ["111-11-1111"],
    "uri": ["http://a/b?c#d", "/a", "a:b", "mailto:x@y"],
    "uuid4": ["123e4567e89b42d3a456426614174000"],
}
BAD = {
    "byte": ["", "ZWxsbw", "-_-_"],
    "cidr": ["10.0.0.0", "10.0.0.0/33"],
    "creditcard": ["4111111111111112"],
    "date": ["2020-02-30", "20200101"],
    "date-time": ["2020-01-01 00:00:00Z", "2020-01-01T24:00:00Z", "2020-01-01T00:00:00+0100", "2020-01-01T00:00:00"],
    "duration": ["", "1", "h"],
    "email": ["a", "a..b@c.d", "a@b..c", "a b@c.d"],
    "hostname": ["-a", "a.b", "1.2.3.4", "a_b", "x" * 64],
    "ipv4": ["1.2.3.256", "::1"],
    "ipv6": ["fe80::1%eth0", "1.2.3.4"],
    "isbn": ["0321751044", "9780321751042"],
    "mac": ["00:00-5e:00:53:01", "00:00:5e:00:53"],
    "rgbcolor": ["rgb(256,0,0)", "RGB(1,2,3)"],
    "ssn": ["111111111"],
    "uri": ["", "a", "#a", "http://a b", "http://a%zz", "http://[::1", "/a%2"],
    "uuid4": ["123e4567-e89b-42d3-c456-426614174000"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in GOOD.items() for text in texts])
def test_a_text_of_its_format_is_let_through(name: str, text: str) -> None:
    assert is_of_format(name, text)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_text_of_another_form_is_not(name: str, text: str) -> None:
    assert not is_of_format(name, text)


def test_formats_are_those_of_their_types() -> None:
    assert known_format("string", "u-r-i") == "u-r-i"
    assert known_format("string", "int32") == known_format("string", "k8s-short-name") == ""
    assert known_format("integer", "int32") == "int32"
    assert known_format("integer", "float") == known_format("boolean", "byte") == ""
