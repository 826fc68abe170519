import hashlib
import re

import numpy as np
import pytest

from dlfb.pocket.draws import draw, generator, pick
from dlfb.pocket.families import families, grow, grow_members
from dlfb.pocket.founders import INSULIN_KEPT, LETTERS, SOFT, STRICT, environment_weights
from dlfb.proteins.sequences import INSULIN

HYDROPHOBIC = re.compile("[AILMFVWGCTSY]{18,}")


def by_name(name):
    return next(f for f in families() if f.name == name)


def as_regex(signature):
    return re.sub(r"\((\d+)\)", r"{\1}", signature).replace("-", "").replace("x", ".")


def test_draws_are_pinned():
    rng = generator(1, "a name")
    assert draw(rng, 1000, 5).tolist() == [528, 924, 193, 152, 413]
    assert pick(rng, 1000) == int(draw(generator(1, "a name"), 1000, 6)[5])
    many = draw(generator(3), 7, (700, 10))
    assert many.shape == (700, 10) and many.min() == 0 and many.max() == 6
    assert np.bincount(many.ravel()).min() > 900


def test_the_founders_are_those_the_language_model_knows():
    """A change here makes strangers of the families that the pocket model was trained on."""
    text = "|".join(f.founder + "".join(f.sites) + str(f.divergence) for f in families())
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "64bb32bb5fba"


def test_families_have_names_of_their_own_and_sites_to_keep():
    everyone = families()
    assert 150 <= len(everyone) <= 260
    assert len({f.name for f in everyone}) == len({f.founder for f in everyone}) == len(everyone)
    for f in everyone:
        assert set(f.founder) <= set(LETTERS) and f.founder[0] == "M"
        assert len(f.sites) == len(f.founder)
        assert f.mfo and f.bpo and f.cco and f.conserved
        for letter, site in zip(f.founder, f.sites, strict=True):
            assert site[0] == "=" or site in SOFT or site in STRICT
            assert site[0] != "=" or letter in site[1:], f.name


@pytest.mark.parametrize("family", [f for f in families() if f.name != "insulin"][::7])
def test_members_keep_the_signatures_while_the_rest_drifts(family):
    signature = re.compile(as_regex(family.signatures[0]))
    members = grow_members(family, 20, generator(5))
    assert signature.search(family.founder)
    assert all(signature.search(m.sequence) for m in members)
    assert len({m.sequence for m in members}) == 20
    for m in members:
        for founder_position, position in zip(family.conserved, m.sites, strict=True):
            if position >= 0:
                assert m.sequence[position] in family.sites[founder_position][1:]
            else:
                start, end = family.optional
                assert start <= founder_position < end and not m.has_extra


def test_some_members_of_some_families_lack_the_second_domain():
    several = [f for f in families() if f.optional != (0, 0)]
    assert len(several) > 10 and all(f.extra_mfo for f in several)
    family = by_name("efhand-actinb")
    start, end = family.optional
    members = grow_members(family, 40, generator(6))
    complete = [len(m.sequence) for m in members if m.has_extra]
    without = [len(m.sequence) for m in members if not m.has_extra]
    assert 10 <= len(complete) <= 30
    assert abs(np.mean(complete) - np.mean(without) - (end - start)) < 8
    assert not any(m.has_extra for m in grow_members(by_name("gpcr-1"), 20, generator(6)))


def test_the_same_seed_gives_the_same_members_and_another_one_others():
    family = by_name("gpcr-1")
    first = grow(family, 8, generator(9))
    assert grow(family, 8, generator(9)) == first
    assert not set(grow(family, 8, generator(10))) & set(first)
    assert grow(family, 0, generator(9)) == []


def test_families_hold_close_and_remote_relatives():
    def shared(a, b):  # words of five residues, which indels do not shift
        words = [{x[i : i + 5] for i in range(len(x) - 4)} for x in (a, b)]
        return len(words[0] & words[1]) / len(words[0])

    close, far = [], []
    for family in families()[1:60]:
        values = [shared(family.founder, m) for m in grow(family, 4, generator(2))]
        (close if family.divergence[0] < 100 else far).append(np.mean(values))
    assert np.mean(close) > np.mean(far) + 0.1 and np.mean(far) > 0.05


def test_insulin_starts_from_the_real_precursor_and_keeps_what_insulin_keeps():
    family = by_name("insulin")
    assert family.founder == INSULIN
    assert all(INSULIN[position] in letters for position, letters in INSULIN_KEPT.items())
    assert {i for i, x in enumerate(INSULIN) if x == "C"} <= set(family.conserved)
    assert {29, 31, 35, 38, 47} <= set(family.conserved)  # B6, B8, B12, B15, B24
    assert family.mfo == ("GO:0005179",) and "GO:0005576" in family.cco
    members = grow_members(family, 300, generator(4))
    place = family.conserved.index(29)
    assert all(m.sequence[m.sites[place]] == "L" for m in members)
    after = family.conserved.index(27)  # residue 26 is the one before it
    third = [m.sequence[m.sites[after] - 1] for m in members]
    share = {x: third.count(x) / len(third) for x in "ATSN"}
    assert sum(share.values()) > 0.6 and max(share.values()) < 0.6
    assert min(share["A"], share["T"], share["S"]) > 0.05


def test_secreted_and_membrane_families_differ_where_real_ones_do():
    secreted = [f for f in families() if f.localisation == "sec"]
    cytosolic = [f for f in families() if f.localisation == "cyto"]
    assert len(secreted) > 20 and len(cytosolic) > 40
    for family in secreted[1:]:
        start = "".join(s[0] for s in family.sites[:26])
        assert re.match(r"=n{2,5}s{10,12}ccc=c=", start), family.name

    def share(group, letter):
        return np.mean([f.founder.count(letter) / len(f.founder) for f in group])

    assert share(secreted, "K") < share(cytosolic, "K")
    assert share(secreted, "C") > 1.3 * share(cytosolic, "C")
    for family in families():
        if family.localisation.startswith("tm"):
            helices = re.findall("t{19,23}", "".join(s[0] for s in family.sites))
            assert len(helices) == int(family.localisation[2:])
            assert len(HYDROPHOBIC.findall(grow(family, 1, generator(1))[0])) >= 1


def test_founders_are_composed_like_proteins():
    text = "".join(f.founder for f in families())
    share = {x: text.count(x) / len(text) for x in LETTERS}
    assert share["L"] > 0.08 and share["A"] > 0.07
    assert share["W"] < 0.02 and share["C"] < 0.025
    assert all(0.008 < value < 0.11 for value in share.values())


def test_leans_double_and_halve_in_exposed_environments_only():
    plain, leaning = environment_weights("h", "-"), environment_weights("h", "+K-C")
    k, c = LETTERS.index("K"), LETTERS.index("C")
    assert leaning[k] == 2 * plain[k] and leaning[c] == plain[c] // 2
    assert (environment_weights("H", "+K-C") == environment_weights("H", "-")).all()
    assert environment_weights("=ST").sum() == 2
