import pandas as pd
import pytest

from dlfb.utils.checks import by_id, check_count, check_table

GOOD = pd.DataFrame({"EntryID": ["A", "B"], "term": ["x", "x"]})


@pytest.mark.parametrize(("table", "message"), [
    ([["A", "x"]], "f.., pass a table .DataFrame., not a list"),
    (GOOD[["EntryID"]], "no column 'term'; it has EntryID"),
    (GOOD[["EntryID", "term", "term"]], "2 column 'term'; it has EntryID, term, term"),
    (GOOD.assign(term=["x", None]), "row 1 has no term .EntryID 'B'., the first of 1 such"),
    (GOOD.assign(EntryID=[None, "B"]), "row 0 has no EntryID"),
    (GOOD.assign(EntryID=[9606, "A"]), "'EntryID' holds values of different types"),
    (GOOD.assign(term=[["x"], ["y"]]), "'term' holds values of different types, or lists"),
])  # fmt: skip
def test_a_table_that_lacks_something_is_refused(table, message):
    with pytest.raises(ValueError, match=message.replace("f..,", r"f\(\):")):
        check_table(table, ["EntryID", "term"], "f()")


def test_good_tables_pass():
    for table in (GOOD, GOOD[:0], GOOD.astype("category"), GOOD.assign(EntryID=[1, 2], other=None)):
        check_table(table, ["EntryID", "term"], "f()")


def test_values_by_id():
    column = pd.Series({"A": 1, "B": 2})
    assert by_id({"A": 1, "B": 2}, "f()").to_dict() == by_id(column, "f()").to_dict()
    for wrong in (["A"], GOOD):
        with pytest.raises(ValueError, match=r"f\(\): this is a .* Pass a dictionary from id"):
            by_id(wrong, "f()")
    with pytest.raises(ValueError, match="the id 'A' occurs twice"):
        by_id(pd.Series([1, 2], ["A", "A"]), "f()")


def test_counts():
    check_count(1, "size", "f()")
    for wrong in (0, -1, 2.5, "a", None):
        with pytest.raises(ValueError, match=r"f\(\): size must be a whole number, 1 or more"):
            check_count(wrong, "size", "f()")
