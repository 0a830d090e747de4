"""A short run of the fuzzer in benchmarks/fuzz.py, which can run any number of cases."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def fuzz() -> object:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import fuzz
    finally:
        sys.path.pop(0)
    return fuzz


def test_mutated_files_give_films_or_reasons_and_end_no_process(fuzz) -> None:
    counts, faults, memory = fuzz.run(1_000_000, 1_003_000, 2)
    assert not faults, "\n".join(faults)
    assert counts.total() == 3000
    assert memory < 900_000  # a worker keeps what it was given, for the next film
    assert {kind.split()[0] for kind in counts} >= {"PNG", "JPEG", "TIFF", "BMP", "WEBP", "NPY", "NPZ", "archive"}
    assert sum(count for kind, count in counts.items() if kind.endswith("loaded")) > 300


@pytest.mark.parametrize("number", [4330, 16802, 28438, 141641, 79033])
def test_cases_that_once_failed(fuzz, number: int) -> None:
    fuzz.tried(fuzz.case(number))


def test_every_seed_is_read(fuzz) -> None:
    assert len(fuzz.seeds()) > 60
    # One has 32 bits with hardly a tone in them.
    assert {fuzz.tried(seed) for seed in fuzz.seeds()} - {"NPY UNSUPPORTED"} == {
        *(f"{kind} loaded" for kind in ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "NPY", "NPZ", "DICOM")),
        "archive listed",
    }


def test_a_case_is_told_by_its_number(fuzz) -> None:
    assert fuzz.case(7) == fuzz.case(7)
    assert len({fuzz.case(number) for number in range(200)}) > 190


def test_damaged_lzw_streams_are_measured_before_they_are_unpacked(fuzz) -> None:
    # Unpacked at once, some take the process down now and then.
    whole = fuzz.tiff(np.random.default_rng(1).integers(0, 256, (32, 40), np.uint8), compression="lzw")
    chance, said = random.Random(5), set()
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data) - 200)] = chance.randrange(256)
        said.add(fuzz.tried(bytes(data)))
    assert {"TIFF loaded", "TIFF DECODE"} <= said
