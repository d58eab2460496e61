from absl import flags

from rnnt_qat.infra.help_text import help_text


def test_examples_have_one_title_or_an_introduction():
    command = "python -m experiments.it"
    plain = help_text(f"Does ``it``.\n\n{command} --a\n\nOr:\n\n{command} --b", {}, width=60)
    assert plain == f"Does `it`.\n\nExamples:\n  {command} --a\n\nOr:\n\n  {command} --b\n"
    introduced = help_text(f"Does it.\n\nOf two:\n\n{command} A,B", {}, width=60)
    assert introduced == f"Does it.\n\nOf two:\n\n  {command} A,B\n"


def test_examples_groups_and_defaults():
    values = flags.FlagValues()
    flags.DEFINE_integer("steps", 4, "Steps to take.", flag_values=values)
    flags.DEFINE_enum("kind", "a", ["a", "b"], "Which.", flag_values=values)
    flags.DEFINE_bool("quick", False, "Fewer.", flag_values=values)
    flags.DEFINE_string("out", None, "A file.", required=True, flag_values=values)
    doc = "Does it.\n\npython -m experiments.it --out=x\n\nA remark."
    members = [values[name] for name in ("steps", "kind", "quick", "out")]
    text = help_text(doc, {"Ours": members, "Empty": []}, width=60)
    assert text == (
        "Does it.\n\nExamples:\n  python -m experiments.it --out=x\n\nA remark.\n\nOurs:\n"
        "  --steps=INT\n      Steps to take. Default: 4.\n"
        "  --kind=a|b\n      Which. Default: a.\n"
        "  --quick\n      Fewer. Default: false.\n"
        "  --out=TEXT\n      A file. Required.\n"
    )
