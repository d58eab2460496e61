"""The line of a policy: read, printed, read again; and what is said where it is wrong."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.infra.config import from_json, to_json
from rnnt_qat.quant.grammar import PolicyError, parse_policies, slug, split_policies
from rnnt_qat.quant.policies import (
    CHIPS,
    POLICIES,
    VOCABULARY,
    parse_policy,
    policy_by_name,
    policy_choices,
    spec_of,
)
from rnnt_qat.quant.policy_spec import (
    FLOAT,
    MATMUL,
    PolicySpec,
    RuleSpec,
    fields_of,
    precision,
)


@st.composite
def precisions(draw):
    base = draw(st.sampled_from([FLOAT, MATMUL, *CHIPS]))
    known = fields_of(base)
    names = draw(st.lists(st.sampled_from(sorted(known)), max_size=4)) if known else []
    values = {}
    for name in names:
        words = list(known[name].words)
        if known[name].integers:
            words += draw(st.lists(st.integers(*known[name].integers), min_size=1, max_size=1))
        values[name] = draw(st.sampled_from(words))
    return precision(base, values)


PATTERNS = st.from_regex(r"[a-z*][a-z0-9_*?/]{0,11}", fullmatch=True)
SUFFIXES = {kind: st.sampled_from(["", *known]) for kind, known in VOCABULARY.suffixes.items()}
POLICY_SPECS = st.builds(
    PolicySpec,
    precisions(),
    st.lists(st.builds(RuleSpec, PATTERNS, precisions()), max_size=3).map(tuple),
    st.sampled_from(["", *VOCABULARY.parts]),
    **SUFFIXES,
)


def read(line):
    """What a line writes, whether or not a chip could be so."""
    (found,) = parse_policies(line, VOCABULARY, lambda policy: None)
    return found


@settings(max_examples=150, deadline=None)
@given(POLICY_SPECS)
def test_what_is_printed_is_read_as_the_same(spec):
    assert read(str(spec)) == spec
    assert str(read(str(spec))) == str(spec)


@settings(max_examples=100, deadline=None)
@given(POLICY_SPECS, st.randoms())
def test_blanks_do_not_matter(spec, random):
    spaced = "".join(
        " " * random.randrange(3) + c + " " * random.randrange(3) if c in "{}[],=:+@" else c
        for c in str(spec)
    )
    assert read(spaced) == spec


@settings(max_examples=100, deadline=None)
@given(POLICY_SPECS)
def test_data_go_through_json(spec):
    assert from_json(PolicySpec, json.loads(json.dumps(to_json(spec)))) == spec


@settings(max_examples=200, deadline=None)
@given(POLICY_SPECS, POLICY_SPECS)
def test_slugs_are_file_names_that_differ(a, b):
    names = slug(str(a)), slug(str(b))
    assert all(name and not set(name) & set("/{}[]*?, :'\"") for name in names)
    assert max(map(len, names)) < 120
    assert (names[0] == names[1]) == (a == b)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="generic_nna{}[]=,:+@*/w48 .x", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        policies = policy_choices(text)
    except PolicyError as error:
        reason, line, caret = str(error).rsplit("\n", 2)
        assert reason
        assert line == f"    {text}"
        assert caret.strip() == "^"
        assert 4 <= caret.index("^") <= 4 + len(text)
    else:
        assert all(read(str(policy)) == policy for policy in policies)


def test_ready_made_names_are_values_of_the_same_data():
    for name, policy in POLICIES.items():
        assert policy.name == name == str(spec_of(policy)) == slug(name)
    for long, short in {
        "generic_nna{weights=4}": "generic_nna_w4",
        "generic_nna{weights.bits=4}": "generic_nna_w4",
        "matmul{activations=16}": "w8a16",
        "w8a8[encoder/*:w4a8]": "encoder_w4_joint_w8",
        "generic_nna_w4{cell.bits=12}": "generic_nna{weights=4, cell.bits=12}",
    }.items():
        assert policy_by_name(long) == policy_by_name(short)
        assert policy_by_name(long).name == short


def test_rules_change_the_policys_own_precision():
    line = "generic_nna{cell.bits=12}[encoder/*:weights=4, joint:{weights=2, cell.bits=8}]"
    assert parse_policy(line) == parse_policy(
        "generic_nna{cell.bits=12}"
        "[encoder/*:generic_nna{cell.bits=12, weights=4}, joint:generic_nna{weights=2,cell.bits=8}]"
    )
    assert str(parse_policy(line)) == line
    assert parse_policy("generic_nna[joint:float32]").rules[0].precision == precision(FLOAT, {})


def test_choices_are_combined_the_first_one_slowest():
    found = policy_choices("generic_nna{cell.bits=[16,8]}[joint:weights=[4,2]]+mse")
    assert [str(policy) for policy in found] == [
        f"generic_nna{{cell.bits={cell}}}[joint:weights={weights}]+mse"
        for cell in (16, 8)
        for weights in (4, 2)
    ]


def test_lists_of_policies_divide_at_the_outer_commas():
    assert split_policies("w8a8, generic_nna{a=[1,2],b=3}[x:y=1, z:w=2]+mse,") == [
        "w8a8",
        "generic_nna{a=[1,2],b=3}[x:y=1, z:w=2]+mse",
    ]


@pytest.mark.parametrize(
    ("line", "at", "reason"),
    [
        ("genric_nna", "genric", "unknown precision policy 'genric_nna'.*mean 'generic_nna'"),
        ("generic_nna{gate.unti=hard}", "gate", "no field 'gate.unti'; did you mean 'gate.unit'"),
        ("generic_nna{gate.unit=hrad}", "hrad", "gate.unit=hrad: it takes .*did you mean 'hard'"),
        ("generic_nna{cell.bits=17}", "17", "cell.bits=17: it takes 2 to 16"),
        ("generic_nna{weights=9}", "9", "weights=9: it takes 2 to 8"),
        ("generic_nna{gate.unit=table100}", "table100", "it takes table64"),
        ("generic_nna{cell.bits=8, cell.bits=9}", "cell.bits=9", "cell.bits is written twice"),
        ("float32{cell.bits=8}", "cell", "float32 has no fields"),
        ("generic_nna{cell.unit=hard}", "cell", "no field 'cell.unit'"),
        ("generic_nna{cell.bits=8", "", "'}' is expected"),
        ("generic_nna[joint]", "]", "':' is expected"),
        ("generic_nna]", "]", "']' is not expected"),
        ("w8a8@jiont", "jiont", "no such part.*mean 'joint'"),
        ("generic_nna+mes", "mes", r"there is no \+mes; .*mean 'mse'"),
        ("generic_nna+lsq+tqt", "tqt", r"\+lsq and \+tqt exclude"),
        ("ethos_u_16x8+mse+tqt", "tqt", r"\+tqt: .*WEIGHT on ethos_u_16x8 is none"),
        ("generic_nna{cell.bits=[8,16]}", "[", "these are 2 policies; a sweep takes them"),
        ("generic_nna{accumulator.bits=14}", "generic", "14 cannot hold a product of 8 by 8"),
        ("w8a8[joint:generic_nna{accumulator.bits=14}]", "generic", "14 cannot hold"),
        ("generic_nna[joint:accumulator.bits=14]", "accum", "14 cannot hold"),
    ],
)
def test_an_error_shows_the_place_and_the_nearest_word(line, at, reason):
    with pytest.raises(PolicyError, match=reason) as refused:
        policy_by_name(line)
    shown, caret = str(refused.value).splitlines()[-2:]
    assert shown == f"    {line}"
    assert caret.index("^") - 4 == (line.index(at) if at else len(line))


def test_rules_that_no_line_stands_for_are_not_written_down():
    policy = policy_by_name("generic_nna")
    with pytest.raises(ValueError, match="not what its name builds"):
        spec_of(replace(policy, name="generic_nna_w4"))
