from __future__ import annotations

from pathlib import Path

import pytest

from flopex import config
from flopex.config import ConfigError

KEY = "flx_" + "a" * 43


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings of the machine's own may reach a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "FLOPEX_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def test_without_any_file_there_are_no_settings() -> None:
    assert config.load_config(None) == (None, {})


def test_the_file_in_the_working_directory_goes_before_the_one_at_home(
    tmp_path: Path, home: Path
) -> None:
    at_home = home / ".config" / "flopex" / "config.toml"
    at_home.parent.mkdir(parents=True)
    at_home.write_text('target = "home:1"')
    assert config.load_config(None) == (at_home, {"target": "home:1"})
    (tmp_path / "flopex.toml").write_text('target = "here:1"')
    assert config.load_config(None) == (Path("flopex.toml"), {"target": "here:1"})


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        config.load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "content", [b"target = ", b"\xff\xfe", b"x" * (config.CONFIG_BYTES_MAX + 1)]
)
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        config.load_config(path)


def test_settings_that_no_option_has_are_named() -> None:
    known = {"target": None, "worker": {"run": {"slots": None}}}
    good = {"target": "a:1", "worker": {"run": {"slots": 2}}}
    assert config.unknown_settings(good, known) == []
    bad = {"tagret": 1, "worker": {"run": {"slot": 2}, "slots": 1}, "target": {}}
    assert config.unknown_settings(bad, known) == [
        "tagret",
        "worker.run.slot",
        "worker.slots",
        "target",
    ]


def test_a_key_comes_from_the_named_file_then_the_environment_then_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    assert config.find_key(None, data) == (None, "")
    operator = data / config.OPERATOR_KEY_NAME
    operator.write_text(KEY + "\n")
    assert config.find_key(None, data) == (KEY, str(operator))
    other = "flx_" + "b" * 43
    monkeypatch.setenv("FLOPEX_KEY", other)
    assert config.find_key(None, data) == (other, "FLOPEX_KEY")
    named = tmp_path / "key"
    named.write_text(KEY)
    assert config.find_key(named, data) == (KEY, str(named))


@pytest.mark.parametrize("content", ["", "hello", "flx_a flx_b"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(ConfigError, match="no API key"):
        config.read_key_file(path)
    with pytest.raises(ConfigError, match="cannot read"):
        config.read_key_file(tmp_path / "none")


def test_the_data_directory_follows_xdg(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.data_directory() == home / ".local" / "share" / "flopex"
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert config.data_directory() == Path("/x/flopex")
