from __future__ import annotations

from dataclasses import dataclass

import pytest

from cache_core import POLICIES, Config, ConfigError, Level, setting


@dataclass(frozen=True, kw_only=True)
class _Example(Config):
    count: int = setting(2, "A count.", minimum=1, maximum=9)
    mode: str = setting("a", "A mode.", choices=("a", "b"))


def test_defaults_are_allowed() -> None:
    assert _Example().describe() == "count=2, mode=a"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"count": 0}, "'count' is 0, expected at least 1: raise it."),
        ({"count": 10}, "'count' is 10, expected at most 9: lower it."),
        ({"count": "many"}, "'count' is 'many', expected a number."),
        ({"count": True}, "'count' is True, expected a number."),
        ({"mode": "c"}, "'mode' is 'c', expected one of 'a', 'b'."),
        (
            {"count": 0, "mode": "c"},
            "'count' is 0, expected at least 1: raise it; 'mode' is 'c', expected one of 'a', 'b'.",
        ),
    ],
)
def test_errors_name_field_value_and_bound(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _Example(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == text


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_method_says_what_it_is(name: str) -> None:
    policy = POLICIES[name]
    assert policy.title and policy.source and policy(policy.config_type()).memory >= 1
    assert all(details.help.endswith(".") for _, details in policy.config_type.settings())
    assert isinstance(policy(policy.config_type()).level, Level)
    policy.config_type(**policy.strictest)
