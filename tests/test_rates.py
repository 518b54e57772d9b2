"""Rates: measured once, kept, measured again where what was kept is no use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.rates import rates_key, rates_of
from adaptive_sd.types import Rates

RATES = Rates(0.001, 0.02, ((2, 0.03), (8, 0.05)))
OTHER = Rates(1.0, 2.0)


class Meter:
    """Counts how often it measures."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.num_calls = 0

    def __call__(self) -> Rates:
        self.num_calls += 1
        return self.rates


seconds = st.floats(1e-9, 1e3)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(
    st.dictionaries(
        st.text(),
        st.builds(
            Rates,
            seconds,
            seconds,
            st.dictionaries(st.integers(1, 99), seconds).map(lambda d: tuple(sorted(d.items()))),
        ),
    )
)
def test_what_was_measured_is_kept_for_each_key(tmp_path: Path, known: dict[str, Rates]) -> None:
    path = tmp_path / "home" / "rates.json"
    path.unlink(missing_ok=True)
    for key, rates in known.items():
        assert rates_of(key, path, Meter(rates), again=True) == rates
    for key, rates in known.items():
        meter = Meter(OTHER)
        assert rates_of(key, path, meter) == rates
        assert meter.num_calls == 0


def test_measured_again_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    rates_of("k", path, Meter(RATES))
    assert rates_of("k", path, Meter(OTHER), again=True) == OTHER
    assert rates_of("k", path, Meter(RATES)) == OTHER
    assert [p.name for p in tmp_path.iterdir()] == ["rates.json"]


@pytest.mark.parametrize(
    "kept",
    [
        *("", "null", "[]", "{", '{"k": null}', '{"k": []}', '{"k": {}}', "\x00"),
        '{"k": {"prefill_s": "fast", "decode_s": 1, "verify_s": []}}',
        '{"k": {"prefill_s": 0, "decode_s": 1, "verify_s": []}}',
        '{"k": {"prefill_s": 1, "decode_s": -1, "verify_s": []}}',
        '{"k": {"prefill_s": NaN, "decode_s": 1, "verify_s": []}}',
        '{"k": {"prefill_s": 1, "decode_s": Infinity, "verify_s": []}}',
        '{"k": {"prefill_s": 1, "decode_s": 1, "verify_s": [[8, 1], [2, 1]]}}',
        '{"k": {"prefill_s": 1, "decode_s": 1, "verify_s": [5]}}',
        '{"k": {"prefill_s": 1, "decode_s": 1, "verify_s": [["2", 1]]}}',
    ],
)
def test_a_damaged_file_is_measured_again_and_mended(tmp_path: Path, kept: str) -> None:
    path = tmp_path / "rates.json"
    path.write_text(kept)
    meter = Meter(RATES)
    assert rates_of("k", path, meter) == rates_of("k", path, meter) == RATES
    assert meter.num_calls == 1


def test_one_unusable_entry_does_not_cost_the_others(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    rates_of("whole", path, Meter(RATES))
    kept = json.loads(path.read_text()) | {"bad": {"prefill_s": 0, "decode_s": 1, "verify_s": []}}
    path.write_text(json.dumps(kept))
    assert rates_of("bad", path, Meter(OTHER)) == OTHER
    assert rates_of("whole", path, Meter(OTHER)) == RATES


def test_another_process_that_measures_meanwhile_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"

    def slow() -> Rates:
        rates_of("theirs", path, Meter(OTHER))
        return RATES

    rates_of("ours", path, slow)
    absent: Callable[[], Rates] = Meter(Rates(9, 9))
    assert rates_of("ours", path, absent) == RATES
    assert rates_of("theirs", path, absent) == OTHER


@pytest.mark.parametrize("path", ["/proc/adaptive-sd/rates.json", "/dev/null/rates.json"])
def test_where_nothing_can_be_kept_it_is_measured_each_time(path: str) -> None:
    meter = Meter(RATES)
    assert rates_of("k", Path(path), meter) == rates_of("k", Path(path), meter) == RATES
    assert meter.num_calls == 2


def test_the_key_changes_with_all_that_rates_depend_on() -> None:
    keys = {
        rates_key(model, engine, threads=threads, gpu_layers=layers)
        for model in ("a" * 64, "b" * 64)
        for engine in ("llama_cpp 1", "llama_cpp 2")
        for threads in (101, 102, None)
        for layers in (0, 1, 99)
    }
    assert len(keys) == 2 * 2 * 3 * 3
    assert keys == {
        rates_key(m * 64, f"llama_cpp {v}", threads=t, gpu_layers=n)
        for m in "ab"
        for v in "12"
        for t in (101, 102, None)
        for n in (0, 1, 99)
    }
