from __future__ import annotations


def test_cite_prints_bibtex_of_the_methods_on_stdout(cli):
    done = cli("cite", "gmm:components=200", "lde+w")
    assert done.code == 0
    assert "@article{dempster1977maximum," in done.out
    assert "@inproceedings{yoo2020unpriortized," in done.out
    assert done.err == ""


def test_cite_reads_the_methods_of_a_folder_of_records(cli):
    assert cli("bsds300", "--source", "embedded", "--methods", "gaussian", "--steps", "1").code == 0
    done = cli("cite", "--results-dir", "results")
    assert done.code == 0
    assert "% gaussian: bishop2006pattern." in done.out


def test_cite_of_an_unknown_method_or_folder_is_bad_usage(cli):
    assert cli("cite", "gausian").code == 2
    assert "did you mean 'gaussian'" in cli("cite", "gausian").err
    assert cli("cite", "lde+x").code == 2
    assert cli("cite", "--results-dir", "nowhere").code == 2
