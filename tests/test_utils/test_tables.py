# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from iid_mm.utils.tables import escaped, markdown_table, percent


def test_numbers_are_aligned_to_the_right() -> None:
    assert markdown_table([['name', 'n'], ['x', '12']], texts=1) == [
        '| name |  n |',
        '| ---- | -: |',
        '| x    | 12 |',
    ]
    assert markdown_table([]) == []


def test_names_stay_names() -> None:
    assert escaped('a|b') == r'a\|b'
    assert escaped('[x](y) `<b>` a\nb') == r'\[x\](y) \`\<b\>\` a' + '%0Ab'
    assert markdown_table([['a|b'], ['c']], texts=1) == [r'| a\|b |', '| ---- |', '| c    |']


def test_percent() -> None:
    assert percent(0.98765) == '98.77'
    assert percent(None) == '–'
