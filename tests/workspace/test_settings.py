"""Settings: who wins, where a value came from, and secrets that nobody sees."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bowerbird.core.clock import SystemClock
from bowerbird.core.errors import BowerbirdError, SettingsError
from bowerbird.workspace.database import Database
from bowerbird.workspace.new import make_project
from bowerbird.workspace.settings import Loaded, Settings, find_project, load_settings

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str = "", environment: str | None = None, **where: Any) -> Loaded:
        (tmp_path / "bowerbird.toml").write_text(text)
        where = {"flags": None, "variables": {}} | where
        return load_settings(tmp_path, environment, **where)

    return loaded


def origin(loaded: Loaded, name: str) -> tuple[Any, str]:
    return next((one.value, one.origin) for one in loaded.origins if one.name == name)


LAYERS = ["default", "file", "environment", "variable", "flag"]


@given(st.sets(st.sampled_from(LAYERS[1:])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_strongest_of_those_that_say_something_wins(load: Load, said: set[str]) -> None:
    value = {"default": 2, "file": 11, "environment": 12, "variable": 13, "flag": 14}
    text = "[settings]\n" + ("workers = 11\n" if "file" in said else "")
    text += "[environments.dev]\n" + ("workers = 12\n" if "environment" in said else "")
    loaded = load(
        text,
        variables={"BOWERBIRD_WORKERS": "13"} if "variable" in said else {},
        flags={"workers": 14 if "flag" in said else None},
    )
    strongest = next(layer for layer in reversed(LAYERS) if layer in said | {"default"})
    names = {
        "default": "default",
        "file": "bowerbird.toml",
        "environment": "bowerbird.toml [environments.dev]",
        "variable": "environment variable",
        "flag": "flag",
    }
    assert loaded.settings.workers == value[strongest]
    assert origin(loaded, "workers") == (value[strongest], names[strongest])


def test_every_setting_has_an_origin_and_a_description(load: Load) -> None:
    loaded = load()
    assert [one.name for one in loaded.origins] == list(Settings.__struct_fields__)
    assert all(one.description for one in loaded.origins)


def test_the_environment_is_chosen_by_flag_then_variable_then_file_then_dev(load: Load) -> None:
    text = "\n".join(f"[environments.{name}]\nworkers = {n}" for n, name in
                     enumerate(["dev", "prod", "test", "mine"], 1))  # fmt: skip
    chosen = {"variables": {"BOWERBIRD_ENVIRONMENT": "prod"}}
    named = 'default_environment = "mine"\n' + text
    assert load(text).environment == "dev"
    assert load(named).environment == "mine"
    assert load(named, **chosen).environment == "prod"
    assert load(named, "test", **chosen).settings.workers == 3


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("[settings]\nworkrs = 1", "bowerbird.toml", ("'workrs'", "workers?")),
        ("[environments.dev]\nhots = 'x'", "[environments.dev]", ("'hots'", "host?")),
        ("[settings]\nzzz = 1", "bowerbird.toml", ("'zzz'", "one of: catalog")),
        ("[settings]\nport = -1", "bowerbird.toml", ("port: ", ">= 0")),
        ("[settings]\nlease_seconds = 'soon'", "bowerbird.toml", ("lease_seconds: ", "`float`")),
        ("[environments.dev]\nworkers = [1]", "[environments.dev]", ("workers: ", "`int`")),
    ],
)
def test_a_wrong_setting_is_told_with_its_place(
    load: Load, text: str, where: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert where in (caught.value.where or "")
    for word in words:
        assert word in str(caught.value)


def test_a_wrong_flag_and_a_wrong_variable_are_told_apart(load: Load) -> None:
    with pytest.raises(SettingsError) as flag:
        load(flags={"workers": "many"})
    with pytest.raises(SettingsError) as variable:
        load(variables={"BOWERBIRD_WORKERS": "many"})
    assert (flag.value.where, variable.value.where) == ("flag", "environment variable")


def test_a_variable_that_is_none_of_ours_is_left_alone(load: Load) -> None:
    assert load(variables={"BOWERBIRD_FAULT": "x", "WORKERS": "9"}).settings.workers == 2


SECRET = "hunter2"
WITH_SECRET = '[settings]\nmetadata = "postgresql://ada:${env:SHOP_PASSWORD}@127.0.0.1:9/shop"'


def test_a_secret_is_resolved_for_who_connects(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", SECRET)
    assert f":{SECRET}@" in load(WITH_SECRET).home().metadata
    (tmp_path / "password").write_text(f"{SECRET}\n")
    text = WITH_SECRET.replace("env:SHOP_PASSWORD", f"file:{tmp_path / 'password'}")
    assert f":{SECRET}@" in load(text).home().metadata


def test_a_secret_is_never_shown(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", SECRET)
    loaded = load(WITH_SECRET)
    home = loaded.home()
    for shown in (repr(loaded), str(loaded), msgspec.json.encode(loaded).decode()):
        assert SECRET not in shown
    for shown in (repr(home), str(home), f"{home}", f"{(home,)!r}"):
        assert SECRET not in shown
    assert pickle.loads(pickle.dumps(home)) == home


@pytest.mark.parametrize(
    "url", ["postgresql://ada:hunter2@127.0.0.1:9/shop", "oracel://ada:hunter2@h/x", "hunter2"]
)
def test_an_error_of_the_database_shows_no_secret(url: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(BowerbirdError) as caught:
        Database(url, SystemClock())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("secret", ["${env:NO_SUCH_SECRET}", "${file:no/such/file}"])
def test_a_secret_that_is_not_there_is_named(load: Load, secret: str) -> None:
    loaded = load(f'[settings]\nmetadata = "postgresql://ada:{secret}@h/x"')
    with pytest.raises(SettingsError) as caught:
        loaded.home()
    assert secret in str(caught.value)


def test_paths_are_of_the_project_and_not_of_where_one_stands(load: Load, tmp_path: Path) -> None:
    home = load().home()
    assert home.warehouse == str(tmp_path / ".bowerbird/warehouse")
    assert home.metadata == f"sqlite:///{tmp_path}/.bowerbird/metadata.db"
    assert load('[settings]\nwarehouse = "/data"').home().warehouse == "/data"


def test_an_object_store_is_a_warehouse_and_releases_stay_on_a_disk(
    load: Load, tmp_path: Path
) -> None:
    home = load('[settings]\nwarehouse = "s3://lake/shop"').home()
    assert home.warehouse == "s3://lake/shop"
    assert home.releases == str(tmp_path / ".bowerbird/state")
    assert load().home().releases == load().home().warehouse


@pytest.mark.parametrize("name", ["s3_secret_key", "iceberg_credential"])
def test_a_secret_that_stands_in_the_settings_itself_is_refused_and_not_shown(
    load: Load, name: str
) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        load(f'[settings]\n{name} = "{SECRET}"')
    with pytest.raises(SettingsError, match=name) as by_variable:
        load(variables={f"BOWERBIRD_{name.upper()}": SECRET})
    assert SECRET not in f"{caught.value} {by_variable.value}"


def test_keys_to_an_object_store_are_put_in_and_printed_nowhere(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", SECRET)
    loaded = load('[settings]\ns3_secret_key = "${env:THE_KEY}"\ns3_endpoint = "http://x:1"')
    home = loaded.home()
    assert home.access.s3_secret_key == SECRET
    assert SECRET not in f"{home!r} {home.access!r} {loaded!r}"


def test_a_project_is_found_from_any_folder_inside_it(tmp_path: Path) -> None:
    make_project(tmp_path / "shop")
    deep = tmp_path / "shop" / "specs" / "more"
    deep.mkdir()
    assert find_project(deep) == (tmp_path / "shop").resolve()
    with pytest.raises(SettingsError, match=r"no bowerbird\.toml"):
        find_project(tmp_path)


def test_a_new_project_has_nothing_to_say_but_defaults(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert load_settings(tmp_path, variables={}).settings == Settings()
