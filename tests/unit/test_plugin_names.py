"""Names in one cell: whatever they hold, they come back."""

from hypothesis import given
from hypothesis import strategies as st

from audit.plugin.names import join_names, split_names


@given(
    st.lists(
        st.text(
            st.characters(
                exclude_categories=["Cs"],
                exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
            )
        )
    )
)
def test_names_come_back_whatever_they_hold(names):
    cell = join_names(names)
    assert split_names(cell) == names


def test_plain_names_are_joined_as_before():
    assert join_names(["a", "b"]) == "a;b"
    assert split_names("a;b") == ["a", "b"]
    assert split_names("") == split_names(float("nan")) == []


def test_line_breaks_become_spaces():
    assert split_names(join_names(["a\nb", "c"])) == ["a b", "c"]
