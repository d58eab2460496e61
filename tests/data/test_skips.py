from data.skips import Cause, SkipError, SkipReport


def test_report_counts_lists_and_survives_its_file(tmp_path):
    report = SkipReport()
    report.keep("train", "ann", "two words", 1.5)
    report.keep("train", "ben", "one", 2.0)
    report.keep("test", "eve", "three more words", 3.0)
    for number in range(4):
        report.skip(f"utt-{number}", SkipError(Cause.SILENT, f"peak {number}"))
    report.skip("utt-9", SkipError(Cause.TOO_LONG, "99 s"))

    assert report.counts() == {Cause.SILENT: 4, Cause.TOO_LONG: 1}
    report.save(tmp_path / "report.json")
    again = SkipReport.load(tmp_path / "report.json")
    assert again.table() == report.table()
    assert again.skips == report.skips
    assert again.kept["train"].speakers == {"ann", "ben"}
    assert again.kept["train"].words == 3

    silent = next(line for line in report.table().splitlines() if line.startswith("silent"))
    assert "4" in silent
    assert "utt-0 (peak 0); utt-1 (peak 1)" in silent


def test_an_empty_report_says_that_nothing_was_left_out():
    assert SkipReport().table().splitlines()[-1].split() == ["nothing", "0"]
