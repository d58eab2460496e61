from rnnt_qat.infra.text_table import as_text

MARKDOWN = """\
| test set | system | WER | operators on the NPU |
| --- | --- | ---: | ---: |
| prompts: 65 utterances | (a) float32 | 21.7 % [14.8, 31.0] | - |
|  | (d) ethos_u_8x8_16, trained | 20.8 % [14.6, 29.1] | 100 % |
| digits: 300 utterances | (a) float32 | 2.8 % [0.9, 5.4] | - |"""


def test_columns_are_aligned_and_headers_wrapped():
    assert as_text(MARKDOWN).splitlines() == [
        "                                                  operators",
        "                                                     on the",
        "system                                       WER        NPU",
        "",
        "prompts: 65 utterances",
        "(a) float32                  21.7 % [14.8, 31.0]          -",
        "(d) ethos_u_8x8_16, trained  20.8 % [14.6, 29.1]      100 %",
        "",
        "digits: 300 utterances",
        "(a) float32                     2.8 % [0.9, 5.4]          -",
    ]
