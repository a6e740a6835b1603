"""The measured tables are written between the markers of a card, and nowhere else."""

from __future__ import annotations

import pytest

pytest.importorskip("skimage", reason="scikit-image, which measures PSNR, is not installed")

from metrics.study.tables import Row, format_table
from zoo.evaluate import BEGIN, END, main, write_block


def test_a_table_has_a_column_for_every_figure():
    table = format_table("side (px)", [Row("192", 21.234, 0.5, 20.0)], "How.")
    assert table.splitlines() == [
        "| side (px) | PSNR mean (dB) | standard deviation | lowest |",
        "|---|---|---|---|",
        "| 192 | 21.23 | 0.50 | 20.00 |",
        "",
        "How.",
    ]


def test_a_block_is_replaced_and_the_rest_kept(tmp_path):
    card = tmp_path / "card.md"
    card.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_block(card, "new\n")
    assert card.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_card_without_markers_is_refused(tmp_path):
    card = tmp_path / "card.md"
    card.write_text("text")
    with pytest.raises(ValueError, match="lacks the lines"):
        write_block(card, "new\n")


SMALL = ("flux", "--seeds", "2", "--samples", "0", "--steps", "4", "--samplers", "euler", "--workers", "1")


@pytest.mark.slow
def test_an_evaluation_is_written_resumed_and_repeated_to_the_byte(host_folder, tmp_path, capsys):
    where = ("--work", str(tmp_path / "work"), "--results", str(tmp_path / "results"))
    main([*SMALL, *where])
    assert "estimated" in capsys.readouterr().out
    written = {path.name: path.read_bytes() for path in (tmp_path / "results").iterdir()}
    assert set(written) == {"zoo.md", "zoo_flux.json", "zoo_flux.png"}

    main([*SMALL, *where])
    assert "estimated" not in capsys.readouterr().out, "nothing was left to draw"

    for record in tmp_path.glob("work/*/euler_4_cfg4/*.npz"):
        record.unlink()
    main([*SMALL, *where])
    assert "1 batches to draw" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (tmp_path / "results").iterdir()} == written


@pytest.mark.parametrize("wrong", [("--seeds", "1"), ("--samples", "255"), ("--samples", "-1")])
def test_too_few_seeds_or_samples_are_refused_before_anything_is_drawn(wrong):
    with pytest.raises(SystemExit, match="expected 2 or more seeds, and 0 or at least 256 samples"):
        main(["flux", *wrong])
