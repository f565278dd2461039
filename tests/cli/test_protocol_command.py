"""`lde-bench protocol` through the command line."""

from __future__ import annotations

import json

import pytest

SMALL = ("protocol", "--method", "made-mog+w:hidden=8", "--K", "2", "--source", "embedded", "--steps", "3")


@pytest.mark.slow
def test_the_report_is_printed_and_written_and_no_table_sees_it(cli, here):
    outcome = cli(*SMALL)
    assert outcome.code == 0
    assert "made-mog+w:hidden=8 K=2" in outcome.out
    assert "made-mog:hidden=8 K=2, barely trained" in outcome.out
    assert (
        "Choosing the weights on the test patches: +0.0000 nats (step 3 in place of step 3, of 1 look)." in outcome.out
    )
    (page,) = here.rglob("protocol-*.report.md")
    assert "# Protocol report: made-mog+w:hidden=8 K=2 on natural8x8" in page.read_text()
    table = cli("bsds300", "--source", "embedded", "--methods", "gaussian", "--steps", "3", "--json")
    assert [row["method"] for table in table.payload["tables"] for row in table["rows"]] == ["gaussian"]
    assert "is no run record" not in table.err
    assert "made-mog" not in next(here.rglob("table.md")).read_text()
    payload = cli(*SMALL, "--json").payload
    assert payload == json.loads(next(here.rglob("*.report.json")).read_text())
    assert payload["floor"] == 1e-12


def test_what_cannot_be_reported_is_refused_in_one_sentence(cli, here):
    for arguments, fault in (
        (("--method", "lde+v"), "wrapper '+v' is unknown"),
        (("--record", "absent.json", "--K", "3"), "give --record or what to train, not both"),
        (("--record", "absent.json"), "is no run record that can be read"),
        (("--record", "absent.json", "--source", "embedded"), "a record has its budget, data and seed already"),
        (("--K", "0"), "components = 0"),
        (("--method", "gaussian", "--K", "5"), "gaussian is no mixture, so --K 5 has no use"),
    ):
        source = () if "--record" in arguments else ("--source", "embedded")
        outcome = cli("protocol", *source, *arguments)
        assert outcome.code == 2
        assert fault in outcome.err
        assert outcome.err.count("\n") == 1
