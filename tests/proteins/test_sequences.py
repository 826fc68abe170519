"""Letters, classes and one-hot rows; what is refused; and FASTA files of every packing."""

import contextlib
import gzip
import io
import re
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlfb.proteins.sequences import (
    AMINO_ACID_TO_INDEX,
    AMINO_ACIDS,
    CLASS_COLORS,
    INSULIN,
    amino_acid_class,
    clean_sequence,
    encode,
    one_hot,
    read_fasta,
)

letters = st.text(alphabet="RHKDESTNQGPCAVILMFYWUOBZX", min_size=1, max_size=80)
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_chapters_alphabet_and_example():
    assert " ".join(AMINO_ACIDS) == "R H K D E S T N Q G P C A V I L M F Y W"
    assert [AMINO_ACID_TO_INDEX[letter] for letter in AMINO_ACIDS] == list(range(20))
    assert encode("MALWM") == [16, 12, 15, 19, 16]
    assert len(INSULIN) == 110 and INSULIN.startswith("MALWM")
    # The two chains of the mature hormone, as in the PDB entry 3I40.
    assert "FVNQHLCGSHLVEALYLVCGERGFFYTPKT" in INSULIN
    assert INSULIN.endswith("GIVEQCCTSICSLYQLENYCN")


def test_the_classes_of_figure_2_7():
    classes = ["hydrophobic", "polar uncharged", "negative", "positive", "special amino acids"]
    of_class = ["AFILMVWY", "NQST", "DE", "HKR", "BCGOPUXZ", ["<cls>", "<mask>", ".", "-", ""]]
    for name, tokens in zip([*classes, "special tokens"], of_class, strict=True):
        assert {amino_acid_class(token) for token in tokens} == {name}
    assert [*CLASS_COLORS] == [*classes, "special tokens"] and len({*CLASS_COLORS.values()}) == 6


def test_one_hot_is_jax_s_and_a_rare_letter_is_a_row_of_zeros():
    sequence = INSULIN + "UOBZX"
    rows = one_hot(sequence)
    assert rows.dtype == np.float32 and rows.shape == (115, 20) and not rows[110:].any()
    np.testing.assert_array_equal(rows, jax.nn.one_hot(np.array(encode(sequence)), 20))
    with pytest.raises(IndexError):  # not silently another amino acid
        AMINO_ACIDS[encode("X")[0]]


@quick
@given(letters, st.lists(st.tuples(st.integers(0, 80), st.sampled_from(" \t\n\r\u00a0"))))
def test_case_white_space_and_one_stop_do_not_matter(sequence, gaps):
    messy = sequence.lower()
    for place, gap in gaps:
        messy = messy[:place] + gap + messy[place:]
    assert clean_sequence(sequence) == sequence
    assert clean_sequence(messy) == sequence
    assert clean_sequence(messy + "* \n") == sequence


@quick
@given(letters, st.characters(exclude_characters="*"), st.integers(0, 80))
def test_any_other_letter_is_named_with_its_place(sequence, letter, place):
    place = min(place, len(sequence))
    mixed = sequence[:place] + letter + sequence[place:]
    if letter.isspace() or (letter.isascii() and letter.upper() in "RHKDESTNQGPCAVILMFYWUOBZX"):
        clean_sequence(mixed)
        return
    expected = re.escape(f"P01308: the letter {letter!r} at position {place + 1} ")
    with pytest.raises(ValueError, match=expected):
        clean_sequence(mixed, name="P01308")


# A dotless i and a long s become I and S under upper(): letters that no one typed as residues.
@pytest.mark.parametrize("wrong", ["ı", "ſ", "ß", "ﬁ", "J", "1", "MA-L", "MA**", "*M", "M*A"])
def test_look_alikes_gaps_and_stops_inside_are_refused(wrong):
    with pytest.raises(ValueError, match="is not an amino acid"):
        clean_sequence(wrong)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *((empty, "the sequence is empty") for empty in ("", "  \n", "*")),
        *((no_text, "a sequence is text") for no_text in (None, float("nan"), b"MAL", ["M"])),
        ("majl", "the letter 'j' at position 3 .* write L or I instead, or X for unknown"),
        ("MA-L", "the letter '-' at position 3 .* Remove the gaps"),
    ],
)
def test_errors_name_the_record_and_the_way_out(value, message):
    with pytest.raises(ValueError, match=f"record 7: {message}"):
        clean_sequence(value, name="record 7")


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


PACKED = {"plain": lambda data: data, "gzip": gzip.compress, "zip": lambda data: zipped(a=data)}
records = st.lists(st.tuples(st.from_regex(r"\A[A-Za-z0-9_.:-]{1,12}\Z"), letters), min_size=1)


