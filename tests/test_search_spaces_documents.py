"""Tests of `search_spaces.documents`: YAML 1.2 scalars, and one-line errors with a line number."""

import pytest
import yaml

from search_spaces import SpaceError, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1e-4", 1e-4, id="exponent without dot"),
        pytest.param("1e4", 1e4, id="positive exponent"),
        pytest.param("1.e-3", 1e-3, id="dot without digits"),
        pytest.param(".5", 0.5, id="leading dot"),
        pytest.param("-.INF", float("-inf"), id="infinity"),
        pytest.param("010", 10, id="leading zero"),
        pytest.param("0o10", 8, id="octal"),
        pytest.param("0x1F", 31, id="hexadecimal"),
        pytest.param("TRUE", True, id="upper-case boolean"),
        pytest.param("on", "on", id="on"),
        pytest.param("No", "No", id="no"),
        pytest.param("1_000", "1_000", id="underscores"),
        pytest.param("1:30", "1:30", id="sexagesimal"),
        pytest.param("2024-01-31", "2024-01-31", id="date"),
        pytest.param("'1e-4'", "1e-4", id="quoted number"),
        pytest.param("!!str 1", "1", id="explicit string"),
        pytest.param("!!float 1", 1.0, id="explicit float"),
        pytest.param("~", None, id="null"),
        pytest.param("", None, id="empty document"),
        pytest.param("# only a comment", None, id="comment"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = read_yaml(text, "sweep.yaml")
    assert read == value
    assert type(read) is type(value)


def test_keys_are_strings_spelled_as_written() -> None:
    assert read_yaml("{1: a, true: b, 1e-3: c, on: d, 'null': e}", "s.yaml") == {
        "1": "a",
        "true": "b",
        "1e-3": "c",
        "on": "d",
        "null": "e",
    }


def test_merge_keys_give_way_to_own_keys_wherever_they_stand() -> None:
    text = "base: &b {lr: 1, wd: 2}\nmore: &m {wd: 3, x: 4}\nown: {lr: 5, <<: [*b, *m]}"
    assert read_yaml(text, "s.yaml")["own"] == {"lr": 5, "wd": 2, "x": 4}  # type: ignore[index]


def test_aliases_become_separate_objects() -> None:
    read = read_yaml("a: &x {lr: 1}\nb: *x", "s.yaml")
    assert isinstance(read, dict)
    assert read["a"] == read["b"]
    assert read["a"] is not read["b"]


def test_pyyaml_itself_reads_as_before() -> None:
    read_yaml("a: 1e-4", "s.yaml")
    assert yaml.safe_load("[1e-4, on, 2024-01-31]")[:2] == ["1e-4", True]


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param(
            "a: 1\nb:\n  c: 1\n  c: 2", "line 4: the key 'c' appears twice in one mapping.", id="repeated"
        ),
        pytest.param(
            "a: {1: x, '1': y}", "line 1: the key '1' appears twice in one mapping.", id="same text"
        ),
        pytest.param(
            "a:\n  null: 1", "line 2: the key null must be a string: put it in quotes.", id="null key"
        ),
        pytest.param(
            "? [1]\n: 2", "line 1: a key must be a string, but is a list or a mapping.", id="list as a key"
        ),
        pytest.param(
            "a: 1\nb: [1, 2", "line 2: expected ',' or ']', but got '<stream end>'.", id="open list"
        ),
        pytest.param("a: b: c", "line 1: mapping values are not allowed here.", id="two colons"),
        pytest.param("a:\n\t- 1", "line 2: found character '\\t' that cannot start any token.", id="tab"),
        pytest.param("a: *x", "line 1: found undefined alias 'x'.", id="undefined alias"),
        pytest.param("a: &x [*x]", "line 1: this value contains itself through an alias.", id="cycle"),
        pytest.param(
            "a: 1\n--- {b: 2}",
            "line 2: expected a single document in the stream, but found another document.",
            id="two documents",
        ),
        pytest.param(
            "a: !!python/object/apply:os.system [ls]",
            "line 1: the tag !!python/object/apply:os.system is not supported.",
            id="python tag",
        ),
        pytest.param("a: !!int x", "line 1: 'x' is not a value for !!int.", id="wrong explicit tag"),
        pytest.param("a: 1\nb: \x00", "line 2: the character '\\x00' is not allowed in YAML.", id="NUL"),
        pytest.param("a: {<<: 3}", "line 1: `<<` merges mappings only.", id="merged scalar"),
        pytest.param(
            "[" * 101 + "]" * 101,
            "line 1: the document is nested more than 100 deep.",
            id="too deep for JSON",
        ),
        pytest.param("[" * 3000, "line 1: the document is nested too deeply.", id="deep"),
        pytest.param(BOMB, "line 1: the document has more than 100000 values.", id="alias bomb"),
    ],
)
def test_a_mistake_is_one_line_with_its_line_number(text: str, rule: str) -> None:
    with pytest.raises(SpaceError) as caught:
        read_yaml(text, "sweep.yaml")
    assert caught.value.key == "sweep.yaml"
    assert caught.value.rule == rule
    assert str(caught.value) == f"sweep.yaml: {rule}"
