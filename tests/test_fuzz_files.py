"""Files of every format, damaged at random: a picture comes of them, or one line that names them."""

import fuzz_files


def test_damaged_files():
    found = fuzz_files.run(600, seed=1)
    assert found["read"] > 50 and found["refused"] > 200 and not found["slow"]