@quick
@given(records, st.integers(1, 30), st.sampled_from([*PACKED]), st.sampled_from(["\n", "\r\n"]))
def test_a_fasta_file_gives_back_what_was_written(tmp_path, wanted, width, how, newline):
    text = newline
    for name, sequence in wanted:
        lines = re.findall(f".{{1,{width}}}", sequence)
        text += newline.join([f">{name} a description > here", *lines, "", ""])
    path = tmp_path / "some.fasta"  # the name tells nothing about compression
    path.write_bytes(PACKED[how](text.encode("utf-8-sig")))
    assert list(read_fasta(path)) == wanted  # ids that repeat, too


MANY = b"".join(b">p%d\n%s\n" % (i, b"MALWM" * (1 + i % 90)) for i in range(900))


@pytest.mark.parametrize("how", ["gzip", "zip"])
def test_a_damaged_or_cut_file_is_named(tmp_path, how):
    whole, path = PACKED[how](MANY), tmp_path / "some.fasta.x"
    for cut in (5, 40, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="some.fasta.x: the file is damaged or cut off"):
            list(read_fasta(path))
    for place in range(50, len(whole) - 150, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="some.fasta.x"):
            list(read_fasta(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_byte_of_a_zip_makes_a_library_speak(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", MANY[:200])
    whole = path.read_bytes()
    for place in range(len(whole)):  # an encrypted one and one of another method are among them
        for flip in (0x01, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with contextlib.suppress(ValueError):
                list(read_fasta(path))


def test_a_zip_has_one_file_besides_what_macs_and_windows_add(tmp_path):
    path, added = tmp_path / "a.zip", ("__MACOSX/._a", "x/.DS_Store", "Thumbs.db", "x/desktop.ini")
    for inside in (["a"], ["x/", "x/a"], ["thumbs.db.fasta"], ["a", "b"], []):
        path.write_bytes(zipped(**dict.fromkeys([*inside, *added], b">a\nMA\n")))
        if (number := len([name for name in inside if name != "x/"])) == 1:
            assert list(read_fasta(path)) == [("a", "MA")]
        else:
            with pytest.raises(ValueError, match=f"a.zip: a zip must have .* this has {number}"):
                list(read_fasta(path))


@pytest.mark.parametrize("data", [">a\nMA\n".encode("utf-16"), bytes(range(256)) * 9])
@pytest.mark.parametrize("how", [*PACKED])
def test_utf_16_and_what_is_not_text_are_refused(tmp_path, data, how):
    path = tmp_path / "a.fasta"
    path.write_bytes(PACKED[how](data))
    with pytest.raises(ValueError, match="a.fasta: this is not UTF-8 text"):
        list(read_fasta(path))


def test_bad_records_can_be_left_out_with_a_warning_that_names_them(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(">a\nMA\n>b\nMJ\n>c\n\n>\nMA\n>d\nMB\n")
    with pytest.warns(UserWarning) as warned:
        assert list(read_fasta(path, on_error="skip")) == [("a", "MA"), ("d", "MB")]
    wanted = ["2 .b.: the letter 'J' at position 2", "3 .c.: .* empty", "4: .* no id"]
    for warning, told in zip(warned, wanted, strict=True):
        assert re.match(f"Record left out. a.fasta, record {told}", str(warning.message))
    path.write_text(">b\nMJ\n")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="no valid sequence"):
        list(read_fasta(path, "skip"))
    with pytest.raises(ValueError, match="on_error='ignore'; choose 'stop' or 'skip'"):
        list(read_fasta(path, "ignore"))


def test_records_are_yielded_one_at_a_time_under_uniprot_s_accession(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(">sp|P01308|INS_HUMAN Insulin\nMALWM\n>gi|5|x\nMA\n>A0 sp|P1|X\nML*\n>e\nM1\n")
    reader = read_fasta(path)
    found = [next(reader) for _ in range(3)]
    assert found == [("P01308", "MALWM"), ("gi|5|x", "MA"), ("A0", "ML")]
    with pytest.raises(ValueError, match=r"a.fasta, record 4 \(e\): the letter '1' at position 2"):
        next(reader)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no valid sequence"),
        ("EntryID\tterm\n", "a FASTA file begins with '>id', and not with 'EntryID"),
        (">\nMAL\n", "record 1: this record has no id"),
        (">a\n>b\nM\n", "record 1 .a.: the sequence is empty"),
    ],
)
def test_broken_fasta_is_named(tmp_path, text, message):
    path = tmp_path / "broken.fasta"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"broken.fasta.*{message}"):
        list(read_fasta(path))
    with pytest.raises(FileNotFoundError, match="There is no file"):
        next(read_fasta(tmp_path / "none.fasta"))
