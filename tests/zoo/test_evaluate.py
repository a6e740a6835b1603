"""The measured tables are written between the markers of a card, and nowhere else."""

from __future__ import annotations

import pytest

pytest.importorskip("skimage", reason="scikit-image, which measures PSNR, is not installed")

from zoo.evaluate import BEGIN, END, Row, format_table, write_block


def test_a_table_has_a_column_for_every_label_and_figure():
    table = format_table("steps | cfg", [Row("8 | 4", 21.234, 0.5, 20.0)], "How.")
    assert table.splitlines() == [
        "| steps | cfg | PSNR mean (dB) | standard deviation | lowest |",
        "|---|---|---|---|---|",
        "| 8 | 4 | 21.23 | 0.50 | 20.00 |",
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
