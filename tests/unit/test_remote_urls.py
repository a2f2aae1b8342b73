"""What URLs are called: plain names of files, and messages without secrets."""

import pytest

from audit.remote.urls import base_name, pretty
from audit.runs.training_set import plain_words


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/zoo/a.pt?download=true", "a.pt"),
        ("https://host/zoo/a.pt#part", "a.pt"),
        ("https://host/zoo/a%20b.pt", "a b.pt"),
        ("https://host/zoo/..%2Fa.pt", "..%2Fa.pt"),
        ("https://host/zoo/a%00.pt", "a%00.pt"),
        ("https://host/zoo/%2E%2E", ""),
        ("https://host/zoo/..", ""),
        ("s3://bucket/zoo/..%2F..%2Fa.pt", "..%2F..%2Fa.pt"),
        ("s3://bucket/zoo/what?#.pt", "what?#.pt"),
        ("s3://bucket/zoo/a\n.pt", "a%0A.pt"),
        ("gs://bucket/zoo/a%20b.pt", "a%20b.pt"),
    ],
)
def test_base_names_are_names_of_files(url, name):
    assert base_name(url) == name


def test_long_base_names_are_cut_and_told_apart():
    first, second = (base_name(f"https://host/{'a' * 300}{end}.safetensors") for end in "xy")
    assert len(first) < 200
    assert first != second
    assert first.endswith(".safetensors")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host/x?sig=secret", "https://host/x"),
        ("https://me:sec/ret@host/x", "https://host/x"),
        ("https://host/x#access_token=secret", "https://host/x"),
        ("https://host?sig=secret", "https://host"),
        ("https://me:secret@[::1]:80/x?a", "https://[::1]:80/x"),
        ("zip://a.pt::https://me:secret@host/x.zip?sig=secret", "zip://a.pt::https://host/x.zip"),
        ("s3://bucket/a@b.pt", "s3://bucket/a@b.pt"),
        ("s3://bucket/a-?.pt", "s3://bucket/a-?.pt"),
        ("s3://bucket/a.pt?versionId=1", "s3://bucket/a.pt"),
        ("a folder/b", "a folder/b"),
    ],
)
def test_what_is_shown_has_no_secrets(url, shown):
    assert pretty(url) == shown


def test_records_have_urls_without_secrets():
    given = {"checkpoints": [{"weights": "https://me:secret@host/a.pt?sig=secret"}], "n": 1}
    assert plain_words(given) == {"checkpoints": [{"weights": "https://host/a.pt"}], "n": 1}
